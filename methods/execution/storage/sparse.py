"""A linear layer that stores only the weights that exist: the base of the storages `csr` and `block_sparse`.

The parameter `values` is an ordinary dense tensor with one number per stored weight, so that its gradient and every
optimizer's state have its size, and any elementwise optimizer, clipping and accumulation work as they are.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from hundredfold.methods.execution.storage.masked import STRUCTURE

WHOLE_MATRIX_OPTIMIZERS = ("LBFGS", "Muon")  # their update of one weight depends on the matrix around it


def replace_parameter(
    optimizer: torch.optim.Optimizer, old: nn.Parameter, new: nn.Parameter, carry: Callable[[Tensor], Tensor]
) -> None:
    """Hand the optimizer's reference and state of a parameter over to its successor.

    Args:
        carry: state tensor of the old parameter's shape -> that of the new one's.
    """
    for group in optimizer.param_groups:
        group["params"] = [new if p is old else p for p in group["params"]]
    state = optimizer.state.pop(old, None)
    if state is not None:
        shaped = {k: carry(v) for k, v in state.items() if torch.is_tensor(v) and v.shape == old.shape}
        optimizer.state[new] = state | shaped


def positions_of(pattern: Tensor) -> Tensor:
    """Where a mask is true in its flattened form, long, ascending; positions themselves, sorted."""
    return pattern.sort().values if pattern.dtype == torch.long else pattern.flatten().nonzero().flatten()


def places_of(wanted: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """Where numbers occur in a list, and which do; neither need be sorted, the list holds each number once.

    Returns:
        long [len(wanted)], meaningless where not found; bool [len(wanted)].
    """
    if not len(present):
        return torch.zeros_like(wanted), torch.zeros_like(wanted, dtype=torch.bool)
    ascending, order = present.sort()
    places = torch.searchsorted(ascending, wanted).clamp(max=len(present) - 1)
    return order[places], ascending[places] == wanted


class SparseLinear(nn.Module):
    """A linear layer [O, I] whose weights outside `trained` are not stored.

    Patterns are given as positions: places in the flattened weight matrix, long, ascending. Subclasses build the
    structure, say where its values lie, and multiply. The pattern is part of the model's state, so that values never
    meet another one.

    Args:
        name: of the layer in the model, for messages.
        weight: [O, I].
        bias: kept as it is.
        active: positions that enter the forward product and the input gradient.
        trained: positions that are stored and receive gradients, a superset of active.
    Attributes:
        wants_dense_grad: this step needs the gradient of weights that do not exist.
        dense_grad: that gradient, [O, I].
        tokens: rows of the products of the last forward pass.
    """

    storage: str
    skipped = None  # nothing is computed that an ideal kernel would skip

    def __init__(self, name: str, weight: Tensor, bias, active: Tensor, trained: Tensor):
        super().__init__()
        self.name, self.shape, self.bias = name, tuple(weight.shape), bias
        self.out_features, self.in_features = self.shape
        self.tokens: int | None = None
        self.wants_dense_grad, self.dense_grad = False, None
        self.build(active, trained)
        self.values = nn.Parameter(self.gather(weight.detach()))

    # ---- what a storage defines -------------------------------------------------------------------------------------
    def build(self, active: Tensor, trained: Tensor) -> None:
        """Make the structure of a pattern.

        Raises:
            ValueError: a pattern that the storage cannot hold.
        """
        raise NotImplementedError

    def positions(self) -> Tensor:
        """Place of every stored value in the flattened weight matrix, long [values.numel()], in storage order."""
        raise NotImplementedError

    def values_shape(self) -> tuple[int, ...]:
        raise NotImplementedError

    def multiply(self, x: Tensor) -> Tensor:
        """x [T, I] -> [T, O], differentiable, without the bias."""
        raise NotImplementedError

    def active_positions(self) -> Tensor:
        """Place of every active weight in the flattened weight matrix, long, in any order."""
        return self.positions()

    # ---- what they share --------------------------------------------------------------------------------------------
    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, self.in_features)
        self.tokens = len(rows)
        y = self.multiply(rows).view(*x.shape[:-1], self.out_features)
        return y if self.bias is None else y + self.bias.to(y.dtype)

    def gather(self, matrix: Tensor) -> Tensor:
        """The stored entries of a matrix [O, I], shaped as the values."""
        return matrix.flatten()[self.positions()].view(self.values_shape())

    def add_dense_grad(self, grad: Tensor) -> Tensor:
        """Add a backward pass's gradient of all weights [O, I] to that of the step; returns the stored entries."""
        self.dense_grad = grad if self.dense_grad is None else self.dense_grad + grad
        return self.gather(grad)

    def dense(self, values: Tensor) -> Tensor:
        """One number per stored weight -> [O, I], zero elsewhere."""
        matrix = values.new_zeros(self.shape)
        matrix.view(-1)[self.positions()] = values.flatten()
        return matrix

    # ---- what every storage answers ---------------------------------------------------------------------------------
    def matrix(self) -> Tensor:
        """The weights, [O, I], detached; a dense copy."""
        return self.dense(self.values.detach())

    def mask(self, which: str) -> Tensor:
        """The weights that are "active" or "trained", bool [O, I]."""
        positions = self.active_positions() if which == "active" else self.positions()
        mask = torch.zeros(self.shape, dtype=torch.bool, device=positions.device)
        mask.view(-1)[positions] = True
        return mask

    def is_decided(self) -> bool:
        """Whether a method has said which weights exist."""
        return True

    def grad_matrix(self) -> Tensor | None:
        """The gradient of this step, [O, I]: of all weights where it is wanted, else of the stored ones."""
        if self.dense_grad is not None:
            return self.dense_grad
        return None if self.values.grad is None else self.dense(self.values.grad)

    @torch.no_grad()
    def set_matrix(self, values: Tensor) -> None:
        """Set the weights that are stored to those of a matrix [O, I]."""
        self.values.copy_(self.gather(values))

    def pull(self, towards: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        """Add what (weights, active, trained) say to the gradient of those that exist."""
        if self.values.grad is not None:
            trained = torch.ones_like(self.values, dtype=torch.bool)
            active = torch.isin(self.positions(), self.active_positions()).view_as(self.values)
            self.values.grad += towards(self.values.detach(), active, trained)

    def mask_grad(self) -> None:
        """The optimizer knows no other gradients than those of stored weights."""

    def forget_grad(self) -> None:
        """Let go of the gradients of weights that do not exist: the step is over."""
        self.dense_grad = None

    def density(self) -> float:
        """Fraction of the weights that compute."""
        return len(self.active_positions()) / (self.out_features * self.in_features)

    def num_missing(self) -> int:
        """Weights that are stored and do not compute."""
        return self.values.numel() - len(self.active_positions())

    def structure(self) -> tuple:
        """Equal structures cost the same."""
        return self.storage, self.values.numel(), len(self.active_positions())

    @torch.no_grad()
    def place(self, active: Tensor, trained: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Store another pattern, as masks or positions: what stays keeps value and moments, new ones start at zero."""
        old, before = self.values, self.positions()
        self.build(positions_of(active), positions_of(trained))
        places, found = places_of(self.positions(), before)

        def carry(values: Tensor) -> Tensor:
            kept = values.new_zeros(len(places))
            kept[found] = values.flatten()[places[found]]
            return kept.view(self.values_shape())

        new = nn.Parameter(carry(old.detach()), old.requires_grad)
        if old.grad is not None:
            new.grad = carry(old.grad)
        replace_parameter(optimizer, old, new, carry)
        self.values = new

    def adopt(self, optimizer: torch.optim.Optimizer, old: nn.Parameter, matrix: Callable[[Tensor], Tensor]) -> None:
        """Take the place of a dense weight in an optimizer.

        Args:
            matrix: a tensor of the old weight's shape as [O, I].
        Raises:
            ValueError: the optimizer needs whole matrices.
        """
        if type(optimizer).__name__ in WHOLE_MATRIX_OPTIMIZERS:
            raise ValueError(
                f"storage {self.storage!r}: {type(optimizer).__name__} needs whole matrices, and only the weights "
                "that exist are stored; use an elementwise optimizer such as AdamW, or the storage 'masked'"
            )
        if old.grad is not None:
            self.values.grad = self.gather(matrix(old.grad))
        replace_parameter(optimizer, old, self.values, lambda state: self.gather(matrix(state)))

    # ---- state ------------------------------------------------------------------------------------------------------
    def _save_to_state_dict(self, destination, prefix, keep_vars) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "active"] = self.active_positions()
        destination[prefix + "trained"] = self.positions()

    def _load_from_state_dict(self, state, prefix, local_metadata, strict, missing, unexpected, errors) -> None:
        """Take the pattern of the state before its values, which would be meaningless in another one."""
        keys = [prefix + which for which in STRUCTURE]
        absent = [key for key in keys if key not in state]
        missing += absent
        if not absent:
            active, trained = (state[key].to(self.values.device).sort().values for key in keys)
            self.build(active, trained)
            self.values.data = self.values.new_zeros(self.values_shape())
            self.values.grad = None
        super()._load_from_state_dict(state, prefix, local_metadata, strict, missing, unexpected, errors)
        unexpected[:] = [key for key in unexpected if key not in keys]

    def extra_repr(self) -> str:
        return f"{self.in_features} -> {self.out_features}, {self.values.numel()} weights, {self.storage}"
