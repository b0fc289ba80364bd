"""Counts operations: selected scalar products by formula (ideal), kernels by PyTorch's own counter (executed).

A FLOP is one multiplication or one addition; one selected scalar product costs 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, register_flop_formula

from hundredfold.methods.products import Product, Selection


def ideal_flops(product: Product, left: Tensor, right: Tensor, selection: Selection) -> float | Tensor:
    """2 x the number of scalar multiplications between selected entries that feed selected outputs.

    Without an out-mask 2 * sum_i colsum(left)_i * rowsum(right)_i, with only an out-mask 2 * inner * nnz(out);
    with an out-mask and one other by row sums too, in general by the product of the masks.

    Args:
        left, right: the factors as they are stored (see `Product`).
        selection: boolean masks that broadcast against left, right and the result.
    Returns:
        A number, or a tensor of one where a mask lies on an accelerator, which is not waited for.
    """
    inner_left = 0 if product is Product.WEIGHT_GRAD else 1
    inner_right = 1 if product is Product.FORWARD else 0
    rows, columns = left.shape[1 - inner_left], right.shape[1 - inner_right]
    if all(mask is None for mask in selection[:3]):
        return 2.0 * rows * left.shape[inner_left] * columns
    if selection.out is None:
        counts = []
        for mask, factor, inner in ((selection.left, left, inner_left), (selection.right, right, inner_right)):
            everything = torch.tensor(float(factor.shape[1 - inner]))
            counts.append(everything if mask is None else mask.expand(factor.shape).sum(1 - inner).double())
        return _number(2.0 * (counts[0] * counts[1]).sum())
    out = selection.out.expand(rows, columns)
    if selection.left is None and selection.right is None:
        return _number(2.0 * left.shape[inner_left] * out.sum().double())
    if selection.right is None:
        return _number(2.0 * (selection.left.expand(left.shape).sum(inner_left) * out.sum(1)).sum().double())
    if selection.left is None:
        return _number(2.0 * (selection.right.expand(right.shape).sum(inner_right) * out.sum(0)).sum().double())
    lhs, rhs = (  # in numpy: a counter that watches torch must not take this product for one of the step's
        mask.expand(factor.shape).float().cpu().numpy()
        for mask, factor in ((selection.left, left), (selection.right, right))
    )
    lhs = lhs.T if inner_left == 0 else lhs
    rhs = rhs.T if inner_right == 1 else rhs
    return 2.0 * float((lhs @ rhs)[out.cpu().numpy()].sum(dtype=np.float64))


def _number(value: Tensor) -> float | Tensor:
    return value.item() if value.device.type == "cpu" else value


@register_flop_formula(torch.ops.aten._grouped_mm)
def _grouped(left: Sequence[int], right: Sequence[int], *args, out_shape: Sequence[int], **kwargs) -> int:
    """Every row once, whichever group it belongs to; where both factors are in groups, every shared row once."""
    if len(left) == len(right) == 2:  # [K, N] x [N, M] -> [E, K, M]
        return 2 * left[0] * left[1] * right[1]
    return 2 * math.prod(left) * right[-1] if len(right) == 3 else 2 * math.prod(right) * left[-2]


@register_flop_formula(torch.ops.aten._cudnn_rnn)
def _recurrent(inputs: Sequence[int], weights: Sequence[Sequence[int]], *args, **kwargs) -> int:
    """A product with every weight matrix at every token."""
    return 2 * inputs[0] * inputs[1] * sum(math.prod(shape) for shape in weights if len(shape) == 2)


@register_flop_formula(torch.ops.aten._cudnn_rnn_backward)
def _recurrent_backward(inputs: Sequence[int], weights: Sequence[Sequence[int]], *args, **kwargs) -> int:
    """The gradients of inputs and of weights."""
    return 2 * _recurrent(inputs, weights)


@register_flop_formula(torch.ops.aten.mkldnn_rnn_layer)
def _recurrent_layer(inputs: Sequence[int], *weights_and_others, **kwargs) -> int:
    """One layer of an LSTM on a CPU: of its four weights, two are matrices."""
    return _recurrent(inputs, weights_and_others[:4])


@register_flop_formula(torch.ops.aten.mkldnn_rnn_layer_backward)
def _recurrent_layer_backward(inputs: Sequence[int], *weights_and_others, **kwargs) -> int:
    return _recurrent_backward(inputs, weights_and_others[:4])


def executed_flops(function: Callable[[], object]) -> float:
    """FLOPs of the dense kernels that a call runs, by PyTorch's counter."""
    with FlopCounterMode(display=False) as counter:
        function()
    return float(counter.get_total_flops())
