"""Makes weights leave and return: zeros under a mask, or storage of the weights that exist alone.

Both follow one rule: weights and moments are exactly zero wherever a weight is not stored, so new ones start there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from methods.base import LayerView, Method, StoredView
from methods.execution.backends import GAIN, STORED, Decision, can_store, measure
from methods.execution.conv import SelectiveConv2d
from methods.execution.linear import SelectiveLinear
from methods.execution.sparse import SparseLinear, replace_parameter

Masks = Mapping[str, Tensor]


def prunable_layers(model: nn.Module) -> dict[str, nn.Linear | nn.Conv2d]:
    """Every linear layer except those that map to a vocabulary, and every convolution of a convolutional network.

    A vocabulary is as many outputs as an embedding has rows. Depthwise and grouped convolutions, and a vision
    transformer's only one, its patch embedding, are left out.
    """
    vocabularies = {m.num_embeddings for m in model.modules() if isinstance(m, nn.Embedding)}
    convolutional = sum(isinstance(m, nn.Conv2d) for m in model.modules()) > 1
    return {
        name: module
        for name, module in model.named_modules()
        if (isinstance(module, nn.Linear) and module.out_features not in vocabularies)
        or (convolutional and isinstance(module, nn.Conv2d) and module.groups == 1)
    }


def _positions(mask: Tensor) -> Tensor:
    """Where a mask is true in its flattened form, long, ascending; positions themselves, sorted."""
    return mask.sort().values if mask.dtype == torch.long else mask.flatten().nonzero().flatten()


class _Made(Mapping):
    """Values that are made when they are first asked for."""

    def __init__(self, names, make: Callable[[str], LayerView]):
        self.names, self.make, self.made = tuple(names), make, {}

    def __getitem__(self, name: str) -> LayerView:
        if name not in self.made:
            if name not in self.names:
                raise KeyError(name)
            self.made[name] = self.make(name)
        return self.made[name]

    def __iter__(self):
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


class WeightStore:
    """Which weights of a model exist, and their storage.

    Args:
        model: its layers are replaced by those that ask a method, or that store less; see `wrap`.
        method: whose decisions are enforced.
        optimizer: asked for the optimizer whose references and state follow when parameters are replaced.
        backend: one of `backends.BACKENDS`.
        execute: the session's (layer, product, ...) -> result, for layers that ask.
        mask_of: the session's (layer, product, T) -> mask, for convolutions whose weights alone are selected.
        dense_grad: whether this step needs the gradient of weights that do not exist.
    """

    def __init__(
        self,
        model: nn.Module,
        method: Method,
        optimizer: Callable[[], torch.optim.Optimizer],
        backend: str,
        *,
        execute: Callable,
        mask_of: Callable,
        dense_grad: Callable[[], bool],
    ):
        self.model, self.method, self.backend, self._optimizer = model, method, backend, optimizer
        self.execute, self.mask_of, self.dense_grad = execute, mask_of, dense_grad
        self.layers: dict[str, SelectiveLinear | SparseLinear] = {}
        self.active: dict[str, Tensor] = {}  # of masked layers
        self.trained: dict[str, Tensor] = {}
        self.decisions: list[Decision] = []
        self.stale = False  # densities have changed since the back ends were chosen

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """That of the session, which may be exchanged before the first step."""
        return self._optimizer()

    def wrap(self) -> None:
        """Let every prunable layer ask the method.

        Raises:
            ValueError: the model has none.
        """
        plain = prunable_layers(self.model)
        if not plain:
            raise ValueError(f"{self.method.name()} selects weights of linear layers, and this model has none")
        for name, layer in plain.items():
            if isinstance(layer, nn.Conv2d):
                operands = "operands" in self.method.selects
                new = SelectiveConv2d(layer, name, self.execute, self.mask_of, operands)
                replace_parameter(self.optimizer, layer.weight, new.weight, lambda state: state.flatten(1))
                self._install(name, new)
            else:
                self._install(name, SelectiveLinear(layer, name, self.execute))
        self.stale = self.backend == "auto" and can_store(self.method)

    # ---- decisions --------------------------------------------------------------------------------------------------
    @torch.no_grad()
    def apply(self, active: Masks, trained: Masks, values: Masks) -> None:
        """Make masks and values true; see `methods.base.Topology`.

        Raises:
            ValueError: a pattern that the back end cannot execute.
        """
        for name in values:
            self.set_weight(name, values[name])
        for name, mask in active.items():
            self._set_mask(name, mask, trained.get(name, mask))
            if name in values and name in self._stored():
                self.set_weight(name, values[name])  # also of the weights that have just come
        self.stale = self.stale or (bool(active) and self.backend == "auto" and can_store(self.method))

    @torch.no_grad()
    def set_weight(self, name: str, values: Tensor) -> None:
        """Set the weights of a layer to [O, I], where they are stored."""
        layer = self.layers[name]
        if isinstance(layer, SparseLinear):
            layer.values.copy_(layer.gather(values))
        else:
            layer.weight.copy_(values)

    def _set_mask(self, name: str, active: Tensor, trained: Tensor) -> None:
        layer = self.layers[name]
        if isinstance(layer, SparseLinear):
            layer.place(_positions(active), _positions(trained), self.optimizer)
        elif self.backend in STORED and not bool(active.all()):
            if isinstance(layer, SelectiveConv2d):
                raise ValueError(
                    f"backend={self.backend}: {name} is a convolution, and only linear layers can store the weights "
                    "that exist alone; use masked or auto"
                )
            self._store(name, self._stored_layer(name, self.backend, _positions(active), _positions(trained)))
        else:
            if not self.method.keeps_weights:
                layer.weight.mul_(trained)
            for value in self.optimizer.state.get(layer.weight, {}).values():
                if torch.is_tensor(value) and value.shape == layer.weight.shape:
                    value.mul_(trained)
            self.active[name], self.trained[name] = active, trained

    def choose_backends(self, step: int) -> None:
        """Measure every layer whose density has changed by a fifth since it was measured, and take the fastest."""
        self.stale = False
        last = {decision.layer: decision.density for decision in self.decisions}
        for name in self.layers:
            density, known = self.density_of(name), last.get(name, 1.0)
            if not 0.8 * known <= density <= 1.25 * known and not isinstance(self.layers[name], SelectiveConv2d):
                self._choose_backend(name, step, density)

    def _choose_backend(self, name: str, step: int, density: float) -> None:
        if name in self._stored():
            self._unstore(name)
        layer, candidates = self.layers[name], {"masked": self.layers[name]}
        active, trained = (_positions(self._mask(name, which)) for which in ("active", "trained"))
        for backend in STORED if density < 1 else ():
            try:
                candidates[backend] = self._stored_layer(name, backend, active, trained)
            except ValueError:  # not a pattern, or a device, for this back end
                continue
        seconds = measure(candidates, layer.tokens, layer.in_features, layer.weight)
        chosen = min(seconds, key=lambda backend: seconds[backend] * (1 if backend == "masked" else 1 / GAIN))
        self.decisions.append(Decision(step, name, layer.tokens, density, seconds, chosen))
        if chosen != "masked":
            self._store(name, candidates[chosen])

    # ---- what there is ----------------------------------------------------------------------------------------------
    def _stored(self) -> dict[str, SparseLinear]:
        return {name: layer for name, layer in self.layers.items() if isinstance(layer, SparseLinear)}

    def masks(self, which: str) -> dict[str, Tensor]:
        """Layer -> bool [O, I] of the layers that have one; `which` is active or trained."""
        decided = {**getattr(self, which), **self._stored()}
        return {name: self._mask(name, which) for name in self.layers if name in decided}

    def view(self, grads: Masks, grad_means: Masks) -> Mapping[str, LayerView]:
        """What a method may read of each layer; of stored weights, dense copies, made when they are asked for."""

        def make(name: str) -> LayerView:
            masks = self._mask(name, "active"), self._mask(name, "trained")
            return LayerView(self._weight(name), *masks, grads.get(name), grad_means.get(name))

        return _Made(self.layers, make)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Layer -> shape of its weight as the model defines it: [O, I], of a convolution [O, I, kh, kw]."""
        return {name: layer.shape for name, layer in self.layers.items()}

    def stored_view(self) -> dict[str, StoredView]:
        """The stored weights of each layer whose active ones are all trained ones, without a matrix."""
        views = {}
        for name, layer in self._stored().items():
            places = layer.positions()
            if len(layer.active_positions()) == len(places):
                ascending, order = places.sort()
                views[name] = StoredView(layer.shape, ascending, layer.values.detach().flatten()[order])
        return views

    def grads(self) -> dict[str, Tensor | None]:
        """Layer -> gradient of the last step, [O, I]."""
        layers = self.layers.items()
        return {n: v.grad_matrix() if isinstance(v, SparseLinear) else v.weight.grad for n, v in layers}

    def forget_grads(self) -> None:
        """Let go of the gradients of weights that do not exist: the step is over."""
        for layer in self._stored().values():
            layer.dense_grad = None

    def mask_grads(self) -> None:
        """Keep the gradients of weights that are not trained from the optimizer."""
        for name, mask in self.trained.items():
            weight = self.layers[name].weight
            weight.grad = weight.grad * mask

    def density_of(self, name: str) -> float:
        """Fraction of a prunable layer's weights that exist; 1 for layers that are not wrapped."""
        layer, mask = self.layers.get(name), self.active.get(name)
        if isinstance(layer, SparseLinear):
            return len(layer.active_positions()) / (layer.out_features * layer.in_features)
        if layer is not None and mask is None:
            mask = layer.weight.detach() != 0  # thresholds leave zeros without a mask
        return 1.0 if mask is None else float(mask.float().mean())

    def num_missing(self) -> int:
        """Parameters that are stored and do not compute."""
        missing = sum(v.values.numel() - len(v.active_positions()) for v in self._stored().values())
        missing += sum(int((~mask).sum()) for mask in self.active.values())
        unmasked = [v for n, v in self.layers.items() if n not in self.active and n not in self._stored()]
        return missing + sum(int((v.weight == 0).sum()) for v in unmasked)

    def structure(self) -> tuple:
        """Numbers of weights and back ends: equal structures cost the same."""
        masks = [int(mask.sum()) for masks in (self.active, self.trained) for mask in masks.values()]
        stored = [(v.backend, v.values.numel(), len(v.active_positions())) for v in self._stored().values()]
        return (*masks, *stored)

    def backends(self) -> dict[str, str]:
        """Layer -> back end that runs it now, of the layers whose weights are masked or stored."""
        names = {name: layer.backend for name, layer in self._stored().items()}
        simulated = "semi_structured" if self.backend == "semi_structured" else "masked"
        return {name: names.get(name, simulated) for name in self.layers if name in names or name in self.active}

    def full_state(self) -> dict[str, Tensor]:
        """The model's state with whole weight matrices in the place of stored values; matrices are copies."""
        state = {name: value.detach() for name, value in self.model.state_dict().items()}
        for name in self._stored():
            del state[f"{name}.values"]
            state[f"{name}.weight"] = self._weight(name)
        return state

    # ---- resume -----------------------------------------------------------------------------------------------------
    def state_dict(self) -> dict:
        """Which weights exist and how they are stored; their values are the model's own state."""
        stored = {
            name: {"backend": layer.backend, "active": layer.active_positions(), "trained": layer.positions()}
            for name, layer in self._stored().items()
        }
        decisions = [tuple(decision) for decision in self.decisions]
        masks = {"active": dict(self.active), "trained": dict(self.trained)}
        return masks | {"stored": stored, "decisions": decisions, "stale": self.stale}

    def load_state_dict(self, state: dict) -> None:
        """Restore storage and masks; parameters get the shapes that the model's state needs."""
        for name in list(self.layers):
            if name in self._stored():
                self._unstore(name)
            if name in state["stored"]:
                stored = state["stored"][name]
                active, trained = (stored[part].sort().values for part in ("active", "trained"))
                self._store(name, self._stored_layer(name, stored["backend"], active, trained))
        self.active, self.trained = dict(state["active"]), dict(state["trained"])
        self.decisions, self.stale = [Decision(*decision) for decision in state["decisions"]], state["stale"]

    # ---- storage ----------------------------------------------------------------------------------------------------
    def _weight(self, name: str) -> Tensor:
        """The weights [O, I], detached; a dense copy of those that are stored by themselves."""
        layer = self.layers[name]
        return layer.dense(layer.values.detach()) if isinstance(layer, SparseLinear) else layer.weight.detach()

    def _mask(self, name: str, which: str) -> Tensor:
        layer, mask = self.layers[name], getattr(self, which).get(name)
        if isinstance(layer, SparseLinear):
            return layer.mask(layer.active_positions() if which == "active" else layer.positions())
        return torch.ones_like(layer.weight, dtype=torch.bool) if mask is None else mask

    def _stored_layer(self, name: str, backend: str, active: Tensor, trained: Tensor) -> SparseLinear:
        old = self.layers[name]
        return STORED[backend](name, old.weight, old.bias, active, trained, self.dense_grad)

    def _store(self, name: str, layer: SparseLinear) -> None:
        """Let a layer store only the weights that are trained."""
        layer.adopt(self.optimizer, self.layers[name].weight)
        self.active.pop(name, None), self.trained.pop(name, None)
        self._install(name, layer)

    def _unstore(self, name: str) -> None:
        """Let a layer store its whole weight matrix again, under masks."""
        old = self.layers[name]
        linear = nn.Linear(old.in_features, old.out_features, bias=False, device="meta")
        linear.weight, linear.bias = nn.Parameter(self._weight(name), old.values.requires_grad), old.bias
        if old.values.grad is not None:
            linear.weight.grad = old.dense(old.values.grad)
        replace_parameter(self.optimizer, old.values, linear.weight, old.dense)
        self.active[name], self.trained[name] = self._mask(name, "active"), self._mask(name, "trained")
        self._install(name, SelectiveLinear(linear, name, self.execute))

    def _install(self, name: str, layer: SelectiveLinear | SparseLinear) -> None:
        parent, _, child = name.rpartition(".")
        if name in self.layers:
            layer.tokens = self.layers[name].tokens
        self.layers[name] = layer
        setattr(self.model.get_submodule(parent), child, layer)
