"""Several methods at once, each deciding about its own part: a stack is a configuration, not a class.

Any methods whose parts differ: one may own the weights or the units, one the operands, one the examples, one the
tokens; any number may change the model, the inputs or the loss. The session asks each of them and intersects what they
select. Source: this project. Extra cost: that of the methods.

    method=compose 'method.methods=[{name:dsc,density:0.1},{name:infobatch}]'
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hundredfold.methods.base import Method
from hundredfold.methods.execution.parts import Part, in_order


@dataclass(frozen=True)
class Compose(Method):
    """Several methods joined."""

    source = "this project"
    extra_cost = "that of its methods"

    methods: tuple[Method, ...] = ()  # each with its name and options
    title: str = ""  # name of the arm in tables; empty joins the methods' names

    def __post_init__(self):
        super().__post_init__()
        in_order(self.parts())  # refuses methods that decide about the same
        for method in self.methods:
            if method.reference is not None:
                raise ValueError(f"methods: {method.name()} starts from the run of another method; use it alone")

    recipe = property(lambda self: {name: value for method in self.methods for name, value in method.recipe.items()})
    width = property(lambda self: math.prod(method.width for method in self.methods))
    duration = property(lambda self: math.prod(method.duration for method in self.methods))

    def members(self) -> tuple[Method, ...]:
        return tuple(member for method in self.methods for member in method.members())

    def parts(self) -> list[Part]:
        return [part for member in self.members() for part in member.parts()]

    def label(self) -> str:
        return self.title or " + ".join(method.label() for method in self.methods) or self.name()

    def positions(self, steps: int) -> range | list[int]:
        """Those of the one method that has its own.

        Raises:
            ValueError: several have.
        """
        own = [method for method in self.methods if list(method.positions(steps)) != list(range(steps))]
        if len(own) > 1:
            raise ValueError(f"methods: {' and '.join(m.name() for m in own)} both lay out the steps; keep one of them")
        return own[0].positions(steps) if own else range(steps)

    def num_updates(self, total: int) -> int | None:
        """Of the method that has the fewest."""
        known = [number for method in self.methods if (number := method.num_updates(total)) is not None]
        return min(known, default=None)

    def due(self, step: int, total: int) -> bool:
        return any(method.due(step, total) for method in self.methods)
