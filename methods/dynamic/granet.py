"""Gradual pruning with neuroregeneration: at every update the network is pruned further, and then some weights return.

A global magnitude pruning follows the cubic schedule; then each layer drops a fraction of its smallest weights and
grows as many by the dense gradient. The exchange goes on when the pruning is over. Source: Liu et al. 2021,
arXiv:2106.10404, algorithm 1: from density 0.5 (sparse to sparse) or 1 (dense to sparse), every 1000 steps, the
exchanged fraction falling from 0.5 to 0.005 over the whole run as in the authors' code. Differs: exact numbers, where
the first topology of the authors' code is drawn weight by weight. Extra cost: the dense weight gradient of every layer
at update steps.
"""

from dataclasses import dataclass

from hundredfold.methods.execution.host import sizes
from hundredfold.methods.execution.parts import Gradient, Part, Weights
from hundredfold.methods.options import Fraction, FractionOrZero
from hundredfold.methods.static.random_erk import RandomErk
from hundredfold.methods.tools.importance import top, top_global
from hundredfold.methods.tools.schedules import cosine, cubic, progress
from hundredfold.methods.topology import Topology, UpdateSchedule
from hundredfold.methods.views import NetView


@dataclass(frozen=True)
class Granet(RandomErk):
    """Prunes gradually, and exchanges weights by gradient."""

    source = "arXiv:2106.10404"
    extra_cost = "dense weight gradients at update steps"
    outcome = True
    updates_at_zero = False

    initial: Fraction = 0.5  # density at the start; 1 is dense to sparse
    until: float = 0.7  # fraction of the run after which pruning is over; authors: epoch 110 (or 80) of 160
    regrow: FractionOrZero = 0.5  # fraction of a layer's weights that is exchanged per update, annealed to `least`
    least: float = 0.005  # fraction at the end
    update: UpdateSchedule = UpdateSchedule(interval=100, start=0.0, stop=1.0)  # paper: 1000 of 62,500

    def __post_init__(self):
        super().__post_init__()
        if self.initial < self.density:
            raise ValueError(f"initial={self.initial:g}: expected at least density={self.density:g}")
        if not self.update.start <= self.until <= self.update.stop:
            raise ValueError(f"until={self.until:g}: expected a fraction between update.start and update.stop")
        if not 0 <= self.least <= self.regrow:
            raise ValueError(f"least={self.least:g}: expected a fraction between 0 and regrow={self.regrow:g}")

    def parts(self) -> list[Part]:
        return [Weights(self, gradient=Gradient.ALL)]

    def density_at(self, step: int, total: int) -> float:
        """The density after an update at this step."""
        return cubic(progress(step, self.update.start * total, self.until * total), self.initial, self.density)

    def init_topology(self, net: NetView) -> Topology:
        total = net.total_steps
        if self.update.last(total) < self.until * total:
            raise ValueError(f"until={self.until:g}: no update of this run comes later; use a smaller fraction")
        return self.random(net, self.initial)

    def update_topology(self, step: int, net: NetView) -> Topology:
        magnitude = {name: layer.weight.abs().masked_fill(~layer.active, -1) for name, layer in net.layers.items()}
        size = sum(layer.numel() for layer in magnitude.values())
        remaining = top_global(magnitude, round(self.density_at(step, net.total_steps) * size))
        fraction = self.least + cosine(progress(step, 0, net.total_steps), self.regrow - self.least)
        active = {}
        for name, count in sizes(remaining).items():
            mask, num_dropped = remaining[name], int(fraction * count)
            kept = top(magnitude[name].masked_fill(~mask, -1), count - num_dropped)
            active[name] = kept | top(net.layers[name].grad.abs().masked_fill(kept, -1), num_dropped)
        return Topology(active)
