"""The kernels of blocks against dense products, in Triton's interpreter: python -m tests.block_kernels

Run by itself, because the interpreter is chosen when the kernels are defined.
"""

from __future__ import annotations

import os

os.environ["TRITON_INTERPRET"] = "1"

import itertools

import torch
from torch import nn

from hundredfold.methods.execution.cost import executed_flops
from hundredfold.methods.execution.kernels import block_products
from hundredfold.methods.execution.storage.block_sparse import BlockSparseLinear

BITS = {torch.float32: 1e-5, torch.bfloat16: 1e-2}  # largest relative error


def pattern(rows: int, columns: int, side: int) -> torch.Tensor:
    """Weights that exist, bool [O, I]: about a third of the blocks, none in the last row and the first column."""
    blocks = torch.rand(rows, columns, generator=torch.Generator().manual_seed(3)) < 0.35
    blocks[-1], blocks[:, 0], blocks[0, 1] = False, False, True
    return blocks.repeat_interleave(side, 0).repeat_interleave(side, 1)


def error(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one.detach().float() - other.detach().float()).norm() / other.detach().float().norm())


def check(side: int, tokens: int, dtype: torch.dtype) -> None:
    """All three products of one layer, and their FLOPs."""
    active = pattern(3, 4, side)
    torch.manual_seed(0)
    weight = (torch.randn(active.shape) * active).to(dtype).float()
    places = active.flatten().nonzero().flatten()
    layer = BlockSparseLinear("layer", weight, nn.Parameter(torch.randn(len(weight))), places, places)
    assert block_products.usable(weight, side) and layer.side == side
    x = torch.randn(tokens, active.shape[1]).to(dtype).requires_grad_()
    dy = torch.randn(tokens, active.shape[0]).to(dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
        flops = executed_flops(lambda: layer(x).backward(dy))
        y = layer(x)
    assert flops == 3 * 2 * tokens * int(active.sum()), flops
    dense = x.detach().float() @ weight.T + layer.bias
    assert error(y, dense) < BITS[dtype], error(y, dense)
    assert error(x.grad, dy.float() @ weight) < BITS[dtype]
    grad = layer.dense(layer.values.grad)
    assert error(grad, (dy.float().T @ x.detach().float()) * active) < BITS[dtype]
    assert layer.values.grad.dtype is torch.float32


if __name__ == "__main__":
    cases = list(itertools.product((16, 64, 128), (1, 64, 100), BITS))
    for case in cases:
        check(*case)
    print(f"{len(cases)} cases agree with dense products")
