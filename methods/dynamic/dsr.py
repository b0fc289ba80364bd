"""Dynamic sparse reparameterization: one adaptive threshold for all layers, growth where most weights survive.

At an update every active weight below the threshold is dropped; as many are grown at random, divided over the layers
in proportion to the weights that survived there. The threshold doubles if too few were dropped and halves if too many.
Source: Mostafa and Wang 2019, arXiv:1902.05967, algorithm 1. Differs: the wanted number is a fraction of the active
weights, the interval is constant where theirs grows, what a layer has no room for goes to the others, and a weight
dropped and drawn again at once keeps its value. Extra cost: comparing and drawing at update steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch

from hundredfold.methods.execution.host import counts
from hundredfold.methods.options import Fraction, FractionOrZero, Within
from hundredfold.methods.static.random_erk import RandomErk
from hundredfold.methods.tools.importance import random_scores, top
from hundredfold.methods.topology import Topology, UpdateSchedule
from hundredfold.methods.views import NetView


def divide(amount: int, shares: Mapping[str, float], room: Mapping[str, int]) -> dict[str, int]:
    """Whole numbers that add up to `amount`, in proportion to shares, none above its room.

    What rounding leaves over goes to the largest fractional parts; what is above a room is divided over the others.
    """
    if amount > sum(room.values()):
        raise ValueError(f"cannot divide {amount} weights over room for {sum(room.values())}")
    given = dict.fromkeys(room, 0)
    while rest := amount - sum(given.values()):
        free = [name for name in room if given[name] < room[name]]
        total = sum(shares[name] for name in free)
        quota = {name: rest * (shares[name] / total if total else 1 / len(free)) for name in free}
        left_over = rest - sum(int(part) for part in quota.values())
        for index, name in enumerate(sorted(free, key=lambda name: int(quota[name]) - quota[name])):
            given[name] += min(int(quota[name]) + (index < left_over), room[name] - given[name])
    return given


@dataclass(frozen=True)
class Dsr(RandomErk):
    """Drops below one adaptive threshold, grows where weights survive."""

    source = "arXiv:1902.05967"
    extra_cost = "sorting at update steps"
    outcome = True
    updates_at_zero = False

    drop: Fraction = 0.05  # wanted fraction of the active weights per update; authors: a number for each network
    threshold: Annotated[float, Within(0, low_open=True, what="a magnitude")] = 1e-3  # first threshold of |w|
    tolerance: FractionOrZero = 0.1  # the threshold stays while the number dropped is this close to the wanted one
    update: UpdateSchedule = UpdateSchedule(interval=100, start=0.0, stop=1.0)

    def init_topology(self, net: NetView) -> Topology:
        first = super().init_topology(net).active
        return Topology(first, memory={"threshold": torch.tensor(self.threshold, dtype=torch.float64)})

    def update_topology(self, step: int, net: NetView) -> Topology:
        threshold = net.memory["threshold"]
        kept = {name: layer.active & (layer.weight.abs() >= float(threshold)) for name, layer in net.layers.items()}
        sizes = counts([*kept.values(), *(layer.active for layer in net.layers.values())])
        survivors, total = dict(zip(kept, sizes, strict=False)), sum(sizes[len(kept) :])
        dropped = total - sum(survivors.values())
        grown = divide(dropped, survivors, {name: mask.numel() - survivors[name] for name, mask in kept.items()})
        active = {
            name: mask | top(random_scores(mask, net.generator).masked_fill(mask, -1), grown[name])
            for name, mask in kept.items()
        }
        if dropped < (1 - self.tolerance) * self.drop * total:
            threshold = threshold * 2
        elif dropped > (1 + self.tolerance) * self.drop * total:
            threshold = threshold / 2
        return Topology(active, memory={"threshold": threshold})
