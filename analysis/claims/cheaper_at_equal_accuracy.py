"""The saving that a smaller dense network does not give: energy at equal quality, against dense networks of every size.

The front of a seed joins its dense networks of every width, as in above_small_dense, and is read across: at which
energy does it reach the arm's quality? Expected: refuted or inconclusive wherever selection is the same for every
input.
"""

from __future__ import annotations

from dataclasses import dataclass

from hundredfold.analysis import front
from hundredfold.analysis.claims.base import Claim, Row, make_row
from hundredfold.analysis.statistics import Region
from hundredfold.analysis.task import Task


@dataclass(frozen=True)
class CheaperThanSmallDense(Claim):
    """Joules of the dense front at an arm's quality over the arm's, for every arm of the method."""

    def rows(self, task: Task) -> list[Row]:
        rows = []
        for arm in task.of_method(self.method):
            values, refused = front.savings(arm, task)
            against, pairs = "dense networks of its quality", arm.compared(values, refused)
            rows.append(make_row(arm.label, against, "ratio", pairs, values, self.region_for(task)))
        return rows


CLAIM = CheaperThanSmallDense(
    name="cheaper_at_equal_accuracy",
    title="Cheaper than a small dense network of equal accuracy",
    order=16,
    statement="Training takes less energy than dense networks of any size that are as accurate on the test set.",
    loss_statement="Training takes less energy than dense networks of any size whose test loss is as low.",
    estimand="joules at which the front of dense networks reaches the arm's test quality over the arm's, by seed",
    region=Region(1.0, strict=True),
    uses_energy=True,
)
