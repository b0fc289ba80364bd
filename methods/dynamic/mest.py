"""Memory-economic sparse training: weights leave by magnitude and gradient, random ones come, less and less.

An update keeps the weights with the largest |w| + lam |g| and grows random ones. Elastic mutation (`em`) prunes below
the density and grows back to it; with a soft memory bound (`em_s`) it prunes to the density and grows above it, so that
new weights are trained before they compete. The mutated part halves and then ends at given fractions of the run.
Source: Yuan et al. 2021, arXiv:2110.14032, section 3; numbers of the authors' scripts (sparsity .92 .91 .90 grown to
.90, or .90 grown to .85 .875 .90). Differs: starts from a random topology, divides weights over the layers by
`distribution`, and counts every prunable layer, where theirs leaves the first and the last dense and out.
Extra cost: sorting at update steps.
"""

from dataclasses import dataclass
from typing import Literal

from hundredfold.methods.execution.parts import Gradient, Part, Weights
from hundredfold.methods.options import FractionOrZero, Strength
from hundredfold.methods.static.random_erk import RandomErk
from hundredfold.methods.tools.allocation import allocate
from hundredfold.methods.tools.importance import random_scores, top
from hundredfold.methods.topology import Topology, UpdateSchedule
from hundredfold.methods.views import NetView


@dataclass(frozen=True)
class Mest(RandomErk):
    """Removes by magnitude and gradient, grows at random, within a memory bound."""

    source = "arXiv:2110.14032"
    extra_cost = "sorting at update steps"
    updates_at_zero = False

    mode: Literal["em", "em_s"] = "em_s"  # elastic mutation, or with a soft memory bound
    lam: Strength = 0.01  # weight of |g| beside |w|; the default of the authors' code is 0
    mutation: FractionOrZero = 0.2  # em: part of the density that is exchanged per update at first
    soft: FractionOrZero = 0.05  # em_s: density that is grown on top per update at first
    stages: tuple[float, float] = (0.5625, 0.75)  # fractions of the run at which either halves and ends
    update: UpdateSchedule = UpdateSchedule(interval=100, start=0.0, stop=1.0)  # paper: 5 of 160 epochs

    def __post_init__(self):
        super().__post_init__()
        if len(self.stages) != 2 or not 0 <= self.stages[0] <= self.stages[1] < self.update.stop:
            raise ValueError(f"stages={list(self.stages)}: expected two rising fractions below update.stop")

    def parts(self) -> list[Part]:
        return [Weights(self, gradient=Gradient.TRAINED)]

    def _left(self, step: int, total: int) -> float:
        """What is left of the mutation: 1, then a half, then 0."""
        return 1 - sum(step >= stage * total for stage in self.stages) / 2

    def density_at(self, step: int, total: int) -> float:
        """The density after an update at this step."""
        extra = self.soft * self._left(step, total) if self.mode == "em_s" else 0.0
        return min(self.density + extra, 1.0)

    def init_topology(self, net: NetView) -> Topology:
        if self.update.last(net.total_steps) < self.stages[1] * net.total_steps:
            raise ValueError(f"stages={list(self.stages)}: no update of this run comes after the last stage")
        return self.random(net, self.density_at(0, net.total_steps))

    def update_topology(self, step: int, net: NetView) -> Topology:
        pruned = self.density
        if self.mode == "em":
            pruned *= 1 - self.mutation * self._left(step, net.total_steps)
        few = allocate(net.shapes, pruned, self.distribution)
        more = allocate(net.shapes, self.density_at(step, net.total_steps), self.distribution)
        active = {}
        for name, layer in net.layers.items():
            importance = (layer.weight.abs() + self.lam * layer.grad.abs()).masked_fill(~layer.active, -1)
            num_kept = min(few[name], more[name])
            kept = top(importance, num_kept)
            born = random_scores(layer.weight, net.generator).masked_fill(kept, -1)
            active[name] = kept | top(born, more[name] - num_kept)
        return Topology(active)
