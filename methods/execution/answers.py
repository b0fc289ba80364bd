"""What the training loop and the record ask of a session."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from hundredfold.methods.execution.accounts import Accounts, StepCost
from hundredfold.methods.execution.context import Context
from hundredfold.methods.execution.parts import Modules, Operands, Part, Units, Weights


class Answers:
    """The read-only side of a session: what there is, what it cost, and when something happens."""

    context: Context
    accounts: Accounts
    parts: list[Part]
    members: list[Any]

    model = property(lambda self: self.context.model)
    optimizer = property(lambda self: self.context.optimizer)
    total_steps = property(lambda self: self.context.total_steps)
    step_index = property(lambda self: self.context.step)
    executed_flops = property(lambda self: self.accounts.executed_flops)
    ideal_flops = property(lambda self: self.accounts.ideal_flops)
    selection_flops = property(lambda self: self.context.selection_flops)

    def part(self, kind: type[Part]) -> Any | None:
        """The part of a kind; None where no method has one."""
        return self.context.part(kind)

    @property
    def due(self) -> bool:
        """Whether a method decides after this step."""
        return any(member.method.due(self.step_index, self.total_steps) for member in self.members)

    def observes(self, step: int) -> bool:
        """Whether anything is observed in the passes of a step."""
        return any(part.acts(step) for part in self.parts)

    def reshapes(self, step: int) -> bool:
        """Whether the model may have other tensors after a step."""
        return any(part.reshapes and part.method.due(step, self.total_steps) for part in self.parts)

    def dense_parameters(self) -> list[nn.Parameter]:
        """Parameters that the loop's optimizer steps, for gradient clipping; tables with sparse gradients left out."""
        tables = set().union(*(part.tables() for part in self.parts if isinstance(part, Modules)))
        return [p for p in self.model.parameters() if p not in tables]

    def count_step(self, forward_backward: Callable[[], object]) -> StepCost:
        """FLOPs of one training step at the present structure; takes no optimizer step and leaves no gradient."""
        return self.accounts.count_step(forward_backward)

    def densities(self) -> dict[str, float]:
        """Fraction of the weights of each prunable layer that exist."""
        return self.accounts.densities()

    def density(self) -> float:
        """Fraction of the prunable weights that exist."""
        return self.accounts.density()

    def active_parameters(self) -> int:
        """Parameters that are stored and not masked."""
        return self.accounts.active_parameters()

    def unit_counts(self) -> dict[str, dict[str, int]]:
        """group -> units of the full model, alive now, and ever tried; empty for methods that select no units."""
        units = self.part(Units)
        return units.counts() if units else {}

    @property
    def layers(self) -> Mapping[str, nn.Module]:
        """The layers whose weights or operands are selected."""
        found = self.part(Weights) or self.part(Operands)
        return found.layers if found else {}

    @property
    def active(self) -> dict[str, Tensor]:
        """Layer -> bool [O, I]; weights that compute, of the layers that have been decided about."""
        return self._masks("active")

    @property
    def trained(self) -> dict[str, Tensor]:
        """Layer -> bool [O, I]; weights that receive gradients, likewise."""
        return self._masks("trained")

    def _masks(self, which: str) -> dict[str, Tensor]:
        weights = self.part(Weights)
        return weights.store.masks(which) if weights else {}
