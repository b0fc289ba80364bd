"""Applies a method's decisions to a model in training: in a plain loop, three lines; in Lightning, a callback.

    session = Session(model, Rigl(density=0.1), optimizer, total_steps=1000)
    loss.backward()
    session.step()  # in place of optimizer.step()

The session owns the masks, the units that exist, the statistics and the generator. It intersects every answer of a
method with the topology, so that no method can escape it, and it leaves a dense model untouched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from methods.base import LayerView, Method, NetView, Product, Selection, Topology, UnitView
from methods.execution.cost import executed_flops, ideal_flops
from methods.execution.linear import SelectiveLinear
from methods.execution.masked import Masked
from methods.execution.observer import Observer
from methods.execution.unit_store import UnitStore
from methods.execution.units import UnitGroup, find_units


class StepCost(NamedTuple):
    """FLOPs of one training step, optimizer left out: by the kernels that ran, and by the entries selected."""

    executed: float
    ideal: float


def prunable_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """Every linear layer except those that map to a vocabulary (as many outputs as an embedding has rows)."""
    vocabularies = {m.num_embeddings for m in model.modules() if isinstance(m, nn.Embedding)}
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.out_features not in vocabularies
    }


def _and(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if a is None or b is None:
        return b if a is None else a
    return a & b


class Session:
    """One method at work on one model and optimizer.

    Args:
        model: on its device already; changed in place.
        optimizer: its references and state follow when parameters are replaced.
        total_steps: training steps of the whole run.
        seed: of the method's own random stream.
        units: unit groups by name; default what `find_units` finds.
        reference: group -> bool [n], the final units of another run, for methods that start from them.
    Raises:
        ValueError: the method selects units and the model has none, or weights and there is no linear layer.
    """

    def __init__(
        self,
        model: nn.Module,
        method: Method,
        optimizer: torch.optim.Optimizer,
        *,
        total_steps: int,
        seed: int = 0,
        units: Mapping[str, UnitGroup] | None = None,
        reference: Mapping[str, Tensor] | None = None,
    ):
        self.model, self.method, self.optimizer, self.total_steps = model, method, optimizer, total_steps
        self.generator = torch.Generator().manual_seed(seed)
        self.reference = dict(reference or {})
        self.step_index = self.version = 0
        self.selection_flops = 0.0
        self.full_parameters = sum(p.numel() for p in model.parameters())
        self.prunable = {name: layer.weight.numel() for name, layer in prunable_layers(model).items()}
        self.active: dict[str, Tensor] = {}
        self.trained: dict[str, Tensor] = {}
        self.layers: dict[str, SelectiveLinear] = {}
        self.backend = Masked()
        self.store: UnitStore | None = None
        self.observer: Observer | None = None
        self._grads: dict[str, Tensor] = {}
        self.selecting: Callable[[], AbstractContextManager] = nullcontext  # entered around every topology update
        self._ideal_excess: float | None = None  # a number while a step is being counted
        if method.selects in ("weights", "operands"):
            self._wrap_layers()
        elif method.selects == "units":
            self._find_units(find_units(model) if units is None else units)
        self.apply(method.init_topology(self.view()))
        if self.store is not None:
            self.store.begin(rescale=method.rescale)
        self._watch_next()

    # ---- the training loop calls ------------------------------------------------------------------------------------
    def step(self) -> None:
        """Take one optimizer step under the topology, and update the topology where that is due."""
        self.before_step()
        self.optimizer.step()
        self.after_step()

    @property
    def due(self) -> bool:
        return self.method.due(self.step_index, self.total_steps)

    def before_step(self) -> None:
        """After the backward pass and before the optimizer: read dense gradients, then keep them from the weights."""
        if not (self.due and "dense_grad" in self.method.needs):
            return
        self._grads = {name: layer.weight.grad for name, layer in self.layers.items()}
        if self.method.replaces_step:
            self.optimizer.zero_grad(set_to_none=True)  # an optimizer skips parameters without a gradient
            return
        for name, layer in self.layers.items():
            if name in self.trained:
                layer.weight.grad = layer.weight.grad * self.trained[name]

    def after_step(self) -> None:
        """After the optimizer: update the topology where that is due, and count the step."""
        if self.store is not None:
            self.observer.stop()
        if self.due:
            with self.selecting():
                self.apply(self.method.update_topology(self.step_index, self.view()))
            self._grads.clear()
        self.step_index += 1
        self._watch_next()

    def apply(self, topology: Topology | None) -> None:
        """Make a topology true: masks, zeroed weights and moments, units that leave and return.

        Raises:
            ValueError: a decision that the method's back end cannot execute.
        """
        if topology is None or not (topology.active or topology.units):
            return
        groups = self.store.groups if self.store else {}
        unknown = (set(topology.active) - set(self.layers)) | (set(topology.units) - set(groups))
        if unknown:
            raise ValueError(
                f"{self.method.name()} decided about {', '.join(sorted(unknown))}, which back end "
                f"{self.method.backend!r} cannot execute for selects={self.method.selects!r}"
            )
        for name, active in topology.active.items():
            self._set_mask(name, active, topology.trained.get(name, active))
        for name, alive in topology.units.items():
            self.store.set_alive(name, alive, topology.folds.get(name), self.optimizer)
        self.version += 1

    # ---- accounts ---------------------------------------------------------------------------------------------------
    def structure(self) -> tuple:
        """What one training step's cost depends on; equal structures cost the same."""
        masks = tuple(int(m.sum()) for d in (self.active, self.trained) for m in d.values())
        units = tuple(int(a.sum()) for a in self.store.alive.values()) if self.store else ()
        return (*masks, *units, self.dense_grad_now)

    def count_step(self, forward_backward: Callable[[], object]) -> StepCost:
        """FLOPs of one training step at the present structure; takes no optimizer step and leaves no gradient."""
        devices = sorted({p.device for p in self.model.parameters() if p.device.type == "cuda"}, key=str)
        self._ideal_excess = 0.0
        if self.observer is not None:
            self.observer.stop()  # a counted step is no step of the run
        with torch.random.fork_rng(devices):
            executed = executed_flops(forward_backward)
        ideal, self._ideal_excess = executed + self._ideal_excess, None
        self.optimizer.zero_grad(set_to_none=True)
        self._watch_next()
        return StepCost(executed, ideal)

    def densities(self) -> dict[str, float]:
        """Fraction of the weights of each prunable layer that exist."""
        if self.store is not None:
            return {name: self.store.density_of(name) for name in self.prunable}
        masks = {name: self.active.get(name) for name in self.prunable}
        return {name: 1.0 if mask is None else float(mask.float().mean()) for name, mask in masks.items()}

    def density(self) -> float:
        """Fraction of the prunable weights that exist."""
        densities = self.densities()
        return sum(densities[name] * size for name, size in self.prunable.items()) / max(sum(self.prunable.values()), 1)

    def active_parameters(self) -> int:
        """Parameters that are stored and not masked."""
        masked = sum(int((~mask).sum()) for mask in self.active.values())
        if self.store is not None:
            masked += self.store.num_zeroed()
        return sum(p.numel() for p in self.model.parameters()) - masked

    def unit_counts(self) -> dict[str, dict[str, int]]:
        """group -> units of the full model, alive now, and ever tried; empty for methods that select no units."""
        if self.store is None:
            return {}
        alive, ever = self.store.alive, self.store.ever
        return {
            name: {"size": group.size, "alive": int(alive[name].sum()), "ever": int(ever[name].sum())}
            for name, group in self.store.groups.items()
        }

    # ---- resume -----------------------------------------------------------------------------------------------------
    def state_dict(self) -> dict:
        """Everything that a resumed run needs, in tensors and numbers; load it before the model's and optimizer's."""
        state = {
            "step_index": self.step_index,
            "version": self.version,
            "selection_flops": self.selection_flops,
            "generator": self.generator.get_state(),
            "active": dict(self.active),
            "trained": dict(self.trained),
        }
        if self.store is not None:
            state |= {"store": self.store.state_dict(), "observer": self.observer.state_dict()}
        return state

    def load_state_dict(self, state: dict) -> None:
        """Restore masks, units and statistics; parameters get the shapes that the model's state needs."""
        self.generator.set_state(state["generator"].cpu())
        self.active, self.trained = dict(state["active"]), dict(state["trained"])
        if self.store is not None:
            self.store.load_state_dict(state["store"], self.optimizer)
            self.observer.stop()
            self.observer.load_state_dict(state["observer"])
        self.step_index, self.version = state["step_index"], state["version"]
        self.selection_flops = state["selection_flops"]
        self._watch_next()

    def view(self) -> NetView:
        """What the method may read now."""
        layers = {
            name: LayerView(layer.weight.detach(), self._mask(name), self._grads.get(name))
            for name, layer in self.layers.items()
        }
        units = {name: self._unit_view(name) for name in self.store.groups} if self.store else {}
        return NetView(layers, units, self.generator, self.total_steps, self.reference, self._charge)

    # ---- inside -----------------------------------------------------------------------------------------------------
    def _wrap_layers(self) -> None:
        plain = prunable_layers(self.model)
        if not plain:
            raise ValueError(f"{self.method.name()} selects weights of linear layers, and this model has none")
        for name, linear in plain.items():
            parent, _, child = name.rpartition(".")
            self.layers[name] = SelectiveLinear(linear, name, self._execute)
            setattr(self.model.get_submodule(parent), child, self.layers[name])

    def _execute(self, name: str, product: Product, left: Tensor, right: Tensor, forward: Selection):
        """Ask the method, enforce the topology, run the product; also returns what the method itself selected."""
        chosen = selection = self.method.select_operands(product, name, left, right, forward)
        active, trained = self.active.get(name), self.trained.get(name)
        if product is Product.WEIGHT_GRAD:
            selection = selection._replace(out=_and(selection.out, None if self.dense_grad_now else trained))
        else:
            selection = selection._replace(right=_and(selection.right, active))
        if self._ideal_excess is not None:
            everything = ideal_flops(product, left, right, Selection())
            self._ideal_excess += ideal_flops(product, left, right, selection) - everything
        if product is not Product.WEIGHT_GRAD and trained is active:
            selection = chosen  # inactive weights are stored as zeros, so masking them again would change nothing
        return self.backend.run(product, left, right, selection), chosen

    def _find_units(self, groups: Mapping[str, UnitGroup]) -> None:
        if not groups:
            raise ValueError(
                f"{self.method.name()} selects units, and none were found in {type(self.model).__name__}: "
                "pass them as units={name: UnitGroup(...)}"
            )
        self.store = UnitStore(self.model, groups, compact=self.method.backend == "compact")
        self.observer = Observer(self.model, self.store)

    @property
    def dense_grad_now(self) -> bool:
        """Whether this step needs the gradient of weights that do not exist."""
        return "dense_grad" in self.method.needs and self.due

    def _mask(self, name: str) -> Tensor:
        active = self.active.get(name)
        return torch.ones_like(self.layers[name].weight, dtype=torch.bool) if active is None else active

    @torch.no_grad()
    def _set_mask(self, name: str, active: Tensor, trained: Tensor) -> None:
        """Weights and moments are exactly zero wherever a weight is not stored, so new ones start there."""
        weight = self.layers[name].weight
        weight.mul_(trained)
        for value in self.optimizer.state.get(weight, {}).values():
            if torch.is_tensor(value) and value.shape == weight.shape:
                value.mul_(trained)
        self.active[name], self.trained[name] = active, trained

    def _watch_next(self) -> None:
        if self.observer is not None and self.method.observes(self.step_index, self.total_steps):
            self.observer.start()

    def _charge(self, flops: float) -> None:
        self.selection_flops += flops

    def _unit_view(self, name: str) -> UnitView:
        group, store, statistics = self.store.groups[name], self.store, self.observer.statistics[name]
        neuron = group.kind == "neuron"
        return UnitView(
            size=group.size,
            kind=group.kind,
            alive=store.alive[name],
            ever=store.ever[name],
            new=store.new[name],
            cost=store.unit_cost(name),
            observed=statistics.observed,
            importance=statistics.corrected("importance"),
            fires=statistics.corrected("fires"),
            mean=statistics.corrected("mean") if neuron else None,
            second=statistics.corrected("second") if neuron else None,
            sample=self.observer.sample(name) if neuron else None,
            outgoing_grad=store.outgoing_grad(name),
            foldable=neuron and self.model.get_submodule(group.reads).bias is not None,
        )
