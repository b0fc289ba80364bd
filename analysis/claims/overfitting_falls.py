"""The text says that selection prevents overfitting: the gap between the losses on test and on training data.

The training loss is the mean over the last steps before the end, with all that regularises them. Expected: supported
where the network is much too large for its data, and then for a small dense network too, which stands beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

from hundredfold.analysis.arm import Arm
from hundredfold.analysis.claims.base import Claim, Row, make_row
from hundredfold.analysis.comparisons import beside_rival
from hundredfold.analysis.statistics import Region
from hundredfold.analysis.task import Task


@dataclass(frozen=True)
class SmallerGap(Claim):
    """Difference of the generalization gaps, for every arm of the method."""

    def rows(self, task: Task) -> list[Row]:
        return beside_rival(task, self.method, gap_row, self.region_for(task))


def gap_row(arm: Arm, baseline: Arm, region: Region) -> Row:
    """How much smaller the gap between test loss and training loss is, in nats."""
    pairs = arm.pairs(baseline, "gap")
    return make_row(arm.label, baseline.label, "nats", pairs, pairs.baseline - pairs.arm, region)


CLAIM = SmallerGap(
    name="overfitting_falls",
    title="Less overfitting",
    order=80,
    statement="The gap between test loss and training loss is smaller than that of dense training.",
    estimand="gap of dense less that of the arm, nats, paired by seed",
    region=Region(0.0, strict=True),
    uses_energy=False,
    family="further",
)
