"""Sparse evolutionary training: the smallest weights leave, as many random ones come, at fixed density.

Source: Mocanu et al. 2018, arXiv:1707.04780, algorithm 1; drop and schedule as in RigL's comparison (joint magnitude,
cosine annealing, new weights zero, every interval) where the original drops by sign each epoch (`sign=separate`).
A weight dropped and drawn again at once keeps its value. Extra cost: sorting the weights at update steps.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hundredfold.methods.execution.host import counts, places, sizes
from hundredfold.methods.options import FractionOrZero
from hundredfold.methods.static.random_erk import RandomErk
from hundredfold.methods.tools.importance import draw_beside, random_scores, top
from hundredfold.methods.tools.schedules import cosine, progress
from hundredfold.methods.topology import Topology, UpdateSchedule
from hundredfold.methods.views import LayerView, NetView, StoredView


def exchange(weights: Mapping[str, StoredView], fraction: float, generator: torch.Generator) -> dict[str, Tensor]:
    """Positions of each layer after a fraction of the smallest weights has left and as many others have come, long [n].

    Those that come are drawn, so that nothing has the size of a layer.

    Args:
        generator: on the device of the weights.
    """
    kept, missing = {}, {}
    for name, layer in weights.items():
        missing[name] = int(fraction * len(layer.positions))
        stay = len(layer.positions) - missing[name]
        kept[name] = layer.positions[places(top(layer.values.abs(), stay), stay)]
    born = draw_beside(kept, {name: math.prod(layer.shape) for name, layer in weights.items()}, missing, generator)
    return {name: torch.cat([kept[name], born[name]]) for name in weights}


@dataclass(frozen=True)
class Set(RandomErk):
    """Drops the smallest weights and grows random ones, at fixed density."""

    source = "arXiv:1707.04780"
    extra_cost = "sorting at update steps"

    drop: FractionOrZero = 0.3  # fraction of a layer's active weights, annealed to 0
    update: UpdateSchedule = UpdateSchedule(interval=100, start=0.0, stop=0.75)
    sign: Literal["joint", "separate"] = "joint"  # drop among all weights, or of either sign by itself

    @property
    def _chooses_at_random(self) -> bool:
        """Whether growth needs no score of missing weights, and dropping none but the magnitude."""
        cls = type(self)
        return self.sign == "joint" and cls.grow_score is Set.grow_score and cls.kept is Set.kept

    def grow_score(self, layer: LayerView, net: NetView) -> Tensor:
        return random_scores(layer.weight, net.generator)

    def fraction_at(self, step: int, total: int) -> float:
        """Fraction of the active weights that an update at this step exchanges."""
        return cosine(progress(step, 0, self.update.stop * total), self.drop)

    def kept(self, layers: Mapping[str, LayerView], fraction: float) -> dict[str, Tensor]:
        """The active weights of each layer, bool [O, I], less a fraction of the smallest."""
        sides = [(name, side) for name, layer in layers.items() for side in self._sides(layer)]
        kept = {name: torch.zeros_like(layer.active) for name, layer in layers.items()}
        for (name, side), total in zip(sides, counts([side for _, side in sides]), strict=True):
            magnitude = layers[name].weight.abs().masked_fill(~side, -1)
            kept[name] |= top(magnitude, total - int(fraction * total))
        return kept

    def _sides(self, layer: LayerView) -> list[Tensor]:
        """The active weights, in parts that lose the same fraction."""
        if self.sign == "joint":
            return [layer.active]
        return [layer.active & (layer.weight >= 0), layer.active & (layer.weight < 0)]

    @staticmethod
    def _exchanged(fraction: float, net: NetView) -> dict[str, Tensor]:
        """The same draw however a layer is stored: long [n] of a stored one, bool [O, I] of one under a mask."""
        weights = dict(net.stored)
        masks = {name: net.layers[name].active for name in net.layers if name not in weights}
        for name, count in sizes(masks).items():
            positions = places(masks[name], count)
            weights[name] = StoredView(
                tuple(masks[name].shape), positions, net.layers[name].weight.flatten()[positions]
            )
        after = exchange({name: weights[name] for name in net.layers}, fraction, net.device_generator)
        filled = {name: torch.zeros_like(mask).flatten().index_fill_(0, after[name], True).view_as(mask)
                  for name, mask in masks.items()}
        return after | filled

    def update_topology(self, step: int, net: NetView) -> Topology:
        fraction = self.fraction_at(step, net.total_steps)
        if self._chooses_at_random:
            return Topology(self._exchanged(fraction, net))
        kept, active = self.kept(net.layers, fraction), {}
        for name, missing in sizes({name: net.layers[name].active & ~mask for name, mask in kept.items()}).items():
            born = self.grow_score(net.layers[name], net).masked_fill(kept[name], -1)
            active[name] = kept[name] | top(born, missing)
        return Topology(active)
