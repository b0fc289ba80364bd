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

from hundredfold.methods.execution.host import places, sizes
from hundredfold.methods.execution.parts import Part, Weights
from hundredfold.methods.options import Strength, Within
from hundredfold.methods.static.random_erk import RandomErk
from hundredfold.methods.tools.importance import draw_beside, random_scores
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
        signs, values, alive, survives = {}, {}, {}, {}
        for name, count in sizes({name: layer.active for name, layer in net.layers.items()}).items():
            layer = net.layers[name]
            signs[name], values[name] = net.memory[f"sign.{name}"].flatten(), layer.weight.flatten().clone()
            there, sign, value = places(layer.active, count), signs[name], values[name]
            noise = torch.randn(count, generator=net.device_generator, device=value.device, dtype=value.dtype)
            theta = sign[there] * value[there] + net.learning_rate * self.noise * noise
            value[there], survives[name] = sign[there] * theta.clamp(min=0), theta > 0
            alive[name] = there
        left = sizes(survives)
        totals = {name: len(value) for name, value in values.items()}
        deaths = {name: len(alive[name]) - count for name, count in left.items()}
        alive = {name: alive[name][places(survives[name], count)] for name, count in left.items()}
        born = draw_beside(alive, totals, deaths, net.device_generator)
        active = {}
        for name, value in values.items():
            value[born[name]] = self.newborn * signs[name][born[name]]
            mask = torch.zeros_like(value, dtype=torch.bool).index_fill_(0, torch.cat([alive[name], born[name]]), True)
            active[name] = mask.view_as(net.layers[name].weight)
        return Topology(active, values={name: value.view_as(active[name]) for name, value in values.items()})
