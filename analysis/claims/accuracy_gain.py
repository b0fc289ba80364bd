"""The other half of the text: accuracy rises by 2 to 5 percent.

Read as points of test accuracy. Where a task is judged by its loss, the nearest reading is a loss that is 2 % lower;
points of next-token accuracy stand beside it. Expected: refuted against a tuned dense network.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from hundredfold.analysis.claims.base import Claim, Row
from hundredfold.analysis.comparisons import beside_rival, quality_row
from hundredfold.analysis.statistics import Region
from hundredfold.analysis.task import Task


@dataclass(frozen=True)
class QualityDifference(Claim):
    """A bound on how much better every arm of the method is on the test set; loss_unit: nats or relative."""

    loss_unit: str = "nats"

    def rows(self, task: Task) -> list[Row]:
        make = partial(quality_row, loss_unit=self.loss_unit)
        return beside_rival(task, self.method, make, self.region_for(task))


CLAIM = QualityDifference(
    name="accuracy_gain",
    title="At least 2 points more accurate",
    order=30,
    statement="Test accuracy is at least 2 points above that of dense training.",
    loss_statement="Test loss is at least 2 % below that of dense training.",
    estimand="difference of test accuracy to dense, paired by seed",
    loss_estimand="1 - loss / loss of dense, paired by seed",
    region=Region(0.02),
    loss_region=Region(0.02),
    uses_energy=False,
    loss_unit="relative",
)
