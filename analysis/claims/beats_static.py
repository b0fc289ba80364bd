"""The text says that it beats static pruning: the method against the best static arm of its size.

A static arm is of an arm's size if it keeps as many parameters within a quarter. Which one is best is picked on the
validation split of the first half of the seeds, the comparison is made on the test set at the others. Expected:
supported at low densities, if anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from hundredfold.analysis.arm import Arm
from hundredfold.analysis.claims.base import Claim, Row
from hundredfold.analysis.comparisons import quality_row
from hundredfold.analysis.statistics import Region
from hundredfold.analysis.task import Task

SIZE = 1.25  # factor within which two arms are of one size


@dataclass(frozen=True)
class BeatsStatic(Claim):
    """Difference to the static arms of its size, for every arm of the method that has some."""

    def rows(self, task: Task) -> list[Row]:
        rows = []
        for arm in task.of_method(self.method):
            static = [other for other in task.arms if other.family == "static" and other is not arm]
            same = [other for other in static if _alike(arm, other)]
            best = task.best_of_others(same)
            if best is not None:
                rows.append(quality_row(arm, best, self.region_for(task)))
        return rows


def _alike(arm: Arm, other: Arm) -> bool:
    mine, theirs = arm.parameter_share, other.parameter_share
    return mine is not None and theirs is not None and 1 / SIZE <= mine / theirs <= SIZE


CLAIM = BeatsStatic(
    name="beats_static",
    title="Beats static pruning",
    order=58,
    statement="Test accuracy is above that of the best static arm with as many parameters.",
    loss_statement="Test loss is below that of the best static arm with as many parameters.",
    estimand="difference of test accuracy to the static arm, picked on validation of other seeds, paired by seed",
    loss_estimand="difference of test loss to the static arm, picked on validation of other seeds, paired by seed",
    region=Region(0.0, strict=True),
    uses_energy=False,
    family="further",
)
