"""Applies a method's decisions to a model in training: in a plain loop, three lines; in Lightning, a callback.

    session = Session(model, Rigl(density=0.1), optimizer, total_steps=1000)
    loss = session.backward(inputs, targets)  # or loss.backward(), for methods that leave the batch alone
    session.step()  # in place of optimizer.step()

The session owns the masks, the units that exist, the statistics and the generator. It intersects every answer of a
method with the topology, so that no method can escape it, and it leaves a dense model untouched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from methods.base import Batch, Method, NetView, Product, Selection, Site, Topology, UnitView, exact
from methods.execution.backends import check
from methods.execution.blocks import find_blocks, find_stem, run_on_tokens
from methods.execution.cost import executed_flops, ideal_flops
from methods.execution.gathered import Gathered
from methods.execution.masked import Masked
from methods.execution.observer import Observer
from methods.execution.semi_structured import SemiStructured
from methods.execution.unit_store import UnitStore
from methods.execution.units import UnitGroup, find_units
from methods.execution.weight_store import WeightStore, prunable_layers

RECOUNTS = 20  # how often per run the cost of a step is counted anew where it depends on the data


class StepCost(NamedTuple):
    """FLOPs of one training step, optimizer left out: by the kernels that ran, and by the entries selected."""

    executed: float
    ideal: float


def cross_entropy(model: nn.Module, inputs: Tensor, targets: Tensor, reduction: str, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy in nats: its mean, or with reduction "none" one value per example, [B].

    Args:
        smoothing: share of the target spread over all classes (Szegedy et al. 2016, arXiv:1512.00567).
    """
    logits = model(inputs).flatten(0, -2).float()
    loss = F.cross_entropy(logits, targets.flatten(), reduction=reduction, label_smoothing=smoothing)
    return loss if reduction == "mean" else loss.view(len(targets), -1).mean(1)


