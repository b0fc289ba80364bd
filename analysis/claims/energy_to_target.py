"""Energy to a target: who is there first, whatever comes after; a run that never gets there is a miss.

The target is the median of dense at its end, on the validation split, less one point or with a loss one percent higher.
Expected: refuted or inconclusive; a sparse network takes as many steps, and a dense one can stop.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hundredfold.analysis.arm import Arm
from hundredfold.analysis.claims.base import Claim, Row, make_row
from hundredfold.analysis.facts.energy_to_target import first_crossing, targets
from hundredfold.analysis.statistics import Region
from hundredfold.analysis.task import Task

BELOW = 0.01  # points of accuracy, or share of the loss


@dataclass(frozen=True)
class EnergyToTarget(Claim):
    """E_dense / E_arm up to the first confirmed evaluation that reaches the target, for every arm of the method."""

    def rows(self, task: Task) -> list[Row]:
        if task.dense is None:
            return []
        return [self._row(arm, task.dense, task) for arm in task.of_method(self.method)]

    def _row(self, arm: Arm, dense: Arm, task: Task) -> Row:
        (goal,) = targets(task, (BELOW,)) or (None,)
        ratios: list[float] = []
        refused: dict[str, None] = {}
        misses = 0
        for seed, run in arm.runs.items():
            reason = arm.incomparable(dense).get(seed, "no dense run of its seed")
            if reason is not None:
                refused[reason] = None
                continue
            mine, theirs = (first_crossing(each.curve, task.metric, goal) for each in (run, dense.runs[seed]))
            misses += mine is None
            if mine and theirs:
                ratios.append(theirs / mine)
        values = np.array(ratios, dtype=float)
        pairs = arm.compared(values, refused, misses)
        return make_row(arm.label, dense.label, "ratio", pairs, values, self.region_for(task))


CLAIM = EnergyToTarget(
    name="energy_to_target",
    title="Less energy to a target",
    order=45,
    statement="Training reaches dense training's validation accuracy less one point with less energy than it takes.",
    loss_statement="Training reaches a validation loss 1 % above that of dense training with less energy than dense.",
    estimand="geometric mean of E_dense / E_arm to the target, paired by seed; a run that does not reach it is a miss",
    region=Region(1.0, strict=True),
    uses_energy=True,
    family="further",
)
