"""Sparse evolutionary training: the smallest weights leave, as many random ones come, at fixed density.

Source: Mocanu et al. 2018, arXiv:1707.04780, algorithm 1; drop and schedule as in RigL's comparison (joint magnitude,
cosine annealing, new weights zero, every interval) where the original drops by sign each epoch (`sign=separate`).
A weight dropped and drawn again at once keeps its value. Extra cost: sorting the weights at update steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hundredfold.methods.execution.host import counts, sizes
from hundredfold.methods.options import FractionOrZero
from hundredfold.methods.static.random_erk import RandomErk
from hundredfold.methods.tools.importance import random_scores, top
from hundredfold.methods.tools.schedules import cosine, progress
from hundredfold.methods.topology import Topology, UpdateSchedule
from hundredfold.methods.views import LayerView, NetView, StoredView


def exchange(weights: StoredView, fraction: float, generator: torch.Generator) -> Tensor:
    """Positions after a fraction of the smallest weights has left and as many others have come at random, long [n].

    Draws with rejection, so that nothing has the size of the matrix.
    """
    total = weights.shape[0] * weights.shape[1]
    count = len(weights.positions)
    kept = weights.positions[top(weights.values.abs(), count - int(fraction * count))]
    missing = count - len(kept)
    grown = kept[:0]
    while len(grown) < missing:
        draw = torch.randint(total, (2 * missing + 16,), generator=generator).unique()
        draw = draw[torch.randperm(len(draw), generator=generator)].to(kept.device, non_blocking=True)
        fresh = draw[~torch.isin(draw, torch.cat([kept, grown]), assume_unique=True)]
        grown = torch.cat([grown, fresh])[:missing]
    return torch.cat([kept, grown])


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
    def _exchanged(name: str, fraction: float, net: NetView) -> Tensor:
        """The same draw however a layer is stored, long [n] or bool [O, I]."""
        if name in net.stored:
            return exchange(net.stored[name], fraction, net.generator)
        layer = net.layers[name]
        positions = layer.active.flatten().nonzero().flatten()
        weights = StoredView(tuple(layer.weight.shape), positions, layer.weight.flatten()[positions])
        active = torch.zeros_like(layer.active)
        active.view(-1)[exchange(weights, fraction, net.generator)] = True
        return active

    def update_topology(self, step: int, net: NetView) -> Topology:
        fraction = self.fraction_at(step, net.total_steps)
        if self._chooses_at_random:
            return Topology({name: self._exchanged(name, fraction, net) for name in net.layers})
        kept, active = self.kept(net.layers, fraction), {}
        for name, missing in sizes({name: net.layers[name].active & ~mask for name, mask in kept.items()}).items():
            born = self.grow_score(net.layers[name], net).masked_fill(kept[name], -1)
            active[name] = kept[name] | top(born, missing)
        return Topology(active)
