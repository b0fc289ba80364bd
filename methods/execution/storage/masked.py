"""Layers that store every weight and compute with some of them: masks are buffers of the layer that they mask.

Weights outside `trained` are stored as zeros, so that the layer's own kernel runs on them as they are, and their
gradients are zeroed where autograd accumulates them. Only weights that are kept without being computed with
(`active` is less than what is stored) are masked in the forward pass.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hundredfold.methods.execution.host import counts
from hundredfold.methods.execution.prunable import from_matrix, is_conv1d, to_matrix

STRUCTURE = ("active", "trained")  # names of what every storage adds to a model's state
OWN = {"name", "plain", "keeps", "wants_dense_grad", "tokens", "skipped", "choose", "kernel"}  # what no plain layer has


class _OnlyActive(torch.autograd.Function):
    """weight x active, whose gradient reaches every weight."""

    @staticmethod
    def forward(ctx, weight: Tensor, active: Tensor) -> Tensor:
        return weight * active

    @staticmethod
    def backward(ctx, grad: Tensor):
        return grad, None


class MaskedWeight(nn.Module):
    """What a layer with masks adds to its own class; put in front of it by `mask_layer`.

    Attributes:
        name: of the layer in the model.
        plain: the layer's own class.
        active: bool, the shape of the weight; None for all.
        trained: likewise, a superset of active; None for the same as active.
        keeps: weights that are not trained keep their value.
        wants_dense_grad: this step needs the gradient of weights that do not exist.
        tokens: rows of the products of the last forward pass.
        skipped: FLOPs that an ideal kernel would leave out of a counted step; None outside of one.
        sizes: how many weights compute and how many are trained; None until masks are counted.
    """

    storage = "masked"

    def _init_masks(self, name: str, keeps: bool) -> None:
        self.name, self.keeps, self.wants_dense_grad = name, keeps, False
        self.tokens: int | None = None
        self.skipped: float | Tensor | None = None
        self.sizes: tuple[int, int] | None = None
        for mask in STRUCTURE:
            self.register_buffer(mask, None)
        self._guard_grad()

    def _guard_grad(self) -> None:
        """Zero the gradients of weights that do not exist as autograd accumulates them."""
        if self.weight.requires_grad and self.weight.is_leaf:
            layer = weakref.ref(self)
            self.weight.register_post_accumulate_grad_hook(lambda weight: _mask_grad(layer()))

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        self._guard_grad()  # a copy of a parameter has no hooks

    # ---- what every storage answers ---------------------------------------------------------------------------------
    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weight as the model defines it, output first."""
        return tuple(self.weight.T.shape if is_conv1d(self) else self.weight.shape)

    def matrix(self) -> Tensor:
        """The weights, [O, I], detached."""
        return to_matrix(self, self.weight.detach())

    def mask(self, which: str) -> Tensor:
        """One of STRUCTURE as bool [O, I]."""
        mask = self.active if which == "active" else self.reach
        whole = torch.ones_like(self.weight, dtype=torch.bool) if mask is None else mask
        return to_matrix(self, whole)

    @property
    def reach(self) -> Tensor | None:
        """The weights that receive gradients; None for all."""
        return self.active if self.trained is None else self.trained

    def is_decided(self) -> bool:
        """Whether a method has said which weights exist."""
        return self.active is not None

    def grad_matrix(self) -> Tensor | None:
        """The gradient of this step, [O, I]."""
        return None if self.weight.grad is None else to_matrix(self, self.weight.grad)

    @torch.no_grad()
    def set_matrix(self, values: Tensor) -> None:
        """Set the weights to [O, I]."""
        self.weight.copy_(from_matrix(self, values))

    @torch.no_grad()
    def place(self, active: Tensor, trained: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Let the weights `active` compute and `trained` be trained, bool [O, I]; moments elsewhere become zero."""
        self.active = from_matrix(self, active)
        self.trained, self.sizes = None if trained is active else from_matrix(self, trained), None
        if not self.keeps:
            self.weight.mul_(self.reach)
        for value in optimizer.state.get(self.weight, {}).values():
            if torch.is_tensor(value) and value.shape == self.weight.shape:
                value.mul_(self.reach)

    def mask_grad(self) -> None:
        """Keep the gradients of weights that are not trained from the optimizer."""
        if self.reach is not None and self.weight.grad is not None:
            self.weight.grad = self.weight.grad * self.reach

    def pull(self, towards: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        """Add what (weights, active, trained) say to the gradient."""
        if self.weight.grad is not None and self.reach is not None:
            self.weight.grad += towards(self.weight.detach(), self.active, self.reach)

    def forget_grad(self) -> None:
        """The step is over."""

    def density(self) -> float:
        """Fraction of the weights that compute."""
        return 1.0 if self.active is None else self._counted()[0] / self.active.numel()

    def num_missing(self) -> int:
        """Weights that are stored and do not compute."""
        return 0 if self.active is None else self.active.numel() - self._counted()[0]

    def structure(self) -> tuple:
        """Equal structures cost the same."""
        return () if self.active is None else self._counted()

    def _counted(self) -> tuple[int, int]:
        if self.sizes is None:
            count_masks([self])
        return self.sizes

    # ---- the layer's own forward pass -------------------------------------------------------------------------------
    def computing(self) -> Tensor:
        """The weight with zeros for what does not compute; the gradient reaches all of it."""
        return _OnlyActive.apply(self.weight, self.active) if self.hides else self.weight

    @property
    def hides(self) -> bool:
        """Whether weights are stored with a value that does not compute."""
        return self.active is not None and (self.keeps or self.trained is not None)

    def note(self, x: Tensor, tokens: int) -> None:
        """Remember the rows of a forward pass, and count what an ideal kernel would skip in it and its gradients."""
        self.tokens = tokens
        if self.skipped is None or self.active is None:
            return
        inactive, untrained = (self.active.numel() - size for size in self._counted())
        backward = torch.is_grad_enabled()
        self.skipped += 2.0 * tokens * inactive * (1 + (backward and x.requires_grad))
        if backward and self.weight.requires_grad and not self.wants_dense_grad:
            self.skipped += 2.0 * tokens * untrained

    # ---- state ------------------------------------------------------------------------------------------------------
    def _load_from_state_dict(self, state, prefix, *args) -> None:
        """Have the masks that the state has, so that a fresh model takes the state of any moment of a run."""
        for mask in STRUCTURE:
            given = state.get(prefix + mask)
            setattr(self, mask, None if given is None else torch.empty_like(given, device=self.weight.device))
        self.sizes = None
        super()._load_from_state_dict(state, prefix, *args)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, density={self.density():.3g}"


def count_masks(layers: Iterable[MaskedWeight]) -> None:
    """Count the masks of layers that have not been counted; the host waits once for all of them."""
    new = [layer for layer in layers if layer.active is not None and layer.sizes is None]
    if new:
        sizes = counts([layer.active for layer in new] + [layer.reach for layer in new])
        for layer, active, trained in zip(new, sizes[: len(new)], sizes[len(new) :], strict=True):
            layer.sizes = active, trained


def _mask_grad(layer: MaskedWeight | None) -> None:
    """Zero the gradients of weights that do not exist, unless the step asks for them."""
    if layer is not None and layer.active is not None and not layer.wants_dense_grad:
        layer.weight.grad.mul_(layer.reach)


class MaskedLinear(MaskedWeight, nn.Linear):
    """A linear layer under masks."""

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        self.note(x, len(rows))
        y = F.linear(rows, self.computing()).view(*x.shape[:-1], self.out_features)
        return y if self.bias is None else y + self.bias.to(y.dtype)


class MaskedConv2d(MaskedWeight, nn.Conv2d):
    """A convolution under masks of its kernels."""

    def forward(self, x: Tensor) -> Tensor:
        y = self._conv_forward(x, self.computing(), self.bias)
        self.note(x, y.numel() // self.out_channels)
        return y


class MaskedConv1D(MaskedWeight):
    """transformers' `Conv1D` under masks; its class is made for the library's own, see `mask_layer`."""

    in_features = property(lambda self: self.weight.shape[0])
    out_features = property(lambda self: self.weight.shape[1])

    def forward(self, x: Tensor) -> Tensor:
        self.note(x, x.numel() // x.shape[-1])
        y = x.view(-1, x.shape[-1]) @ self.computing()
        return (y + self.bias.to(y.dtype)).view(*x.shape[:-1], self.nf)


def mask_layer(layer: nn.Module, name: str, keeps: bool) -> MaskedWeight:
    """Give a layer masks, in place: the same module and parameters, with a class of its own.

    Raises:
        ValueError: the layer computes its weight, or has a forward pass of its own.
    """
    plain = type(layer)
    layer.__class__ = masked_class(plain, name)
    layer._init_masks(name, keeps)
    layer.plain = plain
    return layer


@torch.no_grad()
def unmask_layer(layer: MaskedWeight) -> None:
    """Give a layer its own class back, in place; weights that do not compute become zeros of it."""
    if layer.active is not None:
        layer.weight = nn.Parameter(layer.computing().detach().clone(), layer.weight.requires_grad)
    plain = layer.plain
    for name in STRUCTURE:
        del layer._buffers[name]
    for name in OWN & set(vars(layer)):
        delattr(layer, name)
    layer.__class__ = plain


def masked_class(cls: type[nn.Module], name: str) -> type[MaskedWeight]:
    """The class of a layer under masks.

    Args:
        name: of the layer, for the message.
    """
    for plain, masked in ((nn.Linear, MaskedLinear), (nn.Conv2d, MaskedConv2d)):
        if issubclass(cls, plain):
            if cls.forward is not plain.forward or isinstance(getattr(cls, "weight", None), property):
                raise ValueError(
                    f"{name}: {cls.__name__} is a {plain.__name__} with a forward pass or a parametrization of its "
                    f"own, whose weights cannot be selected; expected a plain nn.{plain.__name__}"
                )
            return masked if cls is plain else _mixed(masked, cls)
    return _mixed(MaskedConv1D, cls)


@cache
def _mixed(masked: type, cls: type) -> type:
    return type(f"Masked{cls.__name__}", (masked, cls), {})
