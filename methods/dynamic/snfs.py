"""Sparse networks from scratch: sparse momentum decides where weights grow, and in which layer.

At an update every layer drops its smallest weights; the total of what was dropped is divided over the layers by the
mean momentum of their active weights, and grows where the momentum of missing weights is largest. Momentum is an
average of the dense gradient, which every step computes. Source: Dettmers and Zettlemoyer 2019, arXiv:1907.04840,
algorithm 1; the fraction falls to 0.005 over the whole run as in the authors' code, so that the topology never freezes.
Differs: the total is exact, without the code's exceptions for layers of low sparsity; momentum is kept beside the
optimizer's; updates at an interval, not an epoch. Extra cost: dense weight gradients at every step.
"""

from dataclasses import dataclass

from hundredfold.methods.dynamic.dsr import divide
from hundredfold.methods.execution.host import counts, numbers
from hundredfold.methods.execution.parts import Gradient, Part, Weights
from hundredfold.methods.options import FractionOrZero
from hundredfold.methods.static.random_erk import RandomErk
from hundredfold.methods.tools.importance import top
from hundredfold.methods.tools.schedules import cosine, progress
from hundredfold.methods.topology import Topology, UpdateSchedule
from hundredfold.methods.views import NetView


@dataclass(frozen=True)
class Snfs(RandomErk):
    """Drops the smallest weights, grows by momentum over all layers."""

    source = "arXiv:1907.04840"
    extra_cost = "dense weight gradients at every step"
    outcome = True
    updates_at_zero = False

    drop: FractionOrZero = 0.5  # fraction of a layer's active weights, annealed to `least`
    least: float = 0.005  # fraction at the end
    grad_decay: FractionOrZero = 0.9  # of the momentum; RigL's comparison: .99 is best
    update: UpdateSchedule = UpdateSchedule(interval=100, start=0.0, stop=1.0)

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.least <= self.drop:
            raise ValueError(f"least={self.least:g}: expected a fraction between 0 and drop={self.drop:g}")

    def parts(self) -> list[Part]:
        return [Weights(self, gradient=Gradient.MEAN, decay=self.grad_decay)]

    def fraction_at(self, step: int, total: int) -> float:
        """Fraction of the active weights that an update at this step drops."""
        return self.least + cosine(progress(step, 0, self.update.stop * total), self.drop - self.least)

    def update_topology(self, step: int, net: NetView) -> Topology:
        fraction, kept, momentum, room, dropped = self.fraction_at(step, net.total_steps), {}, {}, {}, 0
        totals = counts([layer.active for layer in net.layers.values()])
        sums = numbers([(layer.grad_mean.abs() * layer.active).sum() for layer in net.layers.values()])
        for (name, layer), total, summed in zip(net.layers.items(), totals, sums, strict=True):
            num_dropped = int(fraction * total)
            kept[name] = top(layer.weight.abs().masked_fill(~layer.active, -1), total - num_dropped)
            momentum[name], room[name] = summed / max(total, 1), layer.active.numel() - total + num_dropped
            dropped += num_dropped
        grown, active = divide(dropped, momentum, room), {}
        for name, layer in net.layers.items():
            active[name] = kept[name] | top(layer.grad_mean.abs().masked_fill(kept[name], -1), grown[name])
        return Topology(active)
