"""The text says that dynamic sparsity beats static pruning: the best dynamic arm against the best static one.

At each density that both have; which arm is best is picked on the validation split of the first half of the seeds, the
comparison is made on the test set at the others. Simulated arms take part, since only their accuracy counts. Expected:
supported at low densities, if anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from hundredfold.analysis.arm import Arm
from hundredfold.analysis.claims.base import Claim, Row
from hundredfold.analysis.comparisons import quality_row
from hundredfold.analysis.statistics import Region
from hundredfold.analysis.task import Task


@dataclass(frozen=True)
class DynamicBeatsStatic(Claim):
    """Difference of two families at equal density; the method does not enter."""

    def rows(self, task: Task) -> list[Row]:
        dynamic, static = (_by_density(task, family) for family in ("dynamic", "static"))
        rows = []
        for density in sorted(set(dynamic) & set(static), reverse=True):
            ours, theirs = (task.best_of_others(found[density]) for found in (dynamic, static))
            if ours is not None and theirs is not None:
                rows.append(quality_row(ours, theirs, self.region_for(task)))
        return rows


def _by_density(task: Task, family: str) -> dict[float, list[Arm]]:
    found: dict[float, list[Arm]] = {}
    for arm in task.arms:
        if arm.family == family:
            found.setdefault(round(arm.density, 6), []).append(arm)
    return found


CLAIM = DynamicBeatsStatic(
    name="dynamic_beats_static",
    title="Dynamic beats static",
    order=60,
    statement="The best dynamic sparse arm is more accurate than the best static one of the same density.",
    loss_statement="The best dynamic sparse arm has a lower loss than the best static one of the same density.",
    estimand="difference of test accuracy, paired by seed, best arm of each picked on validation of other seeds",
    loss_estimand="difference of test loss, paired by seed, best arm of each picked on validation of other seeds",
    region=Region(0.0, strict=True),
    uses_energy=False,
    by_method=False,
)
