"""The text says that the importance of activations decides: the method against its random twin.

A twin has the same schedule, sizes and kernels, and draws every choice. Of several twins at a density the opponent is
the best on the validation split of the first half of the seeds, at the others. Expected: supported, since random
regrowth alone does harm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hundredfold.analysis.claims.base import Claim, Row
from hundredfold.analysis.comparisons import quality_row
from hundredfold.analysis.statistics import Region
from hundredfold.analysis.task import Task


@dataclass(frozen=True)
class ImportanceMatters(Claim):
    """Difference to the random twin of the same density, for every arm of the method that has one."""

    def rows(self, task: Task) -> list[Row]:
        rows, twins = [], [twin for twin in task.arms if twin.twin_of == self.method]
        for arm in task.of_method(self.method):
            same = [twin for twin in twins if math.isclose(twin.density, arm.density, rel_tol=1e-3)]
            twin = task.best_of_others(same)
            if twin is not None:
                rows.append(quality_row(arm, twin, self.region_for(task)))
        return rows


CLAIM = ImportanceMatters(
    name="importance_matters",
    title="Importance matters",
    order=70,
    statement="Choosing by importance is more accurate than choosing at random.",
    loss_statement="Choosing by importance gives a lower loss than choosing at random.",
    estimand="difference of test accuracy to the random twin of the same density, paired by seed",
    loss_estimand="difference of test loss to the random twin of the same density, paired by seed",
    region=Region(0.0, strict=True),
    uses_energy=False,
)
