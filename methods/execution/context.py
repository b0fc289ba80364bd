"""What the parts of a session share: the model, its optimizer, the position in the run, and the batch in hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from hundredfold.methods.views import Batch

P = TypeVar("P")


@dataclass
class Context:
    """Shared by the session and its parts; every field is read by more than one of them.

    Attributes:
        generator: on the CPU; `device_generator` is on the model's device.
        seed: of what a method adds to the model.
        storage: of weights that do not exist; see `storage.choice`.
        units: unit groups by name, where the caller gave them.
        selecting: entered around everything that a method decides.
        batch_size: examples that the loop handed over, before any was left out.
        on_batch: the model is being run on `batch`, to train on it.
        counting: a step is being counted; nothing that it does is one of the run.
        blocks: residual blocks of the model, in order.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    total_steps: int
    generator: torch.Generator
    device_generator: torch.Generator
    loss: Callable[[nn.Module, Tensor, Tensor, str], Tensor]
    training: Batch | None
    storage: str
    units: Mapping[str, Any] | None
    selecting: Callable[[], AbstractContextManager]
    seed: int = 0
    step: int = 0
    batch: Batch | None = None
    batch_size: int = 0
    on_batch: bool = False
    counting: bool = False
    selection_flops: float = 0.0
    blocks: tuple[str, ...] = ()
    reference: Mapping[str, Tensor] = field(default_factory=dict)  # what the methods read of another run
    parts: list[Any] = field(default_factory=list)  # of every method, in the order of their hooks
    objective: Callable[[], Tensor] | None = None  # the loss of `batch`; None for its mean

    @property
    def generators(self) -> tuple[torch.Generator, torch.Generator]:
        """Both streams that methods draw from."""
        return self.generator, self.device_generator

    def part(self, kind: type[P]) -> P | None:
        """The part of a kind; None where no method has one."""
        return next((part for part in self.parts if isinstance(part, kind)), None)

    def selects(self, what: str) -> bool:
        """Whether any part decides about something, by the field's word for it."""
        return any(part.selects == what for part in self.parts)

    def charge(self, flops: float) -> None:
        """Add what a decision itself has computed."""
        if not self.counting:
            self.selection_flops += flops

    def forward_backward(self) -> Tensor:
        """Forward and backward pass of the batch; its loss, detached."""
        self.on_batch = True
        batch = self.batch
        mean = self.objective or (lambda: self.loss(self.model, batch.inputs, batch.targets, "mean"))
        loss = mean()
        self.on_batch = False
        loss.backward()
        return loss.detach()


def moved(value: Any, device: torch.device | str) -> Any:
    """A state with its tensors on a device: the one border at which a state comes back to where it is used."""
    if torch.is_tensor(value):
        return value.to(device)
    if isinstance(value, dict):
        return {name: moved(item, device) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(moved(item, device) for item in value)
    return value