def _and(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if a is None or b is None:
        return b if a is None else a
    return a & b


COUNTERS = ("step_index", "version", "selection_flops", "executed_flops", "ideal_flops")


def _tuples(value):
    return tuple(_tuples(item) for item in value) if isinstance(value, (list, tuple)) else value


class Session:
    """One method at work on one model and optimizer.

    Args:
        model: on its device already; changed in place.
        optimizer: its references and state follow when parameters are replaced.
        total_steps: training steps of the whole run.
        seed: of the method's own random stream.
        backend: of layers whose weights are selected; see `backends`.
        units: unit groups by name; default what `find_units` finds.
        reference: group -> bool [n], the final units of another run, for methods that start from them.
        loss: (model, inputs, targets, "mean" or "none") -> mean loss, or loss of every example [B].
        training: the training split, for methods that read it before the run or remember the losses of its examples.
        selecting: entered around everything that a method decides before the first step and between steps.
        accounting: entered while the cost of a step is counted.
    Raises:
        ValueError: the model has no such part as the method selects.
    """

    def __init__(
        self,
        model: nn.Module,
        method: Method,
        optimizer: torch.optim.Optimizer,
        *,
        total_steps: int,
        seed: int = 0,
        backend: str = "masked",
        units: Mapping[str, UnitGroup] | None = None,
        reference: Mapping[str, Tensor] | None = None,
        loss: Callable[[nn.Module, Tensor, Tensor, str], Tensor] = cross_entropy,
        training: Batch | None = None,
        selecting: Callable[[], AbstractContextManager] = nullcontext,
        accounting: Callable[[], AbstractContextManager] = nullcontext,
    ):
        self.model, self.method, self.optimizer, self.total_steps = model, method, optimizer, total_steps
        check(backend, method)
        self.loss, self.training = loss, training
        self.generator = torch.Generator().manual_seed(seed)
        self.reference = dict(reference or {})
        self.step_index = self.version = 0
        self.selection_flops = self.executed_flops = self.ideal_flops = 0.0
        self.selecting, self.accounting = selecting, accounting
        self.batch: Batch | None = None
        self._forward_of_batch = False  # the model is being run on `batch`, to train on it
        self._gradients_read = False
        self._penalised = getattr(method.penalty, "__func__", None) is not Method.penalty
        self.memory: dict[str, Tensor] = {}
        self.snapshot: dict[str, Tensor] | None = None
        self.sparse_optimizer: torch.optim.Optimizer | None = None
        self._ideal_excess: float | None = None  # a number while a step is being counted
        with selecting():
            self._adapt()
        self.full_parameters = sum(p.numel() for p in model.parameters())
        self.prunable = {name: layer.weight.numel() for name, layer in prunable_layers(model).items()}
        self.blocks = find_blocks(model)
        self.frozen: frozenset[str] = frozenset()
        self.weights = WeightStore(
            model,
            method,
            lambda: self.optimizer,
            backend,
            execute=self._execute,
            mask_of=self._mask_of,
            dense_grad=lambda: self.dense_grad_now,
        )
        self._asked: set[str] | None = None  # layers whose operands the method selects
        self.backend = Gathered() if method.operand_backend == "compact" else Masked()
        if backend == "semi_structured":
            self.backend = SemiStructured(next(model.parameters()).device)
        self.store: UnitStore | None = None
        self.observer: Observer | None = None
        self.example_losses: Tensor | None = None
        self.block_tokens: list[Tensor | None] | None = None
        self.costs: dict[tuple, StepCost] = {}
        self._structure: tuple | None = None
        self._token_counts: dict[tuple, list[int]] = {}
        self._grads: dict[str, Tensor] = {}
        self.grad_mean: dict[str, Tensor] = {}
        if {"weights", "operands"} & method.selects:
            self.weights.wrap()
            self._ask_layers()
        if "units" in method.selects or "unit_statistics" in method.needs:
            self._find_units(find_units(model) if units is None else units)
        if "tokens" in method.selects:
            self._wrap_blocks()
        if "losses" in method.needs:
            if training is None:
                raise ValueError(f"{method.name()} remembers losses: pass the training split as Session(training=...)")
            self.example_losses = torch.full((len(training.inputs),), torch.nan, device=training.inputs.device)
        with selecting():
            self.apply(method.init_topology(self.view()))
            if self.store is not None:
                self.store.begin(rescale=method.rescale)
        self._watch_next()

    # ---- the training loop calls ------------------------------------------------------------------------------------
    def backward(self, inputs: Tensor, targets: Tensor, ids: Tensor | None = None) -> Tensor:
        """Forward and backward pass of one batch under the method; adds up the FLOPs that they cost.

        Args:
            ids: rows of the examples in the training split, long [B]; for methods that remember them.
        Returns:
            The mean loss of what was trained on, detached.
        """
        method, step, total = self.method, self.step_index, self.total_steps
        if "inputs" in method.selects:
            inputs, targets = method.transform(step, total, inputs, targets)
        self.batch, weights, size = Batch(inputs, targets, ids), None, len(inputs)
        if "tokens" in method.selects:
            self._draw_tokens(inputs)
        if "samples" in method.selects:
            weights = self._select_samples()
        cost = self._cost(size, weights)
        self.executed_flops += cost.executed
        self.ideal_flops += cost.ideal
        loss = self._forward_backward(weights, size, remember=True)
        self._read_gradients()
        return loss

    def step(self) -> None:
        """Take one optimizer step under the topology, and update the topology where that is due."""
        self.before_step()
        self.optimizer.step()
        self.after_step()

    @property
    def due(self) -> bool:
        return self.method.due(self.step_index, self.total_steps)

    def before_step(self) -> None:
        """After the backward pass and before the optimizer: read the gradients that the method needs.

        Raises:
            ValueError: the method decides about batches, and this loop has not trained by `backward`.
        """
        if self.batch is None and ({"samples", "inputs"} & self.method.selects or "batch" in self.method.needs):
            raise ValueError(
                f"{self.method.name()} decides about the batch: call session.backward(inputs, targets) in place of "
                "loss.backward()"
            )
        self._read_gradients()
        if self.sparse_optimizer is not None:
            for group in self.sparse_optimizer.param_groups:
                group["lr"] = self.optimizer.param_groups[0]["lr"] * group["rate"]
            self.sparse_optimizer.step()
            self.sparse_optimizer.zero_grad(set_to_none=True)

    def after_step(self) -> None:
        """After the optimizer: update the topology where that is due, and count the step."""
        if self.store is not None:
            self.observer.stop()
        if self.due:
            with self.selecting():
                self.apply(self.method.update_topology(self.step_index, self.view()))
            self._grads.clear()
        self.weights.forget_grads()
        if self.weights.stale:
            with self.selecting():
                self.weights.choose_backends(self.step_index)
            self._changed()
        self.step_index += 1
        self.batch, self.block_tokens, self._gradients_read = None, None, False
        self._watch_next()

    def apply(self, topology: Topology | None) -> None:
        """Make a topology true: masks, zeroed weights and moments, units that leave and return.

        Raises:
            ValueError: a decision that the method's back end cannot execute.
        """
        if topology is None:
            return
        self.memory |= topology.memory
        groups = self.store.groups if self.store and "units" in self.method.selects else {}
        unknown = (set(topology.active) | set(topology.values)) - set(self.layers) | (set(topology.units) - set(groups))
        if unknown:
            raise ValueError(
                f"{self.method.name()} decided about {', '.join(sorted(unknown))}, which back end "
                f"{self.method.backend!r} cannot execute for selects={', '.join(sorted(self.method.selects))}"
            )
        if topology.rewind:
            self._rewind()
        self.weights.apply(topology.active, topology.trained, topology.values)
        for name, alive in topology.units.items():
            self.store.set_alive(name, alive, topology.folds.get(name), self.optimizer)
        if topology.frozen is not None:
            self._freeze(topology.frozen)
        if topology.active or topology.units or topology.frozen is not None:
            self._changed()

    def _changed(self) -> None:
        self.version += 1
        self._structure = None

    def dense_parameters(self) -> list[nn.Parameter]:
        """Parameters that the loop's optimizer steps, for gradient clipping; tables with sparse gradients left out."""
        groups = self.sparse_optimizer.param_groups if self.sparse_optimizer else []
        tables = {p for group in groups for p in group["params"]}
        return [p for p in self.model.parameters() if p not in tables]

    @property
    def layers(self) -> Mapping[str, nn.Module]:
        """The layers whose weights or operands the method selects."""
        return self.weights.layers

    @property
    def active(self) -> Mapping[str, Tensor]:
        """Layer -> bool [O, I]; weights that exist, for the layers that the method has decided about."""
        return self.weights.masks("active")

    @property
    def trained(self) -> Mapping[str, Tensor]:
        """Layer -> bool [O, I]; weights that receive gradients, likewise."""
        return self.weights.masks("trained")

    # ---- accounts ---------------------------------------------------------------------------------------------------
    def structure(self) -> tuple:
        """What one training step's cost depends on, beside the shape of the batch; equal structures cost the same."""
        if self._structure is None:
            units = tuple(int(a.sum()) for a in self.store.alive.values()) if self.store else ()
            self._structure = (*self.weights.structure(), *units, *sorted(self.frozen))
        return (*self._structure, self.dense_grad_now)

    def count_step(self, forward_backward: Callable[[], object]) -> StepCost:
        """FLOPs of one training step at the present structure; takes no optimizer step and leaves no gradient."""
        devices = sorted({p.device for p in self.model.parameters() if p.device.type == "cuda"}, key=str)
        self._ideal_excess, state = 0.0, self.generator.get_state()
        if self.observer is not None:
            self.observer.stop()  # a counted step is no step of the run
        buffers = [(b, b.clone()) for b in self.model.buffers()]
        with torch.random.fork_rng(devices):
            executed = executed_flops(forward_backward)
        with torch.no_grad():
            for buffer, value in buffers:  # running statistics of norms
                buffer.copy_(value)
        self.generator.set_state(state)
        ideal, self._ideal_excess = executed + self._ideal_excess, None
        for parameter in self.model.parameters():
            parameter.grad = None
        self.weights.forget_grads()
        self._watch_next()
        return StepCost(executed, ideal)

    def densities(self) -> dict[str, float]:
        """Fraction of the weights of each prunable layer that exist."""
        if self.store is not None:
            return {name: self.store.density_of(name) for name in self.prunable}
        return {name: self.weights.density_of(name) for name in self.prunable}

    def density(self) -> float:
        """Fraction of the prunable weights that exist."""
        densities, total = self.densities(), sum(self.prunable.values())
        return sum(densities[name] * size for name, size in self.prunable.items()) / total if total else 1.0

    def active_parameters(self) -> int:
        """Parameters that are stored and not masked."""
        masked = self.weights.num_missing()
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
        state: dict[str, Any] = {name: getattr(self, name) for name in COUNTERS}
        state |= {name: dict(getattr(self, name)) for name in ("memory", "grad_mean")}
        state |= {"generator": self.generator.get_state(), "frozen": sorted(self.frozen)}
        state["weights"] = self.weights.state_dict()
        state["costs"] = [(key, *cost) for key, cost in self.costs.items()]
        state |= {"snapshot": self.snapshot, "example_losses": self.example_losses}
        if self.sparse_optimizer is not None:
            state["sparse_optimizer"] = self.sparse_optimizer.state_dict()
        if self.store is not None:
            state |= {"store": self.store.state_dict(), "observer": self.observer.state_dict()}
        return state

    def load_state_dict(self, state: dict) -> None:
        """Restore masks, units and statistics; parameters get the shapes that the model's state needs."""
        self.generator.set_state(state["generator"].cpu())
        for name in ("memory", "grad_mean"):
            setattr(self, name, dict(state[name]))
        self.weights.load_state_dict(state["weights"])
        self._freeze(frozenset(state["frozen"]))
        self.costs = {_tuples(key): StepCost(*cost) for key, *cost in state["costs"]}
        self.snapshot, self.example_losses = state["snapshot"], state["example_losses"]
        if self.sparse_optimizer is not None:
            self.sparse_optimizer.load_state_dict(state["sparse_optimizer"])
        if self.store is not None:
            self.store.load_state_dict(state["store"], self.optimizer)
            self.observer.stop()
            self.observer.load_state_dict(state["observer"])
        for name in COUNTERS:
            setattr(self, name, state[name])
        self._structure = None
        self._watch_next()

    def view(self) -> NetView:
        """What the method may read now."""
        return NetView(
            layers=self.weights.view(self._grads, self.grad_mean),
            stored=self.weights.stored_view(),
            shapes=self.weights.shapes(),
            units={name: self._unit_view(name) for name in self.store.groups} if self.store else {},
            blocks=self.blocks or tuple(self.prunable),
            stem=find_stem(self.model, self.blocks),
            generator=self.generator,
            total_steps=self.total_steps,
            learning_rate=float(self.optimizer.param_groups[0]["lr"]),
            reference=self.reference,
            memory=self.memory,
            batch=self.batch,
            charge=self._charge,
            probe=self._probe,
            losses=lambda model, batch: self.loss(model, batch.inputs, batch.targets, "none"),
        )

    # ---- inside -----------------------------------------------------------------------------------------------------
    def _adapt(self) -> None:
        """Let the method change the model, and tell the optimizer which parameters came and went."""
        before = set(self.model.parameters())
        devices = sorted({p.device for p in before if p.device.type == "cuda"}, key=str)
        site = Site(
            training=self.training,
            batch=lambda: self.batch if self._forward_of_batch else None,
            layers=lambda: {n: v for n, v in prunable_layers(self.model).items() if isinstance(v, nn.Linear)},
            units=lambda: find_units(self.model),
            total_steps=self.total_steps,
            charge=self._charge,
        )
        with torch.random.fork_rng(devices):
            torch.manual_seed(int(torch.randint(2**62, (), generator=self.generator)))
            self.method.adapt(self.model, site)
        after = list(self.model.parameters())
        for group in self.optimizer.param_groups:
            group["params"] = [p for p in group["params"] if any(p is q for q in after)]
        lazy = {m.weight for m in self.model.modules() if isinstance(m, (nn.Embedding, nn.EmbeddingBag)) and m.sparse}
        fresh = [p for p in after if p not in before and p not in lazy]
        template = {k: v for k, v in self.optimizer.param_groups[0].items() if k != "params"}
        for decays in (True, False):
            params = [p for p in fresh if (p.ndim > 1) is decays]
            if params:
                decay = {} if decays or "weight_decay" not in template else {"weight_decay": 0.0}
                self.optimizer.add_param_group({"params": params, **template, **decay})
        if lazy:
            ordered = [p for p in after if p in lazy]
            self.sparse_optimizer = torch.optim.SparseAdam(ordered)
            self.sparse_optimizer.param_groups[0]["rate"] = self.method.table_rate

    def _select_samples(self) -> Tensor | None:
        """Weights of the examples that stay in `self.batch`, [k]; None where all do, alike."""
        batch, method = self.batch, self.method
        losses = torch.zeros(len(batch.inputs), device=batch.inputs.device)
        if self._fresh_losses_now:
            with torch.no_grad():
                losses = self.loss(self.model, batch.inputs, batch.targets, "none")
        elif self.example_losses is not None:
            if batch.ids is None:
                raise ValueError(f"{method.name()} remembers losses: pass ids to session.backward")
            losses = self.example_losses[batch.ids]
        weights = method.select_samples(self.step_index, self.total_steps, losses, self.generator)
        if weights is None:
            return None
        rows = weights.nonzero().flatten()
        if not len(rows):
            raise ValueError(f"{method.name()} selected no example of a batch of {len(losses)}; keep at least one")
        self.batch = Batch(*(None if part is None else part[rows] for part in batch))
        return weights[rows]

    @property
    def _fresh_losses_now(self) -> bool:
        return "fresh_losses" in self.method.needs and self.method.reads_losses(self.step_index, self.total_steps)

    def _draw_tokens(self, inputs: Tensor) -> None:
        """Decide which positions enter each block of the coming pass."""
        shape = tuple(inputs.shape)
        if shape not in self._token_counts:
            self._token_counts[shape] = counts = []
            self.block_tokens = [None] * len(self.blocks)
            blocks = [self.model.get_submodule(name) for name in self.blocks]
            hooks = [b.register_forward_pre_hook(lambda m, args: counts.append(args[0].shape[1])) for b in blocks]
            with torch.no_grad(), torch.random.fork_rng(enabled=True):
                self.model(inputs[:1])
            for hook in hooks:
                hook.remove()
        self.block_tokens = [self._tokens(i, count) for i, count in enumerate(self._token_counts[shape])]

    def _tokens(self, block: int, count: int) -> Tensor | None:
        return self.method.select_tokens(
            self.step_index, self.total_steps, block, len(self.blocks), count, self.generator
        )

    def _run_block(self, index: int, forward: Callable, x: Tensor, *args, **kwargs) -> Tensor:
        if not self.model.training:
            return forward(x, *args, **kwargs)
        drawn = self.block_tokens
        tokens = self._tokens(index, x.shape[1]) if drawn is None else drawn[index]
        if tokens is None:
            return forward(x, *args, **kwargs)
        return run_on_tokens(forward, x, tokens.to(x.device), *args, **kwargs)

    def _wrap_blocks(self) -> None:
        if not self.blocks or sum(isinstance(m, nn.Conv2d) for m in self.model.modules()) > 1:
            raise ValueError(f"{self.method.name()} selects tokens of residual blocks, and this model has none")
        for index, name in enumerate(self.blocks):
            block = self.model.get_submodule(name)
            block.forward = partial(self._run_block, index, block.forward)

    def _forward_backward(self, weights: Tensor | None, size: int, *, remember: bool = False) -> Tensor:
        """Forward and backward pass of `self.batch`; the mean loss, detached."""
        batch = self.batch
        self._forward_of_batch = True
        if weights is None and self.example_losses is None:
            loss = self.loss(self.model, batch.inputs, batch.targets, "mean")
        else:
            losses = self.loss(self.model, batch.inputs, batch.targets, "none")
            if remember and self.example_losses is not None:
                self.example_losses[batch.ids] = losses.detach().float()
            loss = (losses if weights is None else losses * weights.to(losses)).sum() / size
        self._forward_of_batch = False
        loss.backward()
        return loss.detach()

    def _cost(self, size: int, weights: Tensor | None) -> StepCost:
        """FLOPs of the step about to be taken, counted once for each structure and shape."""
        tokens = tuple(-1 if t is None else len(t) for t in self.block_tokens or ())
        phase = self.step_index * RECOUNTS // self.total_steps if self.method.cost_varies else 0
        fresh = size if self._fresh_losses_now else 0
        key = (self.structure(), tuple(self.batch.inputs.shape), tokens, phase, fresh)
        if key not in self.costs:
            inputs, targets, _ = self.batch

            def step():
                if fresh:
                    with torch.no_grad():
                        whole = inputs.repeat(size // len(inputs) + 1, *[1] * (inputs.ndim - 1))[:size]
                        self.model(whole)
                self._forward_backward(weights, size)

            with self.accounting():
                self.costs[key] = self.count_step(step)
        return self.costs[key]

    def _read_gradients(self) -> None:
        """Hand the method the gradients it needs, and keep those of missing weights from the optimizer."""
        if self._gradients_read:
            return
        self._gradients_read = True
        if self._penalised:
            penalty = self.method.penalty(dict(self.model.named_parameters()), self.store.groups if self.store else {})
            if penalty is not None:
                penalty.backward()
        if {"dense_grad", "grad"} & self.method.needs and self.due:
            self._grads = self.weights.grads()
            if self.method.replaces_step:
                self.optimizer.zero_grad(set_to_none=True)  # an optimizer skips parameters without a gradient
                return
        if not self.dense_grad_now:
            return
        if "grad_mean" in self.method.needs:
            for name, grad in self.weights.grads().items():
                mean = self.grad_mean.setdefault(name, torch.zeros_like(grad))
                mean.mul_(self.method.grad_decay).add_(grad, alpha=1 - self.method.grad_decay)
        self.weights.mask_grads()

    @torch.no_grad()
    def _rewind(self) -> None:
        """Every parameter and buffer back to the snapshot; the optimizer forgets."""
        if self.snapshot is None:
            raise ValueError(f"{self.method.name()} rewinds before step {self.method.rewind_step}; nothing was kept")
        for name, value in self.weights.full_state().items():
            if name.removesuffix(".weight") in self.weights.layers:
                self.weights.set_weight(name.removesuffix(".weight"), self.snapshot[name])
            else:
                value.copy_(self.snapshot[name])
        self.optimizer.state.clear()

    def _freeze(self, frozen: frozenset[str]) -> None:
        for name, parameter in self.model.named_parameters():
            inside = any(name == part or name.startswith(f"{part}.") for part in frozen)
            if inside or any(name == part or name.startswith(f"{part}.") for part in self.frozen):
                parameter.requires_grad_(not inside)
        self.frozen = frozen

    def _probe(self, function: Callable[[nn.Module], Any]) -> Any:
        """Call a function of the model, charge its FLOPs, and undo what it changes."""
        model, devices = self.model, sorted({p.device for p in self.model.parameters() if p.is_cuda}, key=str)
        tensors = [*model.parameters(), *model.buffers()]
        saved, grads = [t.detach().clone() for t in tensors], [t.grad for t in tensors]
        modes = [(module, module.training) for module in model.modules()]
        for tensor in tensors:
            tensor.grad = None
        with torch.random.fork_rng(devices), FlopCounterMode(display=False) as counter, torch.enable_grad():
            result = function(model)
        with torch.no_grad():
            for tensor, value, grad in zip(tensors, saved, grads, strict=True):
                tensor.copy_(value)
                tensor.grad = grad
        for module, mode in modes:
            module.training = mode
        self._charge(float(counter.get_total_flops()))
        return result

    def _ask_layers(self) -> None:
        """Fix which layers' operands the method selects."""
        plain = list(self.layers)
        if self.method.operand_layers == "hidden":
            *hidden, last = plain
            self._asked = set(hidden) if self._is_output(last) else {*hidden, last}
        elif self.method.operand_layers == "readers":
            self._asked = {group.reads for group in find_units(self.model).values() if group.kind == "neuron"}

    def _is_output(self, name: str) -> bool:
        """Whether a layer, the last prunable one, is the model's output: nothing with parameters comes after it."""
        return next(reversed(dict(self.model.named_parameters()))).startswith(f"{name}.")

    def _execute(self, name: str, product: Product, left: Tensor, right: Tensor, forward: Selection):
        """Ask the method, enforce the topology, run the product; also returns what the method itself selected."""
        asked = self._asked is None or name in self._asked
        chosen = exact(product, forward)
        if asked:
            chosen = self.method.select_operands(product, name, left, right, forward)
        selection = chosen
        active, trained = self.weights.active.get(name), self.weights.trained.get(name)
        if product is Product.WEIGHT_GRAD:
            selection = selection._replace(out=_and(selection.out, None if self.dense_grad_now else trained))
        else:
            selection = selection._replace(right=_and(selection.right, active))
        if self._ideal_excess is not None and self.backend.simulated:
            everything = ideal_flops(product, left, right, Selection())
            self._ideal_excess += ideal_flops(product, left, right, selection) - everything
        if product is not Product.WEIGHT_GRAD and trained is active and not self.method.keeps_weights:
            selection = chosen  # inactive weights are stored as zeros, so masking them again would change nothing
        return self.backend.run(product, left, right, selection), chosen

    def _mask_of(self, name: str, product: Product, tokens: int) -> Tensor | None:
        """The weights in a product of a layer whose weights alone are selected; None where no mask is needed."""
        active, trained = self.weights.active.get(name), self.weights.trained.get(name)
        mask = active if product is not Product.WEIGHT_GRAD else None if self.dense_grad_now else trained
        if self._ideal_excess is not None and mask is not None:
            self._ideal_excess -= 2.0 * tokens * (mask.numel() - int(mask.sum()))
        stored_as_zeros = product is not Product.WEIGHT_GRAD and trained is active and not self.method.keeps_weights
        return None if stored_as_zeros else mask

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
        needs = self.method.needs
        return "grad_mean" in needs or ("dense_grad" in needs and self.due)

    def _watch_next(self) -> None:
        if self.step_index == self.method.rewind_step:
            self.snapshot = {name: value.clone() for name, value in self.weights.full_state().items()}
        if self.observer is not None and self.method.observes(self.step_index, self.total_steps):
            self.observer.start()

    def _charge(self, flops: float) -> None:
        if self._ideal_excess is None:
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
            norm=store.norm(name),
            observed=statistics.observed,
            importance=statistics.corrected("importance"),
            fires=statistics.corrected("fires"),
            mean=statistics.corrected("mean") if neuron else None,
            second=statistics.corrected("second") if neuron else None,
            sample=self.observer.sample(name) if neuron else None,
            outgoing_grad=store.outgoing_grad(name),
            foldable=neuron and self.model.get_submodule(group.reads).bias is not None,
        )
