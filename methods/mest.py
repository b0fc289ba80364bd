"""Memory-economic sparse training: weights leave by magnitude and gradient, random ones come, on a shrinking bound.

An update removes weights of low |w| + lam |g| down to the density less a mutation rate, and grows random ones back to
the density (EM). With `soft` the density starts higher and falls in two stages (EM&S); the mutation rate falls with it.
Source: Yuan et al. 2021, arXiv:2110.14032, section 3 and tables of the appendix. Differs: every prunable layer is
counted, where theirs leaves the first and the last out; lam is the paper's idea, its code's default is 0. Extra cost:
sorting at update steps.
"""

from dataclasses import dataclass

from methods.allocation import allocate
from methods.base import NetView, Topology, UpdateSchedule, check_fraction
from methods.importance import random_scores, top
from methods.random_erk import RandomErk


@dataclass(frozen=True)
class Mest(RandomErk):
    """Removes by magnitude and gradient, grows at random, on a soft memory bound."""

    family = "dynamic"
    source = "arXiv:2110.14032"
    extra_cost = "sorting at update steps"
    needs = frozenset({"grad"})

    lam: float = 0.01  # weight of |g| beside |w|; the authors' code: 0
    soft: float = 0.05  # density on top at the start (EM&S); 0 keeps it constant (EM)
    mutation: float = 0.05  # fraction of all weights that is exchanged per update at first
    stages: tuple[float, ...] = (0.5625, 0.75)  # fractions of the run (90 and 120 of 160 epochs) where both fall
    update: UpdateSchedule = UpdateSchedule(interval=100, start=0.0, stop=0.8)

    def __post_init__(self):
        super().__post_init__()
        check_fraction("soft", self.soft, zero=True)
        check_fraction("mutation", self.mutation, zero=True)
        if self.lam < 0:
            raise ValueError(f"lam={self.lam:g}: expected a weight, 0 or more")
        if len(self.stages) != 2 or not 0 < self.stages[0] < self.stages[1] < self.update.stop:
            raise ValueError(f"stages={list(self.stages)}: expected two rising fractions before {self.update.stop:g}")

    def _left(self, step: int, total: int) -> float:
        """What is left of the soft bound and of the mutation rate: 1, then a half, then 0."""
        return 1.0 - sum(step >= stage * total for stage in self.stages) / len(self.stages)

    def density_at(self, step: int, total: int) -> float:
        """The bound after the update of a step."""
        return min(1.0, self.density + self.soft * self._left(step, total))

    def init_topology(self, net: NetView) -> Topology:
        return self.random(net, self.density_at(0, net.total_steps))

    def update_topology(self, step: int, net: NetView) -> Topology:
        density = self.density_at(step, net.total_steps)
        shapes = {name: tuple(layer.weight.shape) for name, layer in net.layers.items()}
        counts, active = allocate(shapes, density, self.distribution), {}
        share = min(self.mutation * self._left(step, net.total_steps) / density, 0.5)
        for name, layer in net.layers.items():
            score = layer.weight.abs() + (0 if layer.grad is None else self.lam * layer.grad.abs())
            kept = top(score.masked_fill(~layer.active, -1), counts[name] - int(share * counts[name]))
            grown = random_scores(layer.weight, net.generator).masked_fill(kept, -1)
            active[name] = kept | top(grown, counts[name] - int(kept.sum()))
        return Topology(active)
