"""Always sparse, forward and backward: the largest weights compute, a larger set of them is trained.

Per layer the forward pass and the input gradient use the `density` largest weights (A); the weight gradient covers the
`density + extra` largest (B), so that weights just outside A can grow into it. Every weight keeps its value: the method
undoes what the optimizer's weight decay does to weights outside B. Weights of A decay as the recipe has it; the loss of
those of B outside A gains `decay` / `density` x w^2 / 2 on top. Source: Jayakumar et al. 2020, arXiv:2106.03517,
sections 2.1-2.3. Differs: A and B are chosen anew every `update.interval` steps, not at each. Extra cost: sorting at
update steps, and the weight gradient of B.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from hundredfold.methods.base import Method
from hundredfold.methods.execution.parts import Part, Weights
from hundredfold.methods.options import Fraction, FractionOrZero, Strength
from hundredfold.methods.tools.allocation import Distribution, Shapes, allocate
from hundredfold.methods.tools.importance import top
from hundredfold.methods.topology import Topology, UpdateSchedule
from hundredfold.methods.views import NetView


@dataclass(frozen=True)
class TopKast(Method):
    """Computes with the largest weights and trains a larger set."""

    source = "arXiv:2106.03517"
    extra_cost = "sorting at update steps; gradients of further weights"

    density: Fraction = 0.1  # fraction of the prunable weights that compute
    extra: FractionOrZero = 0.1  # further fraction that is trained; paper: backward sparsity 0.8, forward 0.9
    distribution: Distribution = "uniform"  # over the layers
    decay: Strength = 1e-4  # exploration decay of weights that are trained only, times 1 / density
    update: UpdateSchedule = UpdateSchedule(interval=10, start=0.0, stop=1.0)  # paper: 1, and 100 does as well

    def parts(self) -> list[Part]:
        return [Weights(self, keeps=True, pull=self.pull)]

    def pull(self, weight: Tensor, active: Tensor, trained: Tensor) -> Tensor:
        """What weights that are trained and do not compute add to their gradient."""
        return self.decay / self.density * weight * (trained & ~active)

    def due(self, step: int, total: int) -> bool:
        return True

    def init_topology(self, net: NetView) -> Topology:
        return self._choose({name: layer.weight.clone() for name, layer in net.layers.items()}, net.shapes)

    def update_topology(self, step: int, net: NetView) -> Topology:
        values = {}
        for name, layer in net.layers.items():
            values[name] = torch.where(layer.trained, layer.weight, net.memory[f"dense.{name}"])
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
