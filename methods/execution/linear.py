"""A linear layer that runs its three products through a session, which asks the method what to compute."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from methods.base import ALL, Product, Selection


class _Products(torch.autograd.Function):
    """Forward, input gradient and weight gradient as three selected products."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, layer: SelectiveLinear) -> Tensor:
        ctx.layer = layer
        ctx.save_for_backward(x, weight)
        y, ctx.selected = layer.run(Product.FORWARD, x, weight, ALL)
        return y

    @staticmethod
    def backward(ctx, dy: Tensor):
        x, weight = ctx.saved_tensors
        dx = dw = None
        if ctx.needs_input_grad[0]:
            dx, _ = ctx.layer.run(Product.INPUT_GRAD, dy, weight, ctx.selected)
        if ctx.needs_input_grad[1]:
            dw, _ = ctx.layer.run(Product.WEIGHT_GRAD, dy, x, ctx.selected)
        return dx, dw, None


def products(rows: Tensor, weight: Tensor, layer: SelectiveLinear) -> Tensor:
    """rows [T, I] -> [T, O] by a layer's three selected products."""
    return _Products.apply(rows, weight, layer)


class SelectiveLinear(nn.Linear):
    """Takes over the parameters of an `nn.Linear`; `execute` is the session's (layer, product, ...) -> result."""

    def __init__(self, linear: nn.Linear, name: str, execute):
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        if parametrize.is_parametrized(linear, "weight"):
            self.weight = linear.parametrizations.weight.original
            for function in linear.parametrizations.weight:
                parametrize.register_parametrization(self, "weight", function)
        else:
            self.weight = linear.weight
        self.bias = linear.bias
        self.name = name
        self.tokens: int | None = None  # of the last forward pass
        object.__setattr__(self, "execute", execute)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weight, as the model defines it."""
        return tuple(self.weight.shape)

    def run(self, product: Product, left: Tensor, right: Tensor, forward: Selection) -> tuple[Tensor, Selection]:
        return self.execute(self.name, product, left, right, forward)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        self.tokens = len(rows)
        weight = self.weight
        if torch.is_autocast_enabled(x.device.type):  # autocast does not reach a custom function
            dtype = torch.get_autocast_dtype(x.device.type)
            rows, weight = rows.to(dtype), weight.to(dtype)
        y = products(rows, weight, self).view(*x.shape[:-1], self.out_features)
        return y if self.bias is None else y + self.bias.to(y.dtype)
