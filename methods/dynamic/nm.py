"""N:M sparsity from scratch: of every m neighbouring weights the n largest compute, all are trained.

The pattern of 2:4 runs on the sparse tensor cores of GPUs; here it is simulated. Masked weights get the straight-
through gradient and are pulled to zero by a term of it, which an optimizer that scales gradients scales too. A dense
tail trains without masks at the end. Source: Zhou et al. 2021, arXiv:2102.04010, eq. 9 (SR-STE, decay 2e-4); a dense
end: Hu et al. 2024, arXiv:2404.01847. Differs: masks are renewed every `interval` steps; the I mod m input columns
beyond the last whole group stay dense, so that a layer has O (n floor(I / m) + I mod m) weights. Extra cost: sorting
groups at update steps.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hundredfold.methods.base import Method
from hundredfold.methods.execution.parts import Part, Weights
from hundredfold.methods.options import Count, FractionOrZero, Strength
from hundredfold.methods.tools.allocation import Shapes
from hundredfold.methods.topology import Topology, UpdateSchedule
from hundredfold.methods.views import NetView


def nm_mask(weight: Tensor, n: int, m: int, positions: int = 1) -> Tensor:
    """True at the n largest magnitudes of every m neighbours along the inputs, and beyond the last whole group.

    Args:
        weight: [O, I], of a convolution [O, I kh kw].
        positions: kh kw; neighbours are input channels at one position of the kernel.
    """
    outputs, inputs = weight.shape
    whole = inputs // m * m
    channels_last = weight.view(outputs, -1, positions).transpose(1, 2).reshape(outputs, inputs)
    groups = channels_last[:, :whole].abs().reshape(outputs, -1, m)
    mask = torch.ones_like(weight, dtype=torch.bool)
    chosen = groups.topk(n, dim=2).indices
    mask[:, :whole] = torch.zeros_like(groups, dtype=torch.bool).scatter_(2, chosen, True).view(outputs, whole)
    return mask.view(outputs, positions, -1).transpose(1, 2).reshape(outputs, inputs)


@dataclass(frozen=True)
class Nm(Method):
    """Of every m neighbouring weights the n largest compute."""

    source = "arXiv:2102.04010"
    extra_cost = "sorting groups at update steps, dense weight gradients"

    n: Count = 2  # weights of a group that compute
    m: Count = 4  # neighbouring weights of a group
    decay: Strength = 2e-4  # pull on masked weights, added to their gradient
    dense_tail: FractionOrZero = 0.0  # fraction of the run without masks, at the end
    update: UpdateSchedule = UpdateSchedule(interval=10, start=0.0, stop=1.0)

    def __post_init__(self):
        super().__post_init__()
        if self.n > self.m:
            raise ValueError(f"n={self.n}, m={self.m}: expected 1 <= n <= m")

    def parts(self) -> list[Part]:
        return [Weights(self, keeps=True, pull=self.pull)]

    def pull(self, weight: Tensor, active: Tensor, trained: Tensor) -> Tensor:
        """What masked weights add to their gradient."""
        return self.decay * weight * ~active

    def label(self) -> str:
        return f"nm {self.n}:{self.m}"

    def num_active(self, shapes: Shapes, step: int, total: int) -> int:
        """Exact; every weight in the dense tail."""
        if self.dense_tail and step >= int((1 - self.dense_tail) * total):
            return sum(outputs * inputs for outputs, inputs in shapes.values())
        return sum(o * (i // self.m * self.n + i % self.m) for o, i in shapes.values())

    def due(self, step: int, total: int) -> bool:
        tail = int((1 - self.dense_tail) * total)
        return step == tail or (step < tail and super().due(step, total))

    def init_topology(self, net: NetView) -> Topology:
        return self._topology(net)

    def update_topology(self, step: int, net: NetView) -> Topology:
        if self.dense_tail and step >= int((1 - self.dense_tail) * net.total_steps):
            return Topology({name: torch.ones_like(layer.active) for name, layer in net.layers.items()})
        return self._topology(net)

    def _topology(self, net: NetView) -> Topology:
        positions = {name: math.prod(shape[2:]) for name, shape in net.shapes.items()}
        active = {name: nm_mask(v.weight, self.n, self.m, positions[name]) for name, v in net.layers.items()}
        return Topology(active, {name: torch.ones_like(mask) for name, mask in active.items()})
