"""What a method decides: which weights and units exist from now on, and when it is asked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, NamedTuple

from torch import Tensor

from hundredfold.methods.options import FractionOrZero, Within, check_options


class Fold(NamedTuple):
    """How units that leave a group live on in the layer that reads them, so that its output stays the same."""

    twin: Tensor  # long [n]; the unit that takes over the outgoing weights, -1 for none
    scale: Tensor  # [n]; output of the leaving unit over output of its twin
    constant: Tensor  # [n]; mean output that goes into the reader's bias, 0 for none


@dataclass(frozen=True)
class Topology:
    """What exists after a decision; whatever it does not name stays as it is.

    Attributes:
        active: layer -> bool [O, I]; the weight enters FORWARD and INPUT_GRAD. For layers in `NetView.stored` also
            long [n], the places of these weights in the flattened matrix.
        trained: layer -> bool [O, I], a superset of active; receives WEIGHT_GRAD and updates. Default: active.
        units: group -> bool [n]; neurons, heads or channels that exist.
        folds: group -> what the leaving units hand over to those that stay.
        values: layer -> [O, I]; weights to be set, before the masks.
        frozen: names of modules whose parameters are not trained until another decision says so.
        memory: what the method will want to know again; it comes back as `NetView.memory`.
        rewind: every parameter goes back to its value before the step that the part `Rewind` names.
    """

    active: Mapping[str, Tensor] = field(default_factory=dict)
    trained: Mapping[str, Tensor] = field(default_factory=dict)
    units: Mapping[str, Tensor] = field(default_factory=dict)
    folds: Mapping[str, Fold] = field(default_factory=dict)
    values: Mapping[str, Tensor] = field(default_factory=dict)
    frozen: frozenset[str] | None = None
    memory: Mapping[str, Tensor] = field(default_factory=dict)
    rewind: bool = False


@dataclass(frozen=True)
class UpdateSchedule:
    """When the topology may change: every `interval` steps within [start, stop), both fractions of all steps."""

    interval: Annotated[int, Within(1, what="a number of steps")] = 100
    start: FractionOrZero = 0.0
    stop: FractionOrZero = 0.75

    def __post_init__(self):
        try:
            check_options(self)
        except ValueError as error:
            raise ValueError(f"update.{error}") from None
        if self.start > self.stop:
            raise ValueError(f"update.start={self.start:g}, update.stop={self.stop:g}: expected the first not above")

    def due(self, step: int, total: int) -> bool:
        first = int(self.start * total)
        return first <= step < self.stop * total and (step - first) % self.interval == 0

    def last(self, total: int) -> int:
        """The last step at which an update is due.

        Raises:
            ValueError: there is no second update within the run, so that nothing could change gradually.
        """
        first = int(self.start * total)
        updates = math.ceil(self.stop * total - first - 1e-9) - 1
        if updates < self.interval:
            raise ValueError(
                f"update.interval={self.interval}: the schedule of this run spans {max(updates, 0)} of its {total} "
                f"steps; use an interval of at most {max(updates // 2, 1)} or train longer"
            )
        return first + updates // self.interval * self.interval
