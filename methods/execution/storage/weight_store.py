"""The layers whose weights are selected, each with its storage, and the way from one storage to another.

One rule holds in all of them: weights and moments are exactly zero wherever a weight is not stored, so that new ones
start there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from hundredfold.methods.execution.prunable import from_matrix, prunable_layers, to_matrix
from hundredfold.methods.execution.storage.choice import GAIN, SPARSE, Decision, measure
from hundredfold.methods.execution.storage.masked import STRUCTURE, MaskedWeight, count_masks, mask_layer, unmask_layer
from hundredfold.methods.execution.storage.sparse import SparseLinear, positions_of, replace_parameter
from hundredfold.methods.views import LayerView, StoredView

Masks = Mapping[str, Tensor]


class Made(Mapping):
    """Values that are made when they are first asked for."""

    def __init__(self, names, make: Callable[[str], LayerView]):
        self.names, self.make, self.made = tuple(names), make, {}

    def __getitem__(self, name: str) -> LayerView:
        if name not in self.made:
            if name not in self.names:
                raise KeyError(name)
            self.made[name] = self.make(name)
        return self.made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


class WeightStore:
    """Which weights of a model exist, and their storage.

    Args:
        model: its prunable layers are put under masks, and replaced where they store less.
        optimizer: its references and state follow when parameters are replaced.
        storage: one of `choice.STORAGES`; auto only where every weight that is not selected may be forgotten.
        keeps: weights that are not trained keep their value.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, storage: str, *, keeps: bool):
        self.model, self.optimizer, self.storage = model, optimizer, storage
        self.layers: dict[str, MaskedWeight | SparseLinear] = {
            name: mask_layer(layer, name, keeps) for name, layer in prunable_layers(model).items()
        }
        self.origin: dict[str, MaskedWeight] = {}  # of layers that a sparse one has replaced, without their weight
        self.decisions: list[Decision] = []
        self.stale = storage == "auto"  # densities have changed since the storages were chosen

    # ---- decisions --------------------------------------------------------------------------------------------------
    @torch.no_grad()
    def apply(self, active: Masks, trained: Masks, values: Masks) -> None:
        """Make masks and values true; see `methods.topology.Topology`.

        Raises:
            ValueError: a pattern that the storage cannot hold.
        """
        for name in values:
            self.layers[name].set_matrix(values[name])
        for name, mask in active.items():
            self._place(name, mask, trained.get(name, mask))
            if name in values and isinstance(self.layers[name], SparseLinear):
                self.layers[name].set_matrix(values[name])  # also of the weights that have just come
        count_masks(layer for layer in self.layers.values() if isinstance(layer, MaskedWeight))
        self.stale = self.stale or (bool(active) and self.storage == "auto")

    def _place(self, name: str, active: Tensor, trained: Tensor) -> None:
        layer = self.layers[name]
        if isinstance(layer, SparseLinear) or self.storage not in SPARSE or bool(active.all()):
            layer.place(active, trained, self.optimizer)
        elif isinstance(layer, nn.Conv2d):
            raise ValueError(
                f"storage={self.storage}: {name} is a convolution, and only linear layers can store the weights "
                "that exist alone; use masked or auto"
            )
        else:
            self._store(name, self._sparse(name, self.storage, positions_of(active), positions_of(trained)))

    def choose_storages(self, step: int) -> None:
        """Measure every layer whose density has changed by a fifth since it was measured, and take the fastest."""
        self.stale = False
        last = {decision.layer: decision.density for decision in self.decisions}
        for name, layer in self.layers.items():
            density, known = layer.density(), last.get(name, 1.0)
            if not 0.8 * known <= density <= 1.25 * known and not isinstance(layer, nn.Conv2d):
                self._choose_storage(name, step, density)

    def _choose_storage(self, name: str, step: int, density: float) -> None:
        if isinstance(self.layers[name], SparseLinear):
            self._unstore(name)
        layer = self.layers[name]
        candidates = {"masked": layer}
        active, trained = (positions_of(layer.mask(which)) for which in STRUCTURE)
        for storage in SPARSE if density < 1 else ():
            try:
                candidates[storage] = self._sparse(name, storage, active, trained)
            except ValueError:  # not a pattern, or a device, for this storage
                continue
        seconds = measure(candidates, layer.tokens, layer.in_features, layer.weight)
        chosen = min(seconds, key=lambda storage: seconds[storage] * (1 if storage == "masked" else 1 / GAIN))
        self.decisions.append(Decision(step, name, layer.tokens, density, seconds, chosen))
        if chosen != "masked":
            self._store(name, candidates[chosen])

    # ---- what there is ----------------------------------------------------------------------------------------------
    def sparse_layers(self) -> dict[str, SparseLinear]:
        """The layers that store only the weights that exist."""
        return {name: layer for name, layer in self.layers.items() if isinstance(layer, SparseLinear)}

    def masks(self, which: str) -> dict[str, Tensor]:
        """Layer -> bool [O, I] of the layers that have been decided about; `which` is active or trained."""
        return {name: layer.mask(which) for name, layer in self.layers.items() if layer.is_decided()}

    def view(self, grads: Masks, grad_means: Masks) -> Mapping[str, LayerView]:
        """What a method may read of each layer; of stored weights, dense copies, made when they are asked for."""

        def make(name: str) -> LayerView:
            layer = self.layers[name]
            return LayerView(layer.matrix(), *map(layer.mask, STRUCTURE), grads.get(name), grad_means.get(name))

        return Made(self.layers, make)

    def stored_view(self) -> dict[str, StoredView]:
        """The stored weights of each layer whose active ones are all trained ones, without a matrix."""
        views = {}
        for name, layer in self.sparse_layers().items():
            places = layer.positions()
            if len(layer.active_positions()) == len(places):
                ascending, order = places.sort()
                views[name] = StoredView(layer.shape, ascending, layer.values.detach().flatten()[order])
        return views

    def storages(self) -> dict[str, str]:
        """Layer -> how it is stored now, of the layers whose weights have been decided about."""
        masked = "semi_structured" if self.storage == "semi_structured" else "masked"
        found = {n: v.storage if isinstance(v, SparseLinear) else masked for n, v in self.layers.items()}
        return {name: storage for name, storage in found.items() if self.layers[name].is_decided()}

    def full_state(self) -> dict[str, Tensor]:
        """The model's state without masks; the weights of its layers as matrices [O, I], however they are stored."""
        state = {name: value.detach() for name, value in self.model.state_dict().items()}
        for name, layer in self.layers.items():
            for part in ("values", *STRUCTURE):
                state.pop(f"{name}.{part}", None)
            state[f"{name}.weight"] = layer.matrix()
        return state

    def finalize(self) -> None:
        """Give every layer its own class back, whole and with zeros where a weight does not compute."""
        for name in list(self.layers):
            if isinstance(self.layers[name], SparseLinear):
                self._unstore(name)
            unmask_layer(self.layers[name])
        self.layers = {}

    # ---- resume -----------------------------------------------------------------------------------------------------
    def state_dict(self) -> dict:
        """How layers are stored; which weights exist, and their values, is the model's own state."""
        sparse = {name: layer.storage for name, layer in self.sparse_layers().items()}
        return {"sparse": sparse, "decisions": [tuple(d) for d in self.decisions], "stale": self.stale}

    def load_state_dict(self, state: dict) -> None:
        """Restore the storages; patterns and values come with the model's state."""
        for name in list(self.layers):
            if isinstance(self.layers[name], SparseLinear):
                self._unstore(name)
            if name in state["sparse"]:
                nothing = torch.zeros(0, dtype=torch.long, device=self.layers[name].weight.device)
                self._store(name, self._sparse(name, state["sparse"][name], nothing, nothing))
        self.decisions, self.stale = [Decision(*decision) for decision in state["decisions"]], state["stale"]

    # ---- from one storage to another --------------------------------------------------------------------------------
    def _sparse(self, name: str, storage: str, active: Tensor, trained: Tensor) -> SparseLinear:
        old = self.layers[name]
        return SPARSE[storage](name, old.matrix(), old.bias, active, trained)

    def _store(self, name: str, layer: SparseLinear) -> None:
        """Let a layer store only the weights that are trained."""
        old = self.layers[name]
        layer.adopt(self.optimizer, old.weight, lambda tensor: to_matrix(old, tensor))
        layer.wants_dense_grad = old.wants_dense_grad
        self._install(name, layer)
        old.weight = nn.Parameter(old.weight.new_empty(0).detach(), old.weight.requires_grad)
        old.active = old.trained = None
        self.origin[name] = old

    def _unstore(self, name: str) -> None:
        """Let a layer store its whole weight matrix again, under masks."""
        layer, old = self.layers[name], self.origin.pop(name)
        active, trained = map(layer.mask, STRUCTURE)

        def whole(values: Tensor) -> Tensor:
            return from_matrix(old, layer.dense(values)).contiguous()

        shape = layer.shape if isinstance(old, nn.Linear) else layer.shape[::-1]
        old.weight = nn.Parameter(layer.values.new_zeros(shape), layer.values.requires_grad)
        old.weight.data.copy_(whole(layer.values.detach()))
        if layer.values.grad is not None:
            old.weight.grad = whole(layer.values.grad)
        replace_parameter(self.optimizer, layer.values, old.weight, whole)
        old._guard_grad()
        self._install(name, old)
        old.place(active, active if torch.equal(active, trained) else trained, self.optimizer)

    def _install(self, name: str, layer: MaskedWeight | SparseLinear) -> None:
        parent, _, child = name.rpartition(".")
        layer.tokens = self.layers[name].tokens
        layer.train(self.layers[name].training)
        self.layers[name] = layer
        setattr(self.model.get_submodule(parent), child, layer)
