"""Deep rewiring: weights walk at random under an L1 pull; one that would change its sign dies, a random one is born.

Every connection has a fixed random sign and exists while its parameter theta, with weight = sign x theta, is positive.
The loss gains `l1` x theta, and after each optimizer step theta gains Gaussian noise; dead connections are replaced at
once, so that their number is constant. Source: Bellec et al. 2018, arXiv:1711.05136, algorithm 1; values of the
authors' code (noise of deviation lr x `noise` in place of the paper's temperature, newborn theta 1e-12). Differs: the
first connections are distinct (theirs are drawn with replacement, so that some fall together), any optimizer takes the
gradient step, and signs and first values are those of the model's own initialisation. Extra cost: noise of every
connection at every step.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from hundredfold.methods.execution.parts import Part, Weights
from hundredfold.methods.options import Strength, Within
from hundredfold.methods.static.random_erk import RandomErk
from hundredfold.methods.tools.importance import random_scores, some
from hundredfold.methods.topology import Topology
from hundredfold.methods.views import NetView


@dataclass(frozen=True)
class Deepr(RandomErk):
    """Weights that would change their sign die, and random ones are born."""

    source = "arXiv:1711.05136"
    extra_cost = "noise of every connection at every step"

    l1: Strength = 1e-5  # pull towards zero, added to the gradient
    noise: Strength = 1e-5  # deviation of the noise per step, times the learning rate
    newborn: Annotated[float, Within(0, low_open=True, what="a magnitude")] = 1e-12  # first value of theta

    def parts(self) -> list[Part]:
        return [Weights(self, pull=self.pull)]

    def pull(self, weight: Tensor, active: Tensor, trained: Tensor) -> Tensor:
        """What connections add to their gradient."""
        return self.l1 * weight.sign()

    def due(self, step: int, total: int) -> bool:
        return True

    def init_topology(self, net: NetView) -> Topology:
        signs = {}
        for name, layer in net.layers.items():
            coin = 1 - 2 * (random_scores(layer.weight, net.generator) < 0.5).to(layer.weight.dtype)
            signs[f"sign.{name}"] = torch.where(layer.weight == 0, coin, layer.weight.sign())
        return Topology(super().init_topology(net).active, memory=signs)

    def update_topology(self, step: int, net: NetView) -> Topology:
        active, values = {}, {}
        for name, layer in net.layers.items():
            sign = net.memory[f"sign.{name}"].flatten()
            alive, value = layer.active.flatten().clone(), layer.weight.flatten().clone()
            there = alive.nonzero().flatten()
            noise = torch.randn(len(there), generator=net.generator).to(value)
            theta = sign[there] * value[there] + net.learning_rate * self.noise * noise
            alive[there] = survives = theta > 0
            value[there] = sign[there] * theta.clamp(min=0)
            born = some(~alive, len(there) - int(survives.sum()), net.generator)
            alive[born], value[born] = True, self.newborn * sign[born]
            active[name], values[name] = alive.view_as(layer.weight), value.view_as(layer.weight)
        return Topology(active, values=values)
