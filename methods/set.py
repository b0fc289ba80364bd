"""Sparse evolutionary training: the smallest weights leave, as many random ones come, at fixed density.

Source: Mocanu et al. 2018, arXiv:1707.04780, algorithm 1; drop and schedule as in RigL's comparison (joint magnitude,
cosine annealing, new weights zero, every interval) where the original drops by sign each epoch (`sign=separate`).
A weight dropped and drawn again at once keeps its value. Extra cost: sorting the weights at update steps.
"""

from dataclasses import dataclass

import torch
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
    sign: str = "joint"  # drop the smallest magnitudes jointly, or separate: of positive and of negative weights alike
    update: UpdateSchedule = UpdateSchedule(interval=100, start=0.0, stop=0.75)

    def __post_init__(self):
        super().__post_init__()
        check_fraction("drop", self.drop, zero=True)
        if self.sign not in ("joint", "separate"):
            raise ValueError(f"sign={self.sign}: choose one of joint, separate")

    def grow_score(self, layer: LayerView, net: NetView) -> Tensor:
        return random_scores(layer.weight, net.generator)

    def drop_score(self, layer: LayerView) -> Tensor:
        """Score of active weights [O, I]; the smallest are dropped."""
        magnitude = layer.weight.abs()
        if self.sign == "joint":
            return magnitude
        scores = torch.zeros_like(magnitude)  # rank within its sign, as a fraction of the weights of that sign
        for side in (layer.weight >= 0, layer.weight < 0):
            side = side & layer.active
            values = magnitude[side]
            scores[side] = values.argsort(stable=True).argsort().float() / max(len(values), 1)
        return scores

    def fraction_at(self, step: int, total: int) -> float:
        """Fraction of the active weights that is exchanged by the update of a step."""
        return cosine(progress(step, 0, self.update.stop * total), self.drop)

    def update_topology(self, step: int, net: NetView) -> Topology:
        fraction, active = self.fraction_at(step, net.total_steps), {}
        for name, layer in net.layers.items():
            total = int(layer.active.sum())
            num_dropped = int(fraction * total)
            kept = top(self.drop_score(layer).masked_fill(~layer.active, -1), total - num_dropped)
            active[name] = kept | top(self.grow_score(layer, net).masked_fill(kept, -1), num_dropped)
        return Topology(active)
