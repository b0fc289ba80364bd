"""Layers that run their three products one by one through a kernel, and ask a method which entries are computed.

A convolution does so over its unfolded input: the products of a linear layer whose weight is the matrix [O, I kh kw].
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hundredfold.methods.execution.cost import ideal_flops
from hundredfold.methods.execution.prunable import to_matrix
from hundredfold.methods.execution.storage.masked import MaskedConv2d, MaskedLinear, MaskedWeight, masked_class
from hundredfold.methods.products import ALL, Product, Selection, exact

Choice = Callable[[Product, str, Tensor, Tensor, Selection], Selection]


class _Products(torch.autograd.Function):
    """Forward, input gradient and weight gradient as three selected products."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, layer: SelectedWeight) -> Tensor:
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


class SelectedWeight(MaskedWeight):
    """A layer under masks that asks for a selection of every product.

    Attributes:
        choose: (product, layer, left, right, what was chosen in the forward product) -> selection; None for all.
        kernel: runs a product under a selection.
    """

    def _init_products(self, choose: Choice | None, kernel) -> None:
        object.__setattr__(self, "choose", choose)
        self.kernel = kernel

    def run(self, product: Product, left: Tensor, right: Tensor, forward: Selection) -> tuple[Tensor, Selection]:
        """One product under the method's choice and the layer's masks, and that choice."""
        chosen = exact(product, forward)
        if self.choose is not None:
            chosen = self.choose(product, self.name, left, right, forward)
        selection = chosen if self.active is None else self._within_masks(product, chosen)
        if self.skipped is not None and self.kernel.simulated:
            everything = ideal_flops(product, left, right, ALL)
            self.skipped += everything - ideal_flops(product, left, right, selection)
        zeros = product is not Product.WEIGHT_GRAD and not self.hides and self.kernel.simulated
        return self.kernel.run(product, left, right, chosen if zeros else selection), chosen

    def _within_masks(self, product: Product, chosen: Selection) -> Selection:
        if product is not Product.WEIGHT_GRAD:
            return chosen._replace(right=_and(chosen.right, to_matrix(self, self.active)), size=None)
        reach = None if self.wants_dense_grad else to_matrix(self, self.reach)
        return chosen._replace(out=_and(chosen.out, reach), size=None)

    def density(self) -> float:
        return float((self.weight != 0).float().mean()) if self.active is None else super().density()

    def num_missing(self) -> int:
        """Thresholds leave zeros without a mask."""
        return int((self.weight == 0).sum()) if self.active is None else super().num_missing()

    def product(self, rows: Tensor) -> Tensor:
        """rows [T, I] -> [T, O], without the bias."""
        self.tokens = len(rows)
        weight = to_matrix(self, self.weight)
        if torch.is_autocast_enabled(rows.device.type):  # autocast does not reach a custom function
            dtype = torch.get_autocast_dtype(rows.device.type)
            rows, weight = rows.to(dtype), weight.to(dtype)
        return _Products.apply(rows, weight, self)


def _and(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if a is None or b is None:
        return b if a is None else a
    return a & b


class SelectedLinear(SelectedWeight, nn.Linear):
    """A linear layer whose three products are selected."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.product(x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], self.out_features)
        return y if self.bias is None else y + self.bias.to(y.dtype)


class SelectedConv2d(SelectedWeight, nn.Conv2d):
    """A convolution whose three products are selected, over its unfolded input."""

    def forward(self, x: Tensor) -> Tensor:
        padding, dilation, stride = self.padding, self.dilation, self.stride
        if isinstance(padding, str) or self.padding_mode != "zeros":
            mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
            x, padding = F.pad(x, tuple(self._reversed_padding_repeated_twice), mode), (0, 0)
        height, breadth = (
            (x.shape[2 + i] + 2 * padding[i] - dilation[i] * (self.kernel_size[i] - 1) - 1) // stride[i] + 1
            for i in (0, 1)
        )
        columns = F.unfold(x, self.kernel_size, dilation, padding, stride)
        rows = columns.transpose(1, 2).reshape(-1, columns.shape[1])
        y = self.product(rows).view(len(x), height, breadth, self.out_channels).permute(0, 3, 1, 2)
        return y if self.bias is None else y + self.bias.to(y.dtype).view(-1, 1, 1)


class SelectedConv1D(SelectedWeight):
    """transformers' `Conv1D` whose three products are selected."""

    in_features = property(lambda self: self.weight.shape[0])
    out_features = property(lambda self: self.weight.shape[1])

    def forward(self, x: Tensor) -> Tensor:
        y = self.product(x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], self.nf)
        return y + self.bias.to(y.dtype)


def select_layer(layer: nn.Module, name: str, choose: Choice | None, kernel) -> SelectedWeight:
    """Let a layer ask for a selection of its products, in place; it may have masks already.

    Raises:
        ValueError: a convolution that has a forward pass of its own.
    """
    fresh, plain = not isinstance(layer, MaskedWeight), type(layer)
    if fresh and isinstance(layer, nn.Conv2d) and type(layer).forward is not nn.Conv2d.forward:
        masked_class(type(layer), name)  # refuses it
    layer.__class__ = _selected_class(type(layer))
    if fresh:
        layer._init_masks(name, keeps=False)
        layer.plain = plain
    layer._init_products(choose, kernel)
    return layer


def _selected_class(cls: type[nn.Module]) -> type[SelectedWeight]:
    for selected, known in ((SelectedLinear, (nn.Linear, MaskedLinear)), (SelectedConv2d, (nn.Conv2d, MaskedConv2d))):
        if issubclass(cls, known[0]):
            return selected if cls in known else _mixed(selected, cls)
    return _mixed(SelectedConv1D, cls)


@cache
def _mixed(selected: type, cls: type) -> type:
    return type(f"Selected{cls.__name__}", (selected, cls), {})
