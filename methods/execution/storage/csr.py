"""Unstructured weights on the CPU: parameters, gradients, optimizer state and products of the size of what exists.

Three PyTorch operators with FLOP formulas wrap the kernels, so that PyTorch's counter sees them and `torch.compile`
passes over them. Float32 and float64; under autocast to bfloat16 the products run in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from hundredfold.methods.execution.kernels.csr_kernels import WIDTHS, multiply
from hundredfold.methods.execution.storage.sparse import SparseLinear, places_of

LIBRARY = torch.library.Library("hundredfold", "FRAGMENT")  # `custom_op` would import the compiler, which takes 4 s
SMALLEST_BLOCK, LARGEST_BLOCK = 64, 2048  # columns; the copied piece of X is 256 bytes for each
WEIGHTS_PER_ROW = 16  # of a block, aimed at: fewer, and loading a row's sum costs more than its products


def block_size(density: float, inputs: int) -> int:
    """Columns of a block: a power of two, at least two blocks where there is more than one column."""
    size = SMALLEST_BLOCK
    while size < LARGEST_BLOCK and size * density < WEIGHTS_PER_ROW * 0.7:
        size *= 2
    return min(size, -(-inputs // 2))


def _operator(schema: str):
    """Class a function as a PyTorch operator for the CPU, so that counters and the compiler see it."""
    LIBRARY.define(schema)

    def decorate(function):
        LIBRARY.impl(function.__name__, function, "CPU")
        return getattr(torch.ops.hundredfold, function.__name__).default

    return decorate


def _shape_of(operator):
    """Decorator: the empty result of an operator, for the compiler."""
    return lambda function: torch.library.register_fake(operator.name(), function, lib=LIBRARY)


@_operator("csr_forward(Tensor x, Tensor values, Tensor start, Tensor column, int size) -> Tensor")
def csr_forward(x: Tensor, values: Tensor, start: Tensor, column: Tensor, size: int) -> Tensor:
    """X [T, I] -> Y [T, O]."""
    y = x.new_empty(len(x), start.shape[1] - 1)
    structure = start.numpy(), column.numpy(), values.numpy()
    multiply("forward", *structure, x.numpy(), y.numpy(), x.shape[1], size)
    return y


@_shape_of(csr_forward)
def _(x, values, start, column, size):
    return x.new_empty(x.shape[0], start.shape[1] - 1)


@_operator("csr_input_grad(Tensor dy, Tensor values, Tensor start, Tensor column, int size, int inputs) -> Tensor")
def csr_input_grad(dy: Tensor, values: Tensor, start: Tensor, column: Tensor, size: int, inputs: int) -> Tensor:
    """dY [T, O] -> dX [T, I]."""
    dx = dy.new_empty(len(dy), inputs)
    multiply("input_grad", start.numpy(), column.numpy(), values.numpy(), dy.numpy(), dx.numpy(), inputs, size)
    return dx


@_shape_of(csr_input_grad)
def _(dy, values, start, column, size, inputs):
    return dy.new_empty(dy.shape[0], inputs)


@_operator("csr_weight_grad(Tensor dy, Tensor x, Tensor start, Tensor column, int size) -> Tensor")
def csr_weight_grad(dy: Tensor, x: Tensor, start: Tensor, column: Tensor, size: int) -> Tensor:
    """dY [T, O], X [T, I] -> gradient of every stored weight, [nnz]."""
    grad = x.new_empty(len(column)) if len(x) else x.new_zeros(len(column))
    multiply("weight_grad", start.numpy(), column.numpy(), grad.numpy(), dy.numpy(), x.numpy(), x.shape[1], size)
    return grad


@_shape_of(csr_weight_grad)
def _(dy, x, start, column, size):
    return x.new_empty(column.shape[0])


@register_flop_formula([torch.ops.hundredfold.csr_forward, torch.ops.hundredfold.csr_input_grad])
def _product_flops(x, values, *rest, out_shape=None, **kwargs) -> int:
    return 2 * values[0] * x[0]


@register_flop_formula(torch.ops.hundredfold.csr_weight_grad)
def _weight_grad_flops(dy, x, start, column, *rest, out_shape=None, **kwargs) -> int:
    return 2 * column[0] * x[0]


def compile_kernels() -> None:
    """Compile the kernels of every tile width, or read them from the disk, so that no step of a run pays for it."""
    tokens, size = sum(WIDTHS), 16
    x, dy, values = torch.zeros(tokens, size), torch.zeros(tokens, 1), torch.zeros(1)
    start, column = torch.tensor([[0, 1]], dtype=torch.int32), torch.zeros(1, dtype=torch.int16)
    csr_forward(x, values, start, column, size)
    csr_input_grad(dy, values, start, column, size, size)
    csr_weight_grad(dy, x, start, column, size)


class _CsrProducts(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, values: Tensor, layer: CsrLinear) -> Tensor:
        x = x.contiguous()
        ctx.layer = layer
        ctx.save_for_backward(x, values)
        start, column, places = layer.active_structure()
        return csr_forward(x, values if places is None else values[places], start, column, layer.size)

    @staticmethod
    def backward(ctx, dy: Tensor):
        x, values = ctx.saved_tensors
        layer, dy = ctx.layer, dy.contiguous()
        dx = grad = None
        if ctx.needs_input_grad[0]:
            start, column, places = layer.active_structure()
            living = values if places is None else values[places]
            dx = csr_input_grad(dy, living, start, column, layer.size, layer.in_features)
        if ctx.needs_input_grad[1]:
            if layer.wants_dense_grad:
                grad = layer.add_dense_grad(dy.T @ x)
            else:
                grad = csr_weight_grad(dy, x, layer.start, layer.column, layer.size)
        return dx, grad, None


class CsrLinear(SparseLinear):
    """A linear layer with any pattern of weights, on the CPU.

    Bytes beside the values: 2 for each weight, and 4 for each row of each block of columns.
    """

    storage = "csr"

    def build(self, active: Tensor, trained: Tensor) -> None:
        if active.device.type != "cpu":
            raise ValueError(
                f"storage 'csr' runs on the CPU, and {self.name} is on {active.device.type}; use trainer.device=cpu, "
                "or trainer.storage=block_sparse or masked"
            )
        self.size = block_size(len(trained) / (self.out_features * self.in_features), self.in_features)
        self.start, self.column, order = self._structure(trained)
        self.active_start = self.active_column = self.active_places = None
        if not torch.equal(active, trained):
            self.active_start, self.active_column, active_order = self._structure(active)
            self.active_places, _ = places_of(active[active_order], trained[order])

    def _structure(self, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """start, column, and the storage order of the positions."""
        rows, columns = positions // self.in_features, positions % self.in_features
        blocks = -(-self.in_features // self.size)
        block = columns // self.size
        order = block.to(torch.int16).sort(stable=True).indices  # within a block the rows stay in order
        counts = torch.bincount(block * self.out_features + rows, minlength=blocks * self.out_features)
        ends = counts.cumsum(0).view(blocks, -1)
        start = torch.zeros(blocks, self.out_features + 1, dtype=torch.int32)
        start[:, 1:] = ends
        start[1:, 0] = ends[:-1, -1]
        return start, (columns - block * self.size)[order].to(torch.int16), order

    def active_structure(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """start, column, and where the active values lie among the stored; None for all."""
        if self.active_places is None:
            return self.start, self.column, None
        return self.active_start, self.active_column, self.active_places

    def active_positions(self) -> Tensor:
        return self.positions() if self.active_places is None else self.positions()[self.active_places]

    def values_shape(self) -> tuple[int, ...]:
        return (len(self.column),)

    def positions(self) -> Tensor:
        counts = (self.start[:, 1:] - self.start[:, :-1]).flatten().long()
        blocks, rows = self.start.shape[0], self.out_features
        first = torch.arange(blocks).repeat_interleave(rows) * self.size
        first = first + torch.arange(rows).repeat(blocks) * self.in_features
        return first.repeat_interleave(counts) + self.column

    def multiply(self, x: Tensor) -> Tensor:
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        return _CsrProducts.apply(x.to(self.values.dtype), self.values, self).to(dtype)
