"""Parts that decide about parameters as they are: a penalty on them, which are trained, and their return in time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from hundredfold.methods.execution.parts.base import Decider, Part
from hundredfold.methods.execution.parts.units import Units
from hundredfold.methods.execution.parts.weights import Weights
from hundredfold.methods.topology import Topology


class Penalty(Part):
    """A term of the loss.

    Args:
        term: (parameter name -> parameter, group -> `UnitGroup`) -> a differentiable number, or None.
    """

    single = False
    shares = True

    def __init__(self, method: Decider, term: Callable[[Mapping[str, Tensor], Mapping[str, Any]], Tensor | None]):
        super().__init__(method)
        self.term = term

    def after_backward(self) -> None:
        units = self.context.part(Units)
        term = self.term(dict(self.context.model.named_parameters()), units.store.groups if units else {})
        if term is not None:
            term.backward()


class Frozen(Part):
    """Modules whose parameters are not trained."""

    selects = "layers"
    shares = True
    reshapes = True  # other gradients

    def __init__(self, method: Decider):
        super().__init__(method)
        self.frozen: frozenset[str] = frozenset()

    def apply(self, topology: Topology) -> bool:
        if topology.frozen is None:
            return False
        for name, parameter in self.context.model.named_parameters():
            inside = any(name == part or name.startswith(f"{part}.") for part in topology.frozen)
            if inside or any(name == part or name.startswith(f"{part}.") for part in self.frozen):
                parameter.requires_grad_(not inside)
        self.frozen = topology.frozen
        return True

    def structure(self) -> tuple:
        return tuple(sorted(self.frozen))

    def state_dict(self) -> dict[str, Any]:
        return {"frozen": sorted(self.frozen)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.apply(Topology(frozen=frozenset(state["frozen"])))


class Rewind(Part):
    """Every parameter and buffer as it was before one step; the optimizer forgets.

    Args:
        step: whose values come back.
    """

    shares = True

    def __init__(self, method: Decider, step: int):
        super().__init__(method)
        self.step = step
        self.snapshot: dict[str, Tensor] | None = None

    def watch(self) -> None:
        if self.context.step == self.step:
            state = self.context.part(Weights).store.full_state()
            self.snapshot = {name: value.clone() for name, value in state.items()}

    @torch.no_grad()
    def apply(self, topology: Topology) -> bool:
        if not topology.rewind:
            return False
        if self.snapshot is None:
            raise ValueError(f"{self.method.name()} rewinds before step {self.step}; nothing was kept")
        store = self.context.part(Weights).store
        for name, value in store.full_state().items():
            layer = store.layers.get(name.removesuffix(".weight"))
            if layer is None:
                value.copy_(self.snapshot[name])
            elif name.endswith(".weight"):
                layer.set_matrix(self.snapshot[name])
        self.context.optimizer.state.clear()
        return False

    def state_dict(self) -> dict[str, Any]:
        return {"snapshot": self.snapshot}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.snapshot = state["snapshot"]
