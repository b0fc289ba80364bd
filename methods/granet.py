"""Gradual pruning with neuroregeneration: at every update the network is pruned further, and then some weights return.

A global magnitude pruning follows the cubic schedule; then each layer drops a fraction of its smallest weights and grows
as many by the dense gradient. Source: Liu et al. 2021, arXiv:2106.10404, algorithm 1: from density 0.5 (sparse to sparse)
or 1 (dense to sparse), every 1000 steps, regrowth 0.5 with cosine annealing over the whole run. Differs: exact numbers,
where the first topology of the authors' code is drawn weight by weight; updates in place of epochs for the last
pruning. Extra cost: the dense weight gradient of every layer at update steps.
"""

from dataclasses import dataclass

from methods.base import NetView, Topology, UpdateSchedule, check_fraction
from methods.importance import top, top_global
from methods.random_erk import RandomErk
from methods.schedules import cosine, cubic, progress


@dataclass(frozen=True)
class Granet(RandomErk):
    """Prunes gradually and regrows by gradient."""

    family = "dynamic"
    source = "arXiv:2106.10404"
    extra_cost = "dense weight gradients at update steps"
    needs = frozenset({"dense_grad"})

    initial: float = 0.5  # density at the start; 1 is dense to sparse
    regrow: float = 0.5  # fraction of a layer's weights that is exchanged per update, annealed to 0
    update: UpdateSchedule = UpdateSchedule(interval=100, start=0.0, stop=0.7)

    def __post_init__(self):
        super().__post_init__()
        check_fraction("initial", self.initial)
        check_fraction("regrow", self.regrow, zero=True)
        if self.initial < self.density:
            raise ValueError(f"initial={self.initial:g}: expected at least density={self.density:g}")

    def density_at(self, step: int, total: int) -> float:
        """The schedule; it reaches `density` exactly at its last update."""
        return cubic(progress(step, self.update.start * total, self.update.last(total)), self.initial, self.density)

    def init_topology(self, net: NetView) -> Topology:
        self.update.last(net.total_steps)  # refuses a run too short for the schedule
        return self.random(net, self.initial)

    def update_topology(self, step: int, net: NetView) -> Topology:
        magnitude = {name: layer.weight.abs().masked_fill(~layer.active, -1) for name, layer in net.layers.items()}
        total = sum(size.numel() for size in magnitude.values())
        pruned = top_global(magnitude, round(self.density_at(step, net.total_steps) * total))
        fraction = cosine(progress(step, 0, net.total_steps), self.regrow)
        active = {}
        for name, mask in pruned.items():
            count = int(mask.sum())
            num_dropped = int(fraction * count)
            kept = top(magnitude[name].masked_fill(~mask, -1), count - num_dropped)
            active[name] = kept | top(net.layers[name].grad.abs().masked_fill(kept, -1), num_dropped)
        return Topology(active)
