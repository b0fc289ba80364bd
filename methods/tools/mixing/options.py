"""The options of a mixing model; each part can be switched off by one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from hundredfold.methods.options import Count, CountOrZero, Fraction, FractionOrZero, Strength, Within, check_options
from hundredfold.methods.tools.mixing.forms import check_gates, parse


@dataclass(frozen=True)
class MixingOptions:
    """What is looked up, how it is mixed, and how fast it learns; see forms.py for how they are written."""

    contexts: tuple[str, ...] = (
        *("s1", "s1-2", "s1-3", "s1-4", "s1-5", "s1-6"),
        *("w0 s1", "w0-1 s1"),
        "c s1",
    )
    counts: Literal["learned", "plain"] = "learned"  # what a pair of counts means: a learned map, or their log ratio
    confident: bool = False  # a second input per context, on the scale of probabilities
    gates: tuple[str, ...] = ("order node", "last node", "last2 depth", "word depth")  # "" is one row for all
    layers: Annotated[int, Within(1, 2, what="a number of layers")] = 1
    finals: tuple[str, ...] = ("node last", "node last last2")  # final maps; none: no correction
    match: tuple[Count, ...] = ()  # least symbols of a longest match; none: no match model
    window: CountOrZero = 0  # symbols of the window whose own counts are inputs too
    window_most: Annotated[int, Within(1, 255, what="a whole number")] = 16  # occurrences of a context counted in it
    window_contexts: tuple[str, ...] | None = None  # null: all contexts

    forget: CountOrZero = 0  # a count above it loses half of the surplus whenever the other bit comes; 0: never
    upper_rate: Strength = 0.002  # of the second layer
    final_rate: FractionOrZero = 0.02  # of the final maps
    final_share: FractionOrZero = 0.5  # of the final maps in the answer
    start: Fraction = 0.3  # weights of the first layer at the beginning
    limit: Count = 1023  # occurrences after which a state's probability no longer settles
    table_bits: Annotated[int, Within(8, 29, what="a number of bits")] = 21  # 2**bits slots of 32 bytes
    match_bits: Annotated[int, Within(8, 28, what="a number of bits")] = 20
    row_bits: Annotated[int, Within(4, 24, what="a number of bits")] = 18  # 2**bits rows of a gate at most

    def __post_init__(self):
        check_options(self)
        if self.confident and self.counts == "plain":
            raise ValueError("confident=True: needs probabilities; use counts=learned")
        if not (self.contexts and self.gates):
            raise ValueError("contexts and gates: expected at least one of each")
        parse(self.contexts)
        check_gates(self.gates, "gates")
        check_gates(self.finals, "finals")
        for name in self.window_contexts or ():
            if name not in self.contexts:
                raise ValueError(f"window_contexts: {name!r} is not among contexts={', '.join(self.contexts)}")


@dataclass(frozen=True)
class WindowOptions(MixingOptions):
    """What came out best on the validation texts of shakespeare_folds: the last 2,000 symbols are counted too."""

    contexts: tuple[str, ...] = (
        *("s1", "s1-2", "s1-3", "s1-4", "s1-5", "s1-7"),
        *("w0 s1", "w0-1 s1"),
        "c s1",
    )
    confident: bool = True
    gates: tuple[str, ...] = (
        *("order node", "last node", "last2 depth", "word depth"),
        *("last last2", "last word depth"),
    )
    window: CountOrZero = 2000
    window_most: Annotated[int, Within(1, 255, what="a whole number")] = 4
    window_contexts: tuple[str, ...] | None = ("s1-2", "s1-3", "s1-4", "s1-5", "s1-7", "w0 s1", "w0-1 s1")
    final_rate: FractionOrZero = 0.01
    start: Fraction = 0.2
