"""Sparse weight activation training: sparse weights forward, sparse weights and activations backward.

Forward and input gradient use the largest weights of every layer, chosen anew every ten steps; the weight gradient uses
the largest activations; every weight is trained. `structured` takes whole input columns of weights and activations
instead, chosen at every step, which smaller products realise. Evaluation uses the sparse weights.
Source: Raihan and Aamodt 2020, arXiv:2001.01969, algorithm 1. Differs: the largest activations are exact at every step,
where the authors keep thresholds for ten; densities are uniform over the layers. Extra cost: sorting activations.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hundredfold.methods.base import Method
from hundredfold.methods.execution.parts import Operands, Part, Weights
from hundredfold.methods.options import Fraction
from hundredfold.methods.products import Product, Selection
from hundredfold.methods.tools.allocation import allocate
from hundredfold.methods.tools.importance import top
from hundredfold.methods.topology import Topology, UpdateSchedule
from hundredfold.methods.views import NetView


@dataclass(frozen=True)
class Swat(Method):
    """Sparse weights forward, sparse weights and activations backward."""

    source = "arXiv:2001.01969"
    extra_cost = "sorting weights and activations"

    density: Fraction = 0.3  # fraction of the weights and of the activations
    structured: bool = False  # whole columns, really left out
    update: UpdateSchedule = UpdateSchedule(interval=10, start=0.0, stop=1.0)  # unstructured weights

    def parts(self) -> list[Part]:
        if self.structured:
            return [Operands(self, self.select, gathers=True)]
        return [Weights(self, keeps=True), Operands(self, self.select, inference=False)]

    def due(self, step: int, total: int) -> bool:
        return not self.structured and super().due(step, total)

    def num_updates(self, total: int) -> int | None:
        return None if self.structured else super().num_updates(total)

    def init_topology(self, net: NetView) -> Topology:
        return Topology() if self.structured else self.update_topology(0, net)

    def update_topology(self, step: int, net: NetView) -> Topology:
        shapes = {name: tuple(layer.weight.shape) for name, layer in net.layers.items()}
        counts = allocate(shapes, self.density, "uniform")
        active = {name: top(layer.weight.abs(), counts[name]) for name, layer in net.layers.items()}
        return Topology(active, {name: torch.ones_like(mask) for name, mask in active.items()})

    def select(self, product: Product, layer: str, left: Tensor, right: Tensor, forward: Selection):
        if not self.structured:
            kept = top(right.abs(), round(self.density * right.numel())) if product is Product.WEIGHT_GRAD else None
            return Selection(right=kept)
        columns = top(right.abs().sum(0), max(1, round(self.density * right.shape[1])))[None]
        return forward if product is Product.INPUT_GRAD else Selection(right=columns)
