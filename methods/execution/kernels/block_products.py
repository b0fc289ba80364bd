"""The three products of a layer whose weights are square blocks, as Triton kernels that compute nothing else.

The blocks of a row (or column) of blocks are added up in registers: no piece of an intermediate result is written, and
sums are float32 and always in the same order. Blocks of 16 to 128 weights a side; 64 and 128 use the matrix units best.
Legend: T tokens, n blocks of b x b, F features of the input, G of the output.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

try:
    import triton
    import triton.language as tl
except ImportError:  # not on every platform
    triton = None

SMALLEST = 16  # side of a block that the matrix units take
TOKENS = 64  # that one program computes, or adds up at once


@cache
def _has_driver() -> bool:
    """Whether Triton can run kernels here: on a device of its own, or in its interpreter on the CPU."""
    if triton is None:
        return False
    if triton.knobs.runtime.interpret:
        return True
    try:
        return triton.runtime.driver.active.get_current_target().backend == "cuda"
    except RuntimeError:  # no device
        return False


def usable(x: Tensor, side: int) -> bool:
    """Whether the kernels take a tensor that meets blocks of this side."""
    return side >= SMALLEST and _has_driver() and (x.is_cuda or triton.knobs.runtime.interpret)


def grouped(places: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Blocks by the row (or column) of blocks that they lie in.

    Args:
        places: of each block, long [n].
        count: rows of blocks.
    Returns:
        where each row begins in the second, int32 [count + 1]; numbers of the blocks by row, int32 [n].
    """
    order = places.argsort(stable=True)
    begins = torch.searchsorted(places[order], torch.arange(count + 1, device=places.device))
    return begins.int(), order.int()


if triton is not None:

    @triton.jit
    def _rows_kernel(
        x, values, out, begins, order, piece_of, tokens, features_in, features_out,
        TILE: tl.constexpr, SIDE: tl.constexpr, WIDE: tl.constexpr, TRANSPOSED: tl.constexpr,
    ):  # fmt: skip
        """One tile of tokens by one row of blocks: the sum over its blocks of a piece of x times the block."""
        row = tl.program_id(1)
        lines = tl.program_id(0) * TILE + tl.arange(0, TILE)
        inside = tl.arange(0, SIDE)
        there = lines[:, None] < tokens
        total = tl.zeros((TILE, SIDE), dtype=tl.float32)
        for k in range(tl.load(begins + row), tl.load(begins + row + 1)):
            block = tl.load(order + k)
            piece = tl.load(piece_of + block)
            left = tl.load(x + lines[:, None] * features_in + piece * SIDE + inside[None, :], mask=there, other=0.0)
            corner = values + block.to(tl.int64) * SIDE * SIDE
            if TRANSPOSED:
                right = tl.load(corner + inside[None, :] * SIDE + inside[:, None])
            else:
                right = tl.load(corner + inside[:, None] * SIDE + inside[None, :])
            if WIDE:
                left, right = left.to(tl.float32), right.to(tl.float32)
            total = tl.dot(left, right, total, input_precision="ieee")
        place = out + lines[:, None] * features_out + row * SIDE + inside[None, :]
        tl.store(place, total.to(out.dtype.element_ty), mask=there)

    @triton.jit
    def _weights_kernel(
        dy, x, out, row_of, column_of, tokens, features_out, features_in,
        TILE: tl.constexpr, SIDE: tl.constexpr, WIDE: tl.constexpr,
    ):  # fmt: skip
        """One block: its piece of dy, transposed, times its piece of x."""
        block = tl.program_id(0)
        row, column = tl.load(row_of + block), tl.load(column_of + block)
        inside = tl.arange(0, SIDE)
        total = tl.zeros((SIDE, SIDE), dtype=tl.float32)
        for first in range(0, tokens, TILE):
            lines = first + tl.arange(0, TILE)
            there = lines[:, None] < tokens
            left = tl.load(dy + lines[:, None] * features_out + row * SIDE + inside[None, :], mask=there, other=0.0)
            right = tl.load(x + lines[:, None] * features_in + column * SIDE + inside[None, :], mask=there, other=0.0)
            if WIDE:
                left, right = left.to(tl.float32), right.to(tl.float32)
            total = tl.dot(tl.trans(left), right, total, input_precision="ieee")
        place = out + block.to(tl.int64) * SIDE * SIDE + inside[:, None] * SIDE + inside[None, :]
        tl.store(place, total)


def _wide(x: Tensor) -> bool:
    """Whether factors are made float32 first: the interpreter multiplies no bfloat16."""
    return triton.knobs.runtime.interpret and x.dtype is torch.bfloat16


@torch.library.custom_op("hundredfold::block_rows", mutates_args=())
def rows(
    x: Tensor, values: Tensor, begins: Tensor, order: Tensor, piece_of: Tensor, features: int, transposed: bool
) -> Tensor:
    """x [T, F] times the blocks [n, b, b], or times each of them transposed -> [T, G].

    Args:
        begins, order: blocks by their place in the output, as `grouped` gives them.
        piece_of: place of each block in the input, [n].
        features: G.
    """
    out, side = x.new_empty(len(x), features), values.shape[-1]
    grid = (triton.cdiv(len(x), TOKENS), features // side)
    _rows_kernel[grid](x.contiguous(), values, out, begins, order, piece_of, len(x), x.shape[1], features,
                       TOKENS, side, _wide(x), transposed)  # fmt: skip
    return out


@torch.library.custom_op("hundredfold::block_weights", mutates_args=())
def weights(dy: Tensor, x: Tensor, row_of: Tensor, column_of: Tensor, side: int) -> Tensor:
    """Gradients of the blocks, float32 [n, b, b], of dy [T, G] and x [T, F]; the places of the blocks are [n]."""
    out = x.new_empty(len(row_of), side, side, dtype=torch.float32)
    _weights_kernel[(len(row_of),)](
        dy.contiguous(), x.contiguous(), out, row_of, column_of, len(x), dy.shape[1], x.shape[1], TOKENS, side, _wide(x)
    )
    return out


@register_flop_formula(torch.ops.hundredfold.block_rows)
def _flops_of_rows(x: Sequence[int], values: Sequence[int], *args, **kwargs) -> int:
    return 2 * x[0] * values[0] * values[1] * values[2]


@register_flop_formula(torch.ops.hundredfold.block_weights)
def _flops_of_weights(
    dy: Sequence[int], x: Sequence[int], row_of: Sequence[int], column_of: Sequence[int], side: int, **kwargs
) -> int:
    return 2 * dy[0] * row_of[0] * side * side
