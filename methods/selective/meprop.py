"""Minimal-effort back-propagation: only the largest entries of a layer's output gradient travel on.

At every hidden linear layer the `fraction` of the output gradient's entries with the largest magnitude is kept, per
example or, summed over the batch, the same columns for all (unified); the other rows of the weight gradient are zero.
Source: Sun et al. 2017, arXiv:1706.06197, eq. 5-8 and section 3.3 (unified). As there, the output layer and the bias
gradients are exact; the optimizer still steps every weight. Extra cost: sorting one gradient per layer and step.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hundredfold.methods.base import Method
from hundredfold.methods.execution.parts import Operands, Part, hidden
from hundredfold.methods.options import Fraction
from hundredfold.methods.products import Product, Selection
from hundredfold.methods.tools.importance import top


@dataclass(frozen=True)
class Meprop(Method):
    """Back-propagates only the largest output gradients."""

    source = "arXiv:1706.06197"
    extra_cost = "sorting output gradients"

    fraction: Fraction = 0.1  # of a layer's outputs; paper: 20 to 160 of 500
    scope: Literal["batch", "example"] = "batch"  # the same columns for the whole batch (gathered), or simulated

    def parts(self) -> list[Part]:
        return [Operands(self, self.select, layers=hidden, gathers=self.scope == "batch", inference=False)]

    def kept(self, grad: Tensor) -> Selection:
        """Entries of an output gradient [T, O] that travel on: bool [1, O], or [T, O] per example."""
        count = max(1, round(self.fraction * grad.shape[1]))
        if self.scope == "batch":
            return Selection(left=top(grad.abs().sum(0), count)[None], size=count)
        chosen = grad.abs().topk(count, dim=1).indices
        return Selection(left=torch.zeros_like(grad, dtype=torch.bool).scatter_(1, chosen, True))

    def select(self, product: Product, layer: str, left: Tensor, right: Tensor, forward: Selection):
        return forward if product is Product.FORWARD else self.kept(left)
