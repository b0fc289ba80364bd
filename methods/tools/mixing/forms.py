"""How contexts and gates are written in options.

A context is written as its parts, separated by spaces: "s1-4" the last four symbols, "s2-3" the two before the last,
"w0" the word so far, "w0-1" that and the word before, "c" the column (symbols since the line began), "c/3" the column
in steps of three. "w0 s1" is the word so far with the last symbol, which tells one gap between words from another.

A gate is written as its features: "node last" has a row for each node of the tree and each last symbol. Features of a
decision are `node`, `depth` (decisions before it), `order` (symbols of the longest context that was seen at this node)
and `match` (what the longest match expects, and how long it is).

Legend: N contexts, U parts of all contexts.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

SYMBOL, WORD, COLUMN = range(3)  # kinds of parts
PART = re.compile(r"(?P<kind>[sw])(?P<first>\d+)(-(?P<last>\d+))?|(?P<column>c)(/(?P<step>[1-9]\d*))?")
MOST_BACK = {"s": 64, "w": 2}
LONGEST_COLUMN, LONGEST_WORD = 63, 15  # larger ones count as these

FEATURES = ("last", "last2", "word", "line")  # of a position, to choose weights by
OF_DECISION = ("node", "depth", "order", "match")


class Contexts(NamedTuple):
    """N contexts as lists of parts.

    Attributes:
        first: int64 [N + 1]; where the parts of each context begin.
        kind: int64 [U]; SYMBOL, WORD or COLUMN.
        value: int64 [U]; symbols back from 1, words back from 0, or the step of columns.
        order: int64 [N]; symbols of a context of nothing but the last ones, else 0.
    """

    first: np.ndarray
    kind: np.ndarray
    value: np.ndarray
    order: np.ndarray


def parse(texts: tuple[str, ...]) -> Contexts:
    """Read contexts from their text forms.

    Raises:
        ValueError: a part that is none of the forms above, or that looks back too far or at nothing.
    """
    first, kinds, values, order = [0], [], [], []
    for text in texts:
        for part in text.split():
            found = PART.fullmatch(part)
            if found is None:
                raise ValueError(f"contexts: {part!r} is no part of a context; write s1-4, w0-1, c or c/3")
            if found["column"]:
                kinds.append(COLUMN)
                values.append(int(found["step"] or 1))
                continue
            low, high = int(found["first"]), int(found["last"] or found["first"])
            if not (found["kind"] == "w" or low) or not low <= high <= MOST_BACK[found["kind"]]:
                raise ValueError(f"contexts: {part!r} reaches from {low} to {high}; symbols are 1-64, words 0-2")
            back = range(low, high + 1)
            kinds += [SYMBOL if found["kind"] == "s" else WORD] * len(back)
            values += back
        plain = re.fullmatch(r"s1(-(\d+))?", text.strip())
        order.append(int(plain[2] or 1) if plain else 0)
        first.append(len(kinds))
    return Contexts(*(np.array(column, np.int64) for column in (first, kinds, values, order)))


def check_gates(texts: tuple[str, ...], option: str) -> None:
    """Refuse a gate with an unknown feature.

    Raises:
        ValueError: in one sentence.
    """
    names = (*FEATURES, *OF_DECISION)
    for feature in " ".join(texts).split():
        if feature not in names:
            raise ValueError(f"{option}: {feature!r} is no feature; choose among {', '.join(names)}")


def feature_sizes(num_symbols: int) -> tuple[int, ...]:
    """How many values each of FEATURES has; a symbol may be missing, before the text begins."""
    return num_symbols + 1, num_symbols + 1, LONGEST_WORD + 1, LONGEST_COLUMN + 1
