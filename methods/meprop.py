"""Minimal-effort back-propagation: only the largest entries of a layer's output gradient travel on.

At every hidden linear layer the `fraction` of the output gradient's entries with the largest magnitude is kept, per
example or, summed over the batch, the same columns for all (unified); the other rows of the weight gradient are zero.
Source: Sun et al. 2017, arXiv:1706.06197, eq. 5-8 and section 3.3 (unified). As there, the output layer and the bias
gradients are exact; the optimizer still steps every weight. Extra cost: sorting one gradient per layer and step.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from methods.base import Method, Product, Selection, check_fraction
from methods.importance import top


@dataclass(frozen=True)
class Meprop(Method):
    """Back-propagates only the largest output gradients."""

    family = "selective"
    source = "arXiv:1706.06197"
    extra_cost = "sorting output gradients"
    selects = frozenset({"operands"})
    operand_layers = "hidden"

    fraction: float = 0.1  # of a layer's outputs; paper: 20 to 160 of 500
    scope: str = "batch"  # the same columns for the whole batch (gathered), or per example (simulated)

    def __post_init__(self):
        check_fraction("fraction", self.fraction)
        if self.scope not in ("batch", "example"):
            raise ValueError(f"scope={self.scope}: choose one of batch, example")

    @property
    def physicality(self) -> str:
        return "partial" if self.scope == "batch" else "masked"

    @property
    def backend(self) -> str:
        return "compact" if self.scope == "batch" else "masked"

    def kept(self, grad: Tensor) -> Tensor:
        """Entries of an output gradient [T, O] that travel on: bool [1, O], or [T, O] per example."""
        count = max(1, round(self.fraction * grad.shape[1]))
        if self.scope == "batch":
            return top(grad.abs().sum(0), count)[None]
        chosen = grad.abs().topk(count, dim=1).indices
        return torch.zeros_like(grad, dtype=torch.bool).scatter_(1, chosen, True)

    def select_operands(self, product: Product, layer: str, left: Tensor, right: Tensor, forward: Selection):
        return forward if product is Product.FORWARD else Selection(left=self.kept(left))
