"""Hidden neurons selected by their activation in every step, and exactly differentiated.

A layer that reads hidden neurons uses the `density` of them with the largest activation: the same for the whole batch
(columns that a smaller product gathers), or per token (simulated). All three products of that layer shrink; the layer
that computes the neurons does not, because their values decide. Evaluation selects likewise. Source: Ahmad and
Scheinkman 2019, arXiv:1903.11257 (k winners); per batch: this project. Extra cost: sorting activations.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hundredfold.methods.base import Method
from hundredfold.methods.execution.parts import Operands, Part, readers
from hundredfold.methods.options import Fraction
from hundredfold.methods.products import Product, Selection, exact
from hundredfold.methods.tools.importance import top


@dataclass(frozen=True)
class ActivationTopk(Method):
    """Computes on with the most active neurons only."""

    source = "arXiv:1903.11257"
    extra_cost = "sorting activations"

    density: Fraction = 0.25  # fraction of the hidden neurons
    scope: Literal["batch", "token"] = "batch"  # the same neurons for the whole batch (gathered), or simulated

    def parts(self) -> list[Part]:
        return [Operands(self, self.select, layers=readers, gathers=self.scope == "batch")]

    def select(self, product: Product, layer: str, left: Tensor, right: Tensor, forward: Selection):
        if product is not Product.FORWARD:
            return exact(product, forward)
        count = max(1, round(self.density * left.shape[1]))
        if self.scope == "batch":
            return Selection(left=top(left.square().sum(0), count)[None], size=count)
        chosen = left.abs().topk(count, dim=1).indices
        return Selection(left=torch.zeros_like(left, dtype=torch.bool).scatter_(1, chosen, True))
