"""Hidden neurons selected by their activation in every step, and exactly differentiated.

A layer that reads hidden neurons uses the `density` of them with the largest activation: the same for the whole batch
(columns that a smaller product gathers), or per token (simulated). All three products of that layer shrink; the layer
that computes the neurons does not, because their values decide. Evaluation selects likewise. Source: Ahmad and
Scheinkman 2019, arXiv:1903.11257 (k winners); per batch: this project. Extra cost: sorting activations.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from methods.base import Method, Product, Selection, check_fraction, exact
from methods.importance import top


@dataclass(frozen=True)
class ActivationTopk(Method):
    """Computes on with the most active neurons only."""

    family = "selective"
    source = "arXiv:1903.11257"
    extra_cost = "sorting activations"
    selects = frozenset({"operands"})
    operand_layers = "readers"

    density: float = 0.25  # fraction of the hidden neurons
    scope: str = "batch"  # the same neurons for the whole batch (gathered), or per token (simulated)

    def __post_init__(self):
        check_fraction("density", self.density)
        if self.scope not in ("batch", "token"):
            raise ValueError(f"scope={self.scope}: choose one of batch, token")

    @property
    def physicality(self) -> str:
        return "partial" if self.scope == "batch" else "masked"

    @property
    def backend(self) -> str:
        return "compact" if self.scope == "batch" else "masked"

    def select_operands(self, product: Product, layer: str, left: Tensor, right: Tensor, forward: Selection):
        if product is not Product.FORWARD:
            return exact(product, forward)
        count = max(1, round(self.density * left.shape[1]))
        if self.scope == "batch":
            return Selection(left=top(left.square().sum(0), count)[None])
        chosen = left.abs().topk(count, dim=1).indices
        return Selection(left=torch.zeros_like(left, dtype=torch.bool).scatter_(1, chosen, True))
