"""Gradual magnitude pruning: the smallest weights leave while the network trains, fast at first.

Source: Zhu and Gupta 2017, arXiv:1710.01878, eq. 1 (layer-wise); global as in GraNet's comparison. Differs from the
authors' code: a pruned weight is zero for good, where theirs could return with its stored value.
Extra cost: sorting the weights at update steps; dense steps until the schedule begins.
"""

from dataclasses import dataclass
from typing import Literal

from hundredfold.methods.base import Method
from hundredfold.methods.execution.parts import Part, Weights
from hundredfold.methods.options import Fraction
from hundredfold.methods.tools.allocation import allocate
from hundredfold.methods.tools.importance import top, top_global
from hundredfold.methods.tools.schedules import cubic, progress
from hundredfold.methods.topology import Topology, UpdateSchedule
from hundredfold.methods.views import NetView


@dataclass(frozen=True)
class Gmp(Method):
    """Prunes the smallest weights gradually, on a cubic schedule."""

    source = "arXiv:1710.01878"
    extra_cost = "sorting at update steps; dense steps first"

    density: Fraction = 0.1  # fraction of the prunable weights at the end
    scope: Literal["global", "layer"] = "layer"  # rank within each layer or over the network
    update: UpdateSchedule = UpdateSchedule(interval=100, start=0.0, stop=0.75)  # paper: every 100-1000 steps

    def parts(self) -> list[Part]:
        return [Weights(self)]

    def density_at(self, step: int, total: int) -> float:
        """The schedule; it reaches `density` exactly at its last update."""
        return cubic(progress(step, self.update.start * total, self.update.last(total)), 1.0, self.density)

    def init_topology(self, net: NetView) -> Topology:
        self.update.last(net.total_steps)  # refuses a run too short for the schedule
        return Topology()

    def update_topology(self, step: int, net: NetView) -> Topology:
        density = self.density_at(step, net.total_steps)
        scores = {name: layer.weight.abs().masked_fill(~layer.active, -1) for name, layer in net.layers.items()}
        if self.scope == "global":
            return Topology(top_global(scores, round(density * sum(s.numel() for s in scores.values()))))
        counts = allocate({name: tuple(score.shape) for name, score in scores.items()}, density, "uniform")
        return Topology({name: top(score, counts[name]) for name, score in scores.items()})
