"""One part for each kind of selection."""

from hundredfold.methods.execution.parts.base import Part
from hundredfold.methods.execution.parts.batches import Inputs, Losses, Samples, Tokens
from hundredfold.methods.execution.parts.modules import Modules
from hundredfold.methods.execution.parts.operands import Operands, hidden, readers
from hundredfold.methods.execution.parts.parameters import Frozen, Penalty, Rewind
from hundredfold.methods.execution.parts.units import Units, UnitStatistics
from hundredfold.methods.execution.parts.weights import Gradient, Weights

# The order of their hooks: who changes the model comes before who wraps its layers, a rewind before new masks, masks
# before what is asked under them.
ORDER: tuple[type[Part], ...] = (
    Modules, Inputs, Samples, Tokens, Penalty, Rewind, Weights, Operands, Units, Frozen,
)  # fmt: skip



def in_order(parts: list[Part]) -> list[Part]:
    """The parts of all methods in the order of their hooks.

    Raises:
        ValueError: two methods decide about the same.
    """
    found = [part for kind in ORDER for part in parts if isinstance(part, kind)]
    for kind in ORDER:
        same = [part for part in found if isinstance(part, kind)]
        if kind.single and len(same) > 1:
            names = " and ".join(part.method.name() for part in same)
            raise ValueError(f"{names} both decide about {kind.selects or kind.__name__.lower()}; keep one of them")
    weights, units = ([part for part in found if part.selects == what] for what in ("weights", "units"))
    if weights and units:
        raise ValueError(
            f"{weights[0].method.name()} and {units[0].method.name()} both decide which weights exist; keep one of them"
        )
    return found


__all__ = [
    "ORDER", "Part", "Frozen", "Gradient", "Inputs", "Losses", "Modules", "Operands", "Penalty", "Rewind", "Samples",
    "Tokens", "UnitStatistics", "Units", "Weights", "hidden", "in_order", "readers",
]  # fmt: skip
