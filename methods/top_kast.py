"""Always sparse, forward and backward: the largest weights compute, a larger set of them is trained.

Per layer the forward pass and the input gradient use the `density` largest weights (A); the weight gradient covers the
`density + extra` largest (B), so that weights just outside A can grow into it. Every weight keeps its value: the method
undoes what the optimizer's weight decay does to weights outside B. Weights of A decay as the recipe has it; those of B
outside A lose lr x `decay` / `density` on top. Source: Jayakumar et al. 2020, arXiv:2106.03517, sections 2.1-2.3.
Differs: A and B are chosen anew every `update.interval` steps, not at each, and the further decay is decoupled from the
gradient. Extra cost: sorting at update steps, and the weight gradient of B.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from methods.allocation import DISTRIBUTIONS, Shapes, allocate
from methods.base import Method, NetView, Topology, UpdateSchedule, check_fraction
from methods.importance import top


@dataclass(frozen=True)
class TopKast(Method):
    """Computes with the largest weights and trains a larger set."""

    family = "dynamic"
    source = "arXiv:2106.03517"
    extra_cost = "sorting at update steps; gradients of further weights"
    selects = frozenset({"weights"})
    physicality = "masked"
    keeps_weights = True

    density: float = 0.1  # fraction of the prunable weights that compute
    extra: float = 0.1  # further fraction that is trained; paper: 0.8 backward sparsity with 0.9 forward sparsity
    distribution: str = "uniform"  # over the layers: erk, er or uniform
    decay: float = 1e-4  # exploration decay of weights that are trained only, times learning rate and 1 / density
    update: UpdateSchedule = UpdateSchedule(interval=10, start=0.0, stop=1.0)  # paper: 1, and 100 does as well

    def __post_init__(self):
        check_fraction("density", self.density)
        check_fraction("extra", self.extra, zero=True)
        if self.distribution not in DISTRIBUTIONS:
            raise ValueError(f"distribution={self.distribution}: choose one of {', '.join(sorted(DISTRIBUTIONS))}")
        if self.decay < 0:
            raise ValueError(f"decay={self.decay:g}: expected a strength, 0 or more")

    def due(self, step: int, total: int) -> bool:
        return True

    def init_topology(self, net: NetView) -> Topology:
        return self._choose({name: layer.weight.clone() for name, layer in net.layers.items()}, net.shapes)

    def update_topology(self, step: int, net: NetView) -> Topology:
        values, pull = {}, net.learning_rate * self.decay / self.density
        for name, layer in net.layers.items():
            weight = torch.where(layer.trained, layer.weight, net.memory[f"dense.{name}"])
            values[name] = torch.where(layer.trained & ~layer.active, weight * (1 - pull), weight)
        if self.update.due(step, net.total_steps):
            return self._choose(values, net.shapes)
        masks = {name: layer.active for name, layer in net.layers.items()}
        return Topology(masks, {name: layer.trained for name, layer in net.layers.items()}, values=values)

    def _choose(self, weights: Mapping[str, Tensor], shapes: Shapes) -> Topology:
        """A and B by magnitude; the dense weights are remembered as they are now."""
        few = allocate(shapes, self.density, self.distribution)
        more = allocate(shapes, min(self.density + self.extra, 1.0), self.distribution)
        active = {name: top(weight.abs(), few[name]) for name, weight in weights.items()}
        trained = {name: active[name] | top(weight.abs(), more[name]) for name, weight in weights.items()}
        return Topology(active, trained, values=weights, memory={f"dense.{n}": w for n, w in weights.items()})
