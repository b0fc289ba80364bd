"""The text says that deployment gets cheaper: the energy of predicting the test set with the network that is left.

Expected: supported where the network shrinks for good, and refuted where only training skips; the equally small dense
network is as cheap.
"""

from __future__ import annotations

from dataclasses import dataclass

from hundredfold.analysis.arm import Arm
from hundredfold.analysis.claims.base import Claim, Row, make_row
from hundredfold.analysis.comparisons import beside_rival
from hundredfold.analysis.statistics import Region
from hundredfold.analysis.task import Task


@dataclass(frozen=True)
class CheaperPredictions(Claim):
    """E_dense / E_arm of predicting the test set, for every arm of the method."""

    def rows(self, task: Task) -> list[Row]:
        return beside_rival(task, self.method, test_row, self.region_for(task))


def test_row(arm: Arm, baseline: Arm, region: Region) -> Row:
    """E_baseline / E_arm of the pass over the test set."""
    pairs = arm.energy_pairs(baseline, "test_j")
    return make_row(arm.label, baseline.label, "ratio", pairs, pairs.baseline / pairs.arm, region)


CLAIM = CheaperPredictions(
    name="cheaper_deployment",
    title="Cheaper deployment",
    order=90,
    statement="Predicting the test set takes less energy than with the dense network.",
    estimand="geometric mean of E_dense / E_arm of one pass over the test set, paired by seed",
    region=Region(1.0, strict=True),
    uses_energy=True,
    family="further",
)
