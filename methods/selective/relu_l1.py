"""Activations made sparse: ReLU in the feed-forward blocks and an L1 penalty on what it lets through.

What is zero needs no product in the layer that reads it; that is counted (ideal FLOPs), and simulated here.
Source: Mirzadeh et al. 2023, arXiv:2310.04564 (ReLU in place of GELU and SiLU); an L1 penalty of 3e-4 as in published
recipes of sparse gated models. The penalty is the mean over tokens of the summed activations, per block. Extra cost:
none.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hundredfold.methods.base import Method
from hundredfold.methods.execution.parts import Modules, Operands, Part, readers
from hundredfold.methods.options import Strength
from hundredfold.methods.products import Product, Selection, exact
from hundredfold.methods.views import Site

ACTIVATIONS = ("act", "act_fn")  # their names in the feed-forward blocks of timm and transformers


class _Penalty(torch.autograd.Function):
    """The identity, whose gradient has that of strength x mean over tokens of sum |h| added; works in any loop."""

    @staticmethod
    def forward(ctx, h: Tensor, strength: float) -> Tensor:
        ctx.save_for_backward(h)
        ctx.strength = strength
        return h.view_as(h)

    @staticmethod
    def backward(ctx, grad: Tensor):
        (h,) = ctx.saved_tensors
        return grad + ctx.strength * h.shape[-1] / h.numel() * h.sign(), None


class PenalisedRelu(nn.ReLU):
    """ReLU with an L1 penalty on its output."""

    def __init__(self, strength: float):
        super().__init__()
        self.strength = strength

    def forward(self, x: Tensor) -> Tensor:
        return _Penalty.apply(x.relu(), self.strength)


@dataclass(frozen=True)
class ReluL1(Method):
    """Makes activations sparse by ReLU and an L1 penalty."""

    source = "arXiv:2310.04564"

    l1: Strength = 3e-4  # strength of the penalty

    def parts(self) -> list[Part]:
        products = Operands(self, self.select, layers=readers, cost_varies=True, inference=False)
        return [Modules(self, self.adapt), products]

    def adapt(self, model: nn.Module, site: Site) -> None:
        found = [
            (parent, name)
            for parent in model.modules()
            for name, child in parent.named_children()
            if isinstance(child, nn.ReLU) or (name in ACTIVATIONS and not list(child.children()))
        ]
        if not found:
            raise ValueError("relu_l1: found no activation function; choose a model with feed-forward blocks")
        for parent, name in found:
            setattr(parent, name, PenalisedRelu(self.l1))

    def select(self, product: Product, layer: str, left: Tensor, right: Tensor, forward: Selection):
        return Selection(left=left != 0) if product is Product.FORWARD else exact(product, forward)
