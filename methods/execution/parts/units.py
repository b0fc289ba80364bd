"""Units: which neurons, heads and channels exist, and what is observed of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from hundredfold.methods.execution.context import Context
from hundredfold.methods.execution.parts.base import Decider, Part
from hundredfold.methods.execution.units.groups import find_units
from hundredfold.methods.execution.units.observer import Observer
from hundredfold.methods.execution.units.store import UnitStore
from hundredfold.methods.topology import Topology
from hundredfold.methods.views import UnitView


def never(step: int, total: int) -> bool:
    """No step is observed."""
    return False


class Units(Part):
    """Storage and statistics of the unit groups.

    Args:
        observes: (step, total) -> whether statistics are gathered from the products of a step.
        compact: units that left are not stored; False keeps full tensors with zeros in them, for tests.
        rescale: scale the first units' outgoing weights up by the square root of 1 / density.
    """

    selects = "units"
    on_host = True
    shares = True
    reshapes = True

    def __init__(
        self,
        method: Decider,
        *,
        observes: Callable[[int, int], bool] = never,
        compact: bool = True,
        rescale: bool = False,
    ):
        super().__init__(method)
        self.observes, self.compact, self.rescale = observes, compact, rescale

    def simulated(self, storage: str) -> bool:
        return not self.compact

    def attach(self, context: Context) -> None:
        super().attach(context)
        groups = find_units(context.model) if context.units is None else context.units
        if not groups:
            raise ValueError(
                f"{self.method.name()} selects units, and none were found in {type(context.model).__name__}: "
                "pass them as units={name: UnitGroup(...)}"
            )
        self.store = UnitStore(context.model, groups, compact=self.compact)
        self.observer = Observer(context.model, self.store)

    def begin(self) -> None:
        self.store.begin(rescale=self.rescale)

    # ---- a training step --------------------------------------------------------------------------------------------
    def names(self) -> set[tuple[str, str]]:
        return {("units", name) for name in self.store.groups}

    def pool(self) -> None:
        self.observer.pool()

    def apply(self, topology: Topology) -> bool:
        for name, alive in topology.units.items():
            self.store.set_alive(name, alive, topology.folds.get(name), self.context.optimizer)
        return bool(topology.units)

    def watch(self) -> None:
        if self.acts(self.context.step):
            self.observer.start()

    def unwatch(self) -> None:
        self.observer.stop()

    def acts(self, step: int) -> bool:
        return self.observes(step, self.context.total_steps)

    # ---- accounts ---------------------------------------------------------------------------------------------------
    def structure(self) -> tuple:
        return tuple(int(alive.sum()) for alive in self.store.alive.values())

    def density_of(self, layer: str) -> float:
        return self.store.density_of(layer)

    def num_missing(self) -> int:
        return self.store.num_zeroed()

    def counts(self) -> dict[str, dict[str, int]]:
        """group -> units of the full model, alive now, and ever tried."""
        alive, ever = self.store.alive, self.store.ever
        return {
            name: {"size": group.size, "alive": int(alive[name].sum()), "ever": int(ever[name].sum())}
            for name, group in self.store.groups.items()
        }

    def view(self) -> dict[str, Any]:
        self.observer.settle()
        norms, grads = self.store.norms(), self.store.outgoing_grads()
        return {"units": {name: self._view_of(name, norms[name], grads[name]) for name in self.store.groups}}

    def _view_of(self, name: str, norm: Tensor, outgoing_grad: Tensor) -> UnitView:
        group, store, statistics = self.store.groups[name], self.store, self.observer.statistics[name]
        neuron = group.kind == "neuron"
        return UnitView(
            size=group.size,
            kind=group.kind,
            alive=store.alive[name],
            ever=store.ever[name],
            new=store.new[name],
            norm=norm,
            observed=statistics.observed,
            importance=statistics.corrected("importance"),
            fires=statistics.corrected("fires"),
            mean=statistics.corrected("mean") if neuron else None,
            second=statistics.corrected("second") if neuron else None,
            sample=self.observer.sample(name) if neuron else None,
            outgoing_grad=outgoing_grad,
            foldable=neuron and self.context.model.get_submodule(group.reads).bias is not None,
        )

    # ---- resume -----------------------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        return {"store": self.store.state_dict(), "observer": self.observer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.store.load_state_dict(state["store"], self.context.optimizer)
        self.observer.load_state_dict(state["observer"])


class UnitStatistics(Units):
    """What is observed of the units, none of which leaves."""

    selects = ""
    reshapes = False

    def names(self) -> set[tuple[str, str]]:
        return set()
