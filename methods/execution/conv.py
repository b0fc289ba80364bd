"""A convolution whose weights a method selects: the three products of a linear layer over its unfolded input.

Its weight is the matrix [O, I kh kw]. Where single operands are selected, the input is unfolded and the products are
those of a linear layer; else PyTorch's convolution runs on the masked weight, which computes the same.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.base import Product
from methods.execution.linear import SelectiveLinear, products


class SelectiveConv2d(SelectiveLinear):
    """Takes the place of an `nn.Conv2d` with one group of channels, its weight as a matrix.

    Args:
        conv: whose bias is taken over, and whose weight is copied.
        mask_of: the session's (layer, product, T) -> mask of the weights in a product, None for all.
        operands: whether the method selects operands of single products.
    Raises:
        ValueError: the convolution computes its weight, or has a forward pass of its own.
    """

    def __init__(self, conv: nn.Conv2d, name: str, execute, mask_of, operands: bool):
        nn.Module.__init__(self)
        if type(conv).forward is not nn.Conv2d.forward or "weight" not in conv._parameters:
            raise ValueError(
                f"{name}: {type(conv).__name__} is a convolution with a forward pass or a parametrization of its own, "
                "whose weights cannot be selected; expected a plain nn.Conv2d"
            )
        self.weight = nn.Parameter(conv.weight.detach().flatten(1).contiguous(), conv.weight.requires_grad)
        self.bias = conv.bias
        self.out_features, self.in_features = self.weight.shape
        self.kernel, self.channels = tuple(conv.kernel_size), conv.in_channels
        self.border: tuple | None = None  # of F.pad, where the convolution itself cannot pad so
        if isinstance(conv.padding, str) or conv.padding_mode != "zeros":
            mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
            self.border = (tuple(conv._reversed_padding_repeated_twice), mode)
        padding = conv.padding if self.border is None else (0, 0)
        self.placing = {"stride": conv.stride, "padding": padding, "dilation": conv.dilation}
        self.name, self.tokens, self.operands = name, None, operands
        object.__setattr__(self, "execute", execute)
        object.__setattr__(self, "mask_of", mask_of)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.out_features, self.channels, *self.kernel

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        if torch.is_autocast_enabled(x.device.type):  # autocast does not reach a custom function
            dtype = torch.get_autocast_dtype(x.device.type)
            x, weight = x.to(dtype), weight.to(dtype)
        if self.border is not None:
            x = F.pad(x, *self.border)
        y = self._unfolded(x, weight) if self.operands else _Convolution.apply(x, weight, self)
        return y if self.bias is None else y + self.bias.to(y.dtype).view(-1, 1, 1)

    def _unfolded(self, x: Tensor, weight: Tensor) -> Tensor:
        size = _output_size(x, self)
        rows = F.unfold(x, self.kernel, **self.placing).transpose(1, 2).reshape(-1, self.in_features)
        self.tokens = len(rows)
        y = products(rows, weight, self)
        return y.view(len(x), *size, self.out_features).permute(0, 3, 1, 2)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, layer: SelectiveConv2d) -> Tensor:
        height, breadth = _output_size(x, layer)
        ctx.layer, layer.tokens = layer, len(x) * height * breadth
        ctx.save_for_backward(x, weight)
        kernel = _masked(weight, layer.mask_of(layer.name, Product.FORWARD, layer.tokens))
        return F.conv2d(x, _kernel(kernel, layer), **layer.placing)

    @staticmethod
    def backward(ctx, dy: Tensor):
        x, weight = ctx.saved_tensors
        layer, dx, dw = ctx.layer, None, None
        tokens = dy.numel() // dy.shape[1]
        if ctx.needs_input_grad[0]:
            kernel = _masked(weight, layer.mask_of(layer.name, Product.INPUT_GRAD, tokens))
            dx = torch.nn.grad.conv2d_input(x.shape, _kernel(kernel, layer), dy, **layer.placing)
        if ctx.needs_input_grad[1]:
            dw = torch.nn.grad.conv2d_weight(x, layer.shape, dy, **layer.placing).flatten(1)
            dw = _masked(dw, layer.mask_of(layer.name, Product.WEIGHT_GRAD, tokens))
        return dx, dw, None


def _masked(matrix: Tensor, mask: Tensor | None) -> Tensor:
    return matrix if mask is None else matrix * mask


def _kernel(matrix: Tensor, layer: SelectiveConv2d) -> Tensor:
    return matrix.view(layer.shape)


def _output_size(x: Tensor, layer: SelectiveConv2d) -> tuple[int, int]:
    stride, padding, dilation = (layer.placing[name] for name in ("stride", "padding", "dilation"))
    height, breadth = (
        (x.shape[2 + i] + 2 * padding[i] - dilation[i] * (layer.kernel[i] - 1) - 1) // stride[i] + 1 for i in (0, 1)
    )
    return height, breadth
