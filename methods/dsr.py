"""Dynamic sparse reparameterization: one adaptive threshold for all layers, growth where most weights survive.

At an update every active weight below the threshold is dropped; as many are grown at random, divided over the layers
in proportion to the weights that survived there. The threshold doubles if fewer than the wanted fraction was dropped and
halves if more. Source: Mostafa and Wang 2019, arXiv:1902.05967, algorithm 1. Differs: remainders of the division go to
the layers with most room, so that the total is exact. Extra cost: comparing and drawing at update steps.
"""

from dataclasses import dataclass

import torch

from methods.base import NetView, Topology, UpdateSchedule, check_fraction
from methods.importance import random_scores, top
from methods.random_erk import RandomErk


def divide(amount: int, weights: dict[str, float], room: dict[str, int]) -> dict[str, int]:
    """Whole numbers that add up to `amount`, in proportion to weights, none above its room.

    Raises:
        ValueError: there is not that much room.
    """
    if amount > sum(room.values()):
        raise ValueError(f"cannot divide {amount} over room for {sum(room.values())}")
    shares, rest = dict.fromkeys(room, 0), amount
    while rest > 0:
        free = {name: weights[name] + 1e-12 for name in room if shares[name] < room[name]}
        total, given = sum(free.values()), 0
        for name, weight in free.items():
            more = min(int(rest * weight / total), room[name] - shares[name])
            shares[name], given = shares[name] + more, given + more
        if not given:  # less than one each: to the heaviest
            shares[max(free, key=free.get)] += 1
            given = 1
        rest -= given
    return shares


@dataclass(frozen=True)
class Dsr(RandomErk):
    """Drops below one adaptive threshold, grows where weights survive."""

    family = "dynamic"
    source = "arXiv:1902.05967"
    extra_cost = "sorting at update steps"

    drop: float = 0.01  # wanted fraction of the active weights per update
    threshold: float = 1e-3  # first threshold of |w|
    tolerance: float = 0.1  # the threshold stays while the dropped fraction is within this share of the wanted one
    update: UpdateSchedule = UpdateSchedule(interval=100, start=0.0, stop=1.0)

    def __post_init__(self):
        super().__post_init__()
        check_fraction("drop", self.drop)
        check_fraction("tolerance", self.tolerance, zero=True)
        if self.threshold <= 0:
            raise ValueError(f"threshold={self.threshold:g}: expected a magnitude above 0")

    def init_topology(self, net: NetView) -> Topology:
        return Topology(super().init_topology(net).active, memory={"threshold": torch.tensor(self.threshold)})

    def update_topology(self, step: int, net: NetView) -> Topology:
        threshold = float(net.memory["threshold"])
        kept = {name: layer.active & (layer.weight.abs() >= threshold) for name, layer in net.layers.items()}
        survivors = {name: int(mask.sum()) for name, mask in kept.items()}
        total = sum(int(layer.active.sum()) for layer in net.layers.values())
        dropped = total - sum(survivors.values())
        room = {name: mask.numel() - survivors[name] for name, mask in kept.items()}
        grown = divide(dropped, {name: float(count) for name, count in survivors.items()}, room)
        active = {
            name: mask | top(random_scores(mask, net.generator).masked_fill(mask, -1), grown[name])
            for name, mask in kept.items()
        }
        if dropped < (1 - self.tolerance) * self.drop * total:
            threshold *= 2
        elif dropped > (1 + self.tolerance) * self.drop * total:
            threshold /= 2
        return Topology(active, memory={"threshold": torch.tensor(threshold)})
