"""Deep rewiring: weights walk at random under an L1 pull; one that would change its sign dies, a random one is born.

Every connection has a fixed random sign and exists while its parameter theta, with weight = sign x theta, is positive.
After each optimizer step theta loses lr x l1 and gains Gaussian noise; dead connections are replaced at once, so that
their number is constant. Source: Bellec et al. 2018, arXiv:1711.05136, algorithm 1; values of the authors' code (noise
of deviation lr x `noise`, newborn theta 1e-12). Differs: the first connections are distinct (theirs are drawn with
replacement), and the budget is per layer. Extra cost: noise and a comparison of every weight at every step.
"""

from dataclasses import dataclass

import torch

from methods.base import NetView, Topology
from methods.importance import random_scores, top
from methods.random_erk import RandomErk


@dataclass(frozen=True)
class Deepr(RandomErk):
    """Weights that change their sign die, and random ones are born."""

    family = "dynamic"
    source = "arXiv:1711.05136"
    extra_cost = "noise and sorting at every step"

    l1: float = 1e-5  # pull towards zero, times the learning rate
    noise: float = 1e-5  # deviation of the noise, times the learning rate
    newborn: float = 1e-12  # first value of theta

    def __post_init__(self):
        super().__post_init__()
        for name in ("l1", "noise", "newborn"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name):g}: expected 0 or more")

    def due(self, step: int, total: int) -> bool:
        return True

    def init_topology(self, net: NetView) -> Topology:
        first = super().init_topology(net)
        sign = {f"sign.{name}": layer.weight.sign() for name, layer in net.layers.items()}
        return Topology(first.active, memory=sign)

    def update_topology(self, step: int, net: NetView) -> Topology:
        active, values = {}, {}
        for name, layer in net.layers.items():
            sign = net.memory[f"sign.{name}"]
            noise = torch.randn(sign.shape, generator=net.generator).to(sign.device)
            theta = layer.weight * sign - net.learning_rate * (self.l1 - self.noise * noise)
            alive = layer.active & (theta > 0)
            draw = random_scores(sign, net.generator).masked_fill(layer.active, -0.5)  # the dead only if no other is left
            born = top(draw.masked_fill(alive, -1), int((layer.active & ~alive).sum()))
            active[name] = alive | born
            values[name] = sign * torch.where(born, self.newborn, theta * alive)
        return Topology(active, values=values)
