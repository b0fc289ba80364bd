"""Sparse networks from scratch: sparse momentum decides where weights grow, and in which layer.

At an update every layer drops its smallest weights; the total of what was dropped is divided over the layers by the mean
momentum of their active weights, and grows where the momentum of missing weights is largest. Momentum is an average of
the dense gradient, which every step computes. Source: Dettmers and Zettlemoyer 2019, arXiv:1907.04840, algorithm 1;
the fraction is annealed over the whole run as in the authors' code. Differs: the total is exact, without the code's
exceptions for layers of low sparsity; updates at an interval, not an epoch. Extra cost: dense weight gradients at every
step.
"""

from dataclasses import dataclass

from methods.base import NetView, Topology, UpdateSchedule, check_fraction
from methods.dsr import divide
from methods.importance import top
from methods.random_erk import RandomErk
from methods.schedules import cosine, progress


@dataclass(frozen=True)
class Snfs(RandomErk):
    """Drops the smallest weights, grows by momentum over all layers."""

    family = "dynamic"
    source = "arXiv:1907.04840"
    extra_cost = "dense weight gradients at every step"
    needs = frozenset({"grad_mean"})

    drop: float = 0.5  # fraction of a layer's active weights, annealed to `least`
    least: float = 0.005  # fraction at the end
    update: UpdateSchedule = UpdateSchedule(interval=100, start=0.0, stop=1.0)

    def __post_init__(self):
        super().__post_init__()
        check_fraction("drop", self.drop, zero=True)
        check_fraction("least", self.least, zero=True)

    def update_topology(self, step: int, net: NetView) -> Topology | None:
        if not all(layer.grad_mean is not None for layer in net.layers.values()):
            return None
        done = progress(step, 0, self.update.stop * net.total_steps)
        fraction = self.least + cosine(done, max(self.drop - self.least, 0.0))
        kept, worth, dropped = {}, {}, 0
        for name, layer in net.layers.items():
            total = int(layer.active.sum())
            num_dropped = int(fraction * total)
            kept[name] = top(layer.weight.abs().masked_fill(~layer.active, -1), total - num_dropped)
            worth[name] = float((layer.grad_mean.abs() * layer.active).sum() / max(total, 1))
            dropped += num_dropped
        room = {name: mask.numel() - int(mask.sum()) for name, mask in kept.items()}
        grown = divide(dropped, worth, room)
        return Topology(
            {
                name: mask | top(net.layers[name].grad_mean.abs().masked_fill(mask, -1), grown[name])
                for name, mask in kept.items()
            }
        )
