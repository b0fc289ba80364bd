"""The headline: training takes 100 times less energy.

Expected: refuted; a network can be made 100 times smaller, but not the loop around it.
"""

from __future__ import annotations

from dataclasses import dataclass

from hundredfold.analysis.claims.base import Claim, Row
from hundredfold.analysis.comparisons import beside_rival, ratio_row
from hundredfold.analysis.statistics import Region
from hundredfold.analysis.task import Task


@dataclass(frozen=True)
class EnergyRatio(Claim):
    """A bound on E_dense / E_arm for every arm of the method."""

    def rows(self, task: Task) -> list[Row]:
        return beside_rival(task, self.method, ratio_row, self.region_for(task))

    def reachable(self, task: Task) -> bool:
        """Whether some arm executes so few FLOPs; a smaller working set may save more than they say."""
        ratios = [(arm.executed_ratio, arm.energy_ratio.value) for arm in task.of_method(self.method)]
        return any(ratio is None or ratio >= self.region.low for pair in ratios for ratio in pair)


CLAIM = EnergyRatio(
    name="energy_100x",
    title="100 times less energy",
    order=20,
    statement="Training takes at most a hundredth of the energy of dense training.",
    estimand="geometric mean of E_dense / E_arm, paired by seed",
    region=Region(100.0),
    uses_energy=True,
)
