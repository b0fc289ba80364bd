"""Weights: which of them exist, how they are stored, and the gradients of those that do not."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

from torch import Tensor

from hundredfold.methods.execution.context import Context
from hundredfold.methods.execution.kernels.semi_structured import SemiStructured
from hundredfold.methods.execution.parts.base import Decider, Part
from hundredfold.methods.execution.storage.choice import SPARSE, STORAGES
from hundredfold.methods.execution.storage.selected import select_layer
from hundredfold.methods.execution.storage.weight_store import WeightStore
from hundredfold.methods.topology import Topology

Pull = Callable[[Tensor, Tensor, Tensor], Tensor]


class Gradient(Enum):
    """What a method reads of the weight gradient. The optimizer never sees that of weights that do not exist."""

    NONE = "nothing"
    TRAINED = "of the trained weights, when a decision is due"
    ALL = "of every weight, when a decision is due; costs a dense product"
    MEAN = "the average of every weight's, computed densely at every step"


class Weights(Part):
    """Masks and storage of the weights of every prunable layer.

    Args:
        gradient: what the method reads of it.
        decay: of the average.
        keeps: weights that are not trained keep their value and come back with it.
        replaces_step: a step with a decision changes the topology and no weight.
        reads_batch: the method reads the batch of the step.
        pull: (weights, active, trained), of one shape, -> what is added to their gradient at every step.
    """

    selects = "weights"
    shares = True

    def __init__(
        self,
        method: Decider,
        *,
        gradient: Gradient = Gradient.NONE,
        decay: float = 0.9,
        keeps: bool = False,
        replaces_step: bool = False,
        reads_batch: bool = False,
        pull: Pull | None = None,
    ):
        super().__init__(method)
        self.gradient, self.decay, self.keeps = gradient, decay, keeps
        self.replaces_step, self.reads_batch, self.pull = replaces_step, reads_batch, pull
        self.store: WeightStore | None = None
        self.grads: dict[str, Tensor | None] = {}
        self.grad_mean: dict[str, Tensor] = {}

    def simulated(self, storage: str) -> bool:
        return storage == "masked" or (self.keeps and storage != "semi_structured")

    def compiles(self, storage: str) -> bool:
        return storage == "masked"

    def attach(self, context: Context) -> None:
        super().attach(context)
        auto_is_idle = context.storage == "auto" and (self.keeps or context.selects("operands"))
        storage = "masked" if auto_is_idle else context.storage
        self.store = WeightStore(context.model, context.optimizer, storage, keeps=self.keeps)
        if not self.layers:
            raise ValueError(f"{self.method.name()} selects weights of linear layers, and this model has none")
        if context.storage == "semi_structured":
            kernel = SemiStructured(next(context.model.parameters()).device)
            for name, layer in self.layers.items():
                select_layer(layer, name, None, kernel)

    @property
    def layers(self) -> dict[str, Any]:
        """Layers under masks or stored without what does not exist, by name."""
        return self.store.layers

    # ---- a training step --------------------------------------------------------------------------------------------
    @property
    def dense_grad_now(self) -> bool:
        """Whether this step needs the gradient of weights that do not exist."""
        return self.gradient is Gradient.MEAN or (self.gradient is Gradient.ALL and self.due)

    def watch(self) -> None:
        wanted = self.dense_grad_now
        for layer in self.layers.values():
            layer.wants_dense_grad = wanted

    def after_backward(self) -> None:
        if self.gradient in (Gradient.TRAINED, Gradient.ALL) and self.due:
            self.grads = {name: layer.grad_matrix() for name, layer in self.layers.items()}
        if self.replaces_step and self.due:
            self.context.optimizer.zero_grad(set_to_none=True)  # an optimizer skips parameters without a gradient
        elif self.dense_grad_now:
            if self.gradient is Gradient.MEAN:
                self._average()
            for layer in self.layers.values():
                layer.mask_grad()
        if self.pull is not None:
            for layer in self.layers.values():
                layer.pull(self.pull)

    def _average(self) -> None:
        for name, layer in self.layers.items():
            grad = layer.grad_matrix()
            mean = self.grad_mean.setdefault(name, grad.new_zeros(grad.shape))
            mean.mul_(self.decay).add_(grad, alpha=1 - self.decay)

    def names(self) -> set[tuple[str, str]]:
        return {(field, name) for field in ("active", "values") for name in self.layers}

    def apply(self, topology: Topology) -> bool:
        self.store.apply(topology.active, topology.trained, topology.values)
        return bool(topology.active)

    def settle(self) -> bool:
        self.grads = {}
        for layer in self.layers.values():
            layer.forget_grad()
        if not self.store.stale:
            return False
        with self.context.selecting():
            self.store.choose_storages(self.context.step)
        return True

    # ---- accounts ---------------------------------------------------------------------------------------------------
    def structure(self) -> tuple:
        return tuple(number for layer in self.layers.values() for number in layer.structure())

    def key(self) -> tuple:
        return (self.dense_grad_now,)

    def begin_count(self) -> None:
        for layer in self.layers.values():
            layer.skipped = 0.0

    def end_count(self) -> float | Tensor:
        excess = 0.0
        for layer in self.layers.values():
            excess += layer.skipped
            layer.skipped = None
            layer.forget_grad()
        return excess

    def view(self) -> dict[str, Any]:
        store = self.store
        layers = store.view(self.grads, self.grad_mean)
        shapes = {name: layer.shape for name, layer in self.layers.items()}
        return {"layers": layers, "stored": store.stored_view(), "shapes": shapes}

    def density_of(self, layer: str) -> float | None:
        return self.layers[layer].density() if layer in self.layers else None

    def num_missing(self) -> int:
        return sum(layer.num_missing() for layer in self.layers.values())

    # ---- after the run ----------------------------------------------------------------------------------------------
    def finalize(self) -> None:
        if not self.context.selects("operands"):  # else they are that part's to leave
            self.store.finalize()

    # ---- resume -----------------------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        return {"store": self.store.state_dict(), "grad_mean": dict(self.grad_mean)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.store.load_state_dict(state["store"])
        self.grad_mean = dict(state["grad_mean"])


def can_store(parts: list[Part]) -> bool:
    """Whether weights that are not selected need not be stored."""
    weights = [part for part in parts if isinstance(part, Weights)]
    return bool(weights) and not any(part.keeps for part in weights) and not any(p.selects == "operands" for p in parts)


def check_storage(storage: str, name: str, parts: list[Part]) -> None:
    """Raise a ValueError unless a storage can hold what a method decides about; `auto` and `masked` hold everything.

    Args:
        name: of the method.
        parts: of the method.
    """
    if storage not in STORAGES:
        raise ValueError(f"storage={storage}: choose one of {', '.join(sorted(STORAGES))}")
    weights = [part for part in parts if isinstance(part, Weights)]
    if storage in SPARSE and not can_store(parts):
        what = "keeps weights that it does not compute" if weights else "selects no weights"
        what = "selects operands of single products" if any(p.selects == "operands" for p in parts) else what
        raise ValueError(f"storage={storage}: {name} {what}; use masked or auto")
    if storage == "semi_structured" and not weights:
        raise ValueError(f"storage={storage}: {name} selects no weights; use masked or auto")
