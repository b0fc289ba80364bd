"""Sparse evolutionary training: the smallest weights leave, as many random ones come, at fixed density.

Source: Mocanu et al. 2018, arXiv:1707.04780, algorithm 1; drop and schedule as in RigL's comparison (joint magnitude,
cosine annealing, new weights zero, every interval) where the original drops by sign each epoch.
A weight dropped and drawn again at once keeps its value. Extra cost: sorting the weights at update steps.
"""

from dataclasses import dataclass

from torch import Tensor

from methods.base import LayerView, NetView, Topology, UpdateSchedule, check_fraction
from methods.importance import random_scores, top
from methods.random_erk import RandomErk
from methods.schedules import cosine, progress


@dataclass(frozen=True)
class Set(RandomErk):
    """Drops the smallest weights and grows random ones, at fixed density."""

    family = "dynamic"
    source = "arXiv:1707.04780"
    extra_cost = "sorting at update steps"

    drop: float = 0.3  # fraction of a layer's active weights, annealed to 0
    update: UpdateSchedule = UpdateSchedule(interval=100, start=0.0, stop=0.75)

    def __post_init__(self):
        super().__post_init__()
        check_fraction("drop", self.drop, zero=True)

    def grow_score(self, layer: LayerView, net: NetView) -> Tensor:
        return random_scores(layer.weight, net.generator)

    def update_topology(self, step: int, net: NetView) -> Topology:
        fraction = cosine(progress(step, 0, self.update.stop * net.total_steps), self.drop)
        active = {}
        for name, layer in net.layers.items():
            total = int(layer.active.sum())
            num_dropped = int(fraction * total)
            kept = top(layer.weight.abs().masked_fill(~layer.active, -1), total - num_dropped)
            active[name] = kept | top(self.grow_score(layer, net).masked_fill(kept, -1), num_dropped)
        return Topology(active)
