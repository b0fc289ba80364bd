"""What an option may be, said by its annotation and checked in one place.

    density: Fraction = 0.1  # in (0, 1]
    scope: Literal["layer", "network"] = "layer"
    rounds: Annotated[int, Within(low=1)] = 3

`check_options` reads the annotations of a dataclass; `Method` and the other plug-ins call it when they are made, so
that a value that cannot be is answered in one sentence wherever it comes from.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, Union


class Within(NamedTuple):
    """A range of numbers: `low` and `high` belong to it unless they are open.

    Attributes:
        what: what the number is, in a message: "a fraction", "a strength".
    """

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False
    what: str = "a number"

    def holds(self, value: float) -> bool:
        """Whether a number lies in the range; NaN does not."""
        above = value > self.low if self.low_open else value >= self.low
        below = value < self.high if self.high_open else value <= self.high
        return above and below

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"{self.what} above {self.low:g}" if self.low_open else f"{self.what}, {self.low:g} or more"
        left, right = "(" if self.low_open else "[", ")" if self.high_open else "]"
        return f"{self.what} in {left}{self.low:g}, {self.high:g}{right}"


Fraction = Annotated[float, Within(0, 1, low_open=True, what="a fraction")]
FractionOrZero = Annotated[float, Within(0, 1, what="a fraction")]
Probability = Annotated[float, Within(0, 1, high_open=True, what="a fraction")]
Strength = Annotated[float, Within(0, what="a strength")]
Count = Annotated[int, Within(1, what="a whole number")]
CountOrZero = Annotated[int, Within(0, what="a whole number")]


def check_options(options: Any) -> None:
    """Check every field of a dataclass against its annotation's range or choices.

    Raises:
        ValueError: what was given, what is allowed, and for a percentage how to write it.
    """
    for name, hint in _hints(type(options)).items():  # type: ignore[arg-type]  # a class is hashable
        check_value(name, getattr(options, name), hint)


def check_value(name: str, value: Any, hint: Any) -> None:
    """Check one value against one annotation; types that say nothing about the value pass.

    Raises:
        ValueError: as `check_options`.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return
        for argument in arguments:
            if argument is not type(None):
                check_value(name, value, argument)
    elif origin is Literal:
        if value not in arguments:
            raise ValueError(f"{name}={value}: choose one of {', '.join(sorted(map(str, arguments)))}")
    elif origin is Annotated:
        for limit in hint.__metadata__:
            if isinstance(limit, Within) and not limit.holds(value):
                raise ValueError(f"{name}={value:g}: expected {limit}{_percent(name, value)}")
        check_value(name, value, arguments[0])
    elif origin is tuple and isinstance(value, tuple) and arguments:
        each = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        for index, (item, argument) in enumerate(zip(value, each, strict=True)):
            check_value(f"{name}[{index}]", item, argument)


def _percent(name: str, value: float) -> str:
    """What to write for a percentage of sparsity."""
    percentage = name == "density" and 10 <= value < 100
    return f"; for {value:g} % sparsity use {name}={1 - value / 100:g}" if percentage else ""


@cache
def _hints(cls: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}
