"""What a step costs, counted once for each structure and shape, and what exists of the model."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch

from hundredfold.methods.execution.context import Context
from hundredfold.methods.execution.cost import executed_flops
from hundredfold.methods.execution.prunable import num_weights

RECOUNTS = 20  # how often per run the cost of a step is counted anew where it depends on the data


class StepCost(NamedTuple):
    """FLOPs of one training step, optimizer left out: by the kernels that ran, and by the entries selected."""

    executed: float
    ideal: float


class Accounts:
    """FLOPs of a run so far, and the model's densities.

    Args:
        accounting: entered while the cost of a step is counted.
    """

    def __init__(self, context: Context, accounting: Callable[[], AbstractContextManager]):
        self.context, self.accounting = context, accounting
        self.executed_flops = self.ideal_flops = 0.0
        self.prunable = num_weights(context.model)  # weights of every prunable layer
        self.full_parameters = sum(p.numel() for p in context.model.parameters())
        self.costs: dict[tuple, StepCost] = {}
        self._structure: tuple | None = None

    def changed(self) -> None:
        """The cost of a step is another from now on."""
        self._structure = None

    # ---- FLOPs ------------------------------------------------------------------------------------------------------
    def charge_step(self) -> None:
        """Add the cost of the step about to be taken, by `context.batch`."""
        context = self.context
        varies = any(part.cost_varies for part in context.parts)
        phase = context.step * RECOUNTS // context.total_steps if varies else 0
        keys = tuple(number for part in context.parts for number in part.key())
        key = (self.structure(), tuple(context.batch.inputs.shape), keys, phase)
        if key not in self.costs:
            with self.accounting():
                self.costs[key] = self.count_step(self._step)
        cost = self.costs[key]
        self.executed_flops += cost.executed
        self.ideal_flops += cost.ideal

    def structure(self) -> tuple:
        """What one training step's cost depends on, beside its batch; equal structures cost the same."""
        if self._structure is None:
            self._structure = tuple(number for part in self.context.parts for number in part.structure())
        return self._structure

    def _step(self) -> None:
        for part in self.context.parts:
            part.recount()
        self.context.forward_backward()

    def count_step(self, forward_backward: Callable[[], object]) -> StepCost:
        """FLOPs of one training step at the present structure; takes no optimizer step and leaves no gradient."""
        context, model = self.context, self.context.model
        devices = sorted({p.device for p in model.parameters() if p.device.type == "cuda"}, key=str)
        running = [(b, b.clone()) for b in model.buffers() if b.dtype is not torch.bool]  # statistics of norms
        states, context.counting = [generator.get_state() for generator in context.generators], True
        for part in context.parts:
            part.unwatch()
            part.begin_count()
        with torch.random.fork_rng(devices):
            executed = executed_flops(forward_backward)
        skipped = float(sum(part.end_count() for part in context.parts))
        with torch.no_grad():
            for buffer, value in running:
                buffer.copy_(value)
        for generator, state in zip(context.generators, states, strict=True):
            generator.set_state(state)
        for parameter in model.parameters():
            parameter.grad = None
        context.counting = False
        for part in context.parts:
            part.watch()
        return StepCost(executed, executed - skipped)

    # ---- what exists ------------------------------------------------------------------------------------------------
    def densities(self) -> dict[str, float]:
        """Fraction of the weights of each prunable layer that exist; 1 where no part knows of it."""
        found = {}
        for name in self.prunable:
            known = [d for part in reversed(self.context.parts) if (d := part.density_of(name)) is not None]
            found[name] = known[0] if known else 1.0
        return found

    def density(self) -> float:
        """Fraction of the prunable weights that exist."""
        densities, total = self.densities(), sum(self.prunable.values())
        return sum(densities[name] * size for name, size in self.prunable.items()) / total if total else 1.0

    def active_parameters(self) -> int:
        """Parameters that are stored and not masked."""
        missing = sum(part.num_missing() for part in self.context.parts)
        return sum(p.numel() for p in self.context.model.parameters()) - missing

    # ---- resume -----------------------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        costs = [(key, *cost) for key, cost in self.costs.items()]
        return {"executed_flops": self.executed_flops, "ideal_flops": self.ideal_flops, "costs": costs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.executed_flops, self.ideal_flops = state["executed_flops"], state["ideal_flops"]
        self.costs = {_tuples(key): StepCost(*cost) for key, *cost in state["costs"]}
        self.changed()


def _tuples(value):
    return tuple(_tuples(item) for item in value) if isinstance(value, (list, tuple)) else value
