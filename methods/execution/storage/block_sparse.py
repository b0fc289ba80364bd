"""Square blocks of weights as dense tiles [n, b, b]: kernels of blocks on a GPU, elsewhere a batched product per layer.

PyTorch's own block-sparse tensors multiply forward on a CPU, but neither transposed nor sampled, so that they cannot
train there; batched dense products of the blocks do all three.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hundredfold.methods.execution.kernels import block_products
from hundredfold.methods.execution.storage.sparse import SparseLinear

SIDES = (128, 64, 32, 16, 8, 4)  # of a block; the largest that fits the pattern is taken


class BlockSparseLinear(SparseLinear):
    """A linear layer whose weights form b x b blocks on a regular grid."""

    storage = "block_sparse"

    def build(self, active: Tensor, trained: Tensor) -> None:
        if not torch.equal(active, trained):
            raise ValueError(
                f"storage 'block_sparse': {self.name} trains weights that do not compute; use trainer.storage=csr or "
                "masked"
            )
        rows, columns = trained // self.in_features, trained % self.in_features
        for side in SIDES:
            if self.out_features % side or self.in_features % side:
                continue
            blocks, counts = torch.unique(rows // side * self.in_features + columns // side, return_counts=True)
            if bool((counts == side * side).all()):
                self.side = side
                self.block_row, self.block_column = blocks // self.in_features, blocks % self.in_features
                if block_products.usable(self.block_row, side):
                    self.by_row = block_products.grouped(self.block_row, self.out_features // side)
                    self.by_column = block_products.grouped(self.block_column, self.in_features // side)
                return
        raise ValueError(
            f"storage 'block_sparse': the weights of {self.name} {list(self.shape)} do not form blocks with a side of "
            f"{', '.join(map(str, SIDES[:-1]))} or {SIDES[-1]}; use method=block_dst, or trainer.storage=csr or masked"
        )

    def values_shape(self) -> tuple[int, ...]:
        return len(self.block_row), self.side, self.side

    def positions(self) -> Tensor:
        inside = torch.arange(self.side, device=self.block_row.device)
        corner = (self.block_row * self.in_features + self.block_column) * self.side
        return (corner[:, None, None] + inside[:, None] * self.in_features + inside).flatten()

    def multiply(self, x: Tensor) -> Tensor:
        return _BlockProducts.apply(x, self.values, self)


class _BlockProducts(torch.autograd.Function):
    """Legend: n blocks of side b, T tokens."""

    @staticmethod
    def forward(ctx, x: Tensor, values: Tensor, layer: BlockSparseLinear) -> Tensor:
        if torch.is_autocast_enabled(x.device.type):  # autocast does not reach a custom function
            x = x.to(torch.get_autocast_dtype(x.device.type))
        ctx.layer, ctx.values_dtype = layer, values.dtype
        values = values.to(x.dtype)
        ctx.save_for_backward(x, values)
        if block_products.usable(x, layer.side):
            return block_products.rows(x, values, *layer.by_row, layer.block_column, layer.out_features, True)
        return _summed(_pieces(x, layer.block_column, layer.side) @ values.mT, layer.block_row, layer.out_features)

    @staticmethod
    def backward(ctx, dy: Tensor):
        x, values = ctx.saved_tensors
        layer = ctx.layer
        by_kernels = block_products.usable(dy, layer.side)
        pieces = None if by_kernels else _pieces(dy, layer.block_row, layer.side)
        dx = grad = None
        if ctx.needs_input_grad[0] and by_kernels:
            dx = block_products.rows(dy, values, *layer.by_column, layer.block_row, layer.in_features, False)
        elif ctx.needs_input_grad[0]:
            dx = _summed(pieces @ values, layer.block_column, layer.in_features)
        if ctx.needs_input_grad[1] and layer.wants_dense_grad:
            grad = layer.add_dense_grad((dy.T @ x).to(ctx.values_dtype))
        elif ctx.needs_input_grad[1] and by_kernels:
            grad = block_products.weights(dy, x, layer.block_row, layer.block_column, layer.side).to(ctx.values_dtype)
        elif ctx.needs_input_grad[1]:
            grad = (pieces.mT @ _pieces(x, layer.block_column, layer.side)).to(ctx.values_dtype)
        return dx, grad, None


def _pieces(x: Tensor, which: Tensor, side: int) -> Tensor:
    """The piece of x [T, F] that each block meets, [n, T, b]."""
    return x.view(len(x), -1, side).transpose(0, 1).index_select(0, which)


def _summed(pieces: Tensor, which: Tensor, features: int) -> Tensor:
    """Add pieces [n, T, b] to the places they belong to, [T, F]."""
    _, tokens, side = pieces.shape
    out = pieces.new_zeros(features // side, tokens, side).index_add_(0, which, pieces)
    return out.transpose(0, 1).reshape(tokens, features)
