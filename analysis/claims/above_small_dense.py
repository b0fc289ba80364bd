"""What decides whether selection is worth it: quality at equal joules, against dense networks of every size.

A smaller dense network saves energy too, and takes no selection. The front of a seed joins its dense networks of every
width by straight lines over the logarithm of energy; an arm outside of their range is not compared. Expected: refuted
or inconclusive wherever selection is the same for every input.
"""

from __future__ import annotations

from dataclasses import dataclass

from hundredfold.analysis import front
from hundredfold.analysis.claims.base import Claim, Row, make_row
from hundredfold.analysis.statistics import Region
from hundredfold.analysis.task import Task


@dataclass(frozen=True)
class AboveSmallDense(Claim):
    """Quality of every arm of the method less that of the dense front at its joules."""

    def rows(self, task: Task) -> list[Row]:
        unit = "points" if task.metric == "accuracy" else "nats"
        rows = []
        for arm in task.of_method(self.method):
            values = front.distances(arm, task)
            against, pairs = "dense networks of its energy", arm.compared(values)
            rows.append(make_row(arm.label, against, unit, pairs, values, self.region_for(task)))
        return rows


CLAIM = AboveSmallDense(
    name="above_small_dense",
    title="Better than a small dense network of equal energy",
    order=15,
    statement="Test accuracy is above that of dense networks that take the same training energy.",
    loss_statement="Test loss is below that of dense networks that take the same training energy.",
    estimand="test accuracy less that of the front of dense networks at the arm's joules, by seed",
    loss_estimand="test loss of the front of dense networks at the arm's joules less the arm's, by seed",
    region=Region(0.0, strict=True),
    uses_energy=True,
)
