"""Applies a method's decisions to a model in training: in a plain loop, three lines; in Lightning, a callback.

    session = Session(model, Rigl(density=0.1), optimizer, total_steps=1000)
    loss = session.backward(inputs, targets)  # or loss.backward(), for methods that leave the batch alone
    session.step()  # in place of optimizer.step()

The session calls parts, one for each kind of selection, and asks every method when its decision is due. No method can
escape its parts, and a dense model stays untouched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hundredfold.methods.base import Method
from hundredfold.methods.execution import ranks
from hundredfold.methods.execution.accounts import Accounts
from hundredfold.methods.execution.answers import Answers
from hundredfold.methods.execution.blocks import find_blocks, find_stem
from hundredfold.methods.execution.context import Context, moved
from hundredfold.methods.execution.host import sizes
from hundredfold.methods.execution.loss import cross_entropy
from hundredfold.methods.execution.parts import Modules, Part, Samples, Units, in_order
from hundredfold.methods.execution.parts.weights import check_storage
from hundredfold.methods.execution.probe import probe
from hundredfold.methods.execution.units.groups import UnitGroup
from hundredfold.methods.topology import Topology
from hundredfold.methods.views import Batch, NetView

UNDECIDED = -1  # in place of a count


class Member(NamedTuple):
    """One method of a session, and what its decisions have asked to remember."""

    method: Method
    memory: dict[str, Tensor]


class Session(Answers):
    """A method, or a stack of them, at work on one model and optimizer.

    Args:
        model: on its device already; changed in place.
        optimizer: its references and state follow when parameters are replaced.
        total_steps: training steps of the whole run.
        seed: of the methods' own random stream.
        storage: of weights that do not exist; see `storage.choice`.
        units: unit groups by name; default what `find_units` finds.
        reference: what a method reads of another run: its final units, group -> bool [n], or its `trace`.
        loss: (model, inputs, targets, "mean" or "none") -> mean loss, or loss of every example [B].
        training: the training split, for methods that read it before the run or remember the losses of its examples.
        selecting: entered around everything that a method decides before the first step and between steps.
        accounting: entered while the cost of a step is counted.
        decides: False for a network that was trained before, which needs no first decision.
    Raises:
        ValueError: the model has no such part as a method selects, or two methods decide about the same.
    """

    def __init__(
        self,
        model: nn.Module,
        method: Method,
        optimizer: torch.optim.Optimizer,
        *,
        total_steps: int,
        seed: int = 0,
        storage: str = "masked",
        units: Mapping[str, UnitGroup] | None = None,
        reference: Mapping[str, Tensor] | None = None,
        loss: Callable[[nn.Module, Tensor, Tensor, str], Tensor] = cross_entropy,
        training: Batch | None = None,
        selecting: Callable[[], AbstractContextManager] = nullcontext,
        accounting: Callable[[], AbstractContextManager] = nullcontext,
        decides: bool = True,
    ):
        self.method, self.reference = method, dict(reference or {})
        self.members = [Member(each, {}) for each in method.members()]
        self.version = 0  # of the structure
        self.num_updates = 0  # decisions after the first that changed it
        self.counts: dict[str, list[int]] = {}  # "step", and layer or group -> what existed after each decision
        self.parts = in_order([part for member in self.members for part in member.method.parts()])
        check_storage(storage, method.name(), self.parts)
        check_ranks(ranks.count(), storage, method.name(), self.parts)
        generator = torch.Generator().manual_seed(seed)
        drawn = int(torch.randint(2**62, (), generator=generator))
        on_device = torch.Generator(next(model.parameters()).device).manual_seed(drawn + 1)
        self.context = context = Context(
            model, optimizer, total_steps, generator, on_device, loss, training, storage, units, selecting, seed=drawn,
            parts=self.parts, reference=self.reference,
        )  # fmt: skip
        self._gradients_read = False
        for part in self.parts:
            if isinstance(part, Modules):
                part.attach(context)
        context.blocks = find_blocks(model)
        self.accounts = Accounts(context, accounting)  # of the model as the methods have made it
        for part in self.parts:
            if not isinstance(part, Modules):
                part.attach(context)
        if not decides:
            return
        with selecting():
            for member in self.members:
                self.apply(self._agreed(member.method.init_topology(self.view(member))), member)
                self._count(member.method, -1)
            for part in self.parts:
                part.begin()
        for part in self.parts:
            part.watch()

    # ---- a training step --------------------------------------------------------------------------------------------
    def backward(self, inputs: Tensor, targets: Tensor, ids: Tensor | None = None) -> Tensor:
        """Forward and backward pass of one batch under the methods; adds up the FLOPs that they cost.

        In a group of `torch.distributed` the batch is this rank's share, equal in size on all, and gradients and loss
        are averaged over the ranks.

        Args:
            ids: rows of the examples in the training split, long [B]; for methods that remember them.
        Returns:
            The mean loss of what was trained on, detached.
        """
        self.context.batch, self.context.batch_size = Batch(inputs, targets, ids), len(inputs)
        for part in self.parts:
            part.before_forward()
        self.accounts.charge_step()
        loss = self.context.forward_backward()
        if ranks.count() > 1:
            ranks.average([loss, *(p.grad for p in self.model.parameters() if p.grad is not None)])
        self._read_gradients()
        return loss

    def step(self) -> None:
        """Take one optimizer step under the topology, and update the topology where that is due."""
        self.before_step()
        self.optimizer.step()
        self.after_step()

    def before_step(self) -> None:
        """After the backward pass and before the optimizer.

        Raises:
            ValueError: a method decides about batches, and this loop has not trained by `backward`.
        """
        for part in self.parts:
            if part.reads_batch and self.context.batch is None:
                raise ValueError(
                    f"{part.method.name()} decides about the batch: call session.backward(inputs, targets) in place of "
                    "loss.backward()"
                )
        self._read_gradients()
        for part in self.parts:
            part.before_step()

    def _read_gradients(self) -> None:
        """Once per step, by whichever of `backward` and `before_step` comes first."""
        if not self._gradients_read:
            self._gradients_read = True
            for part in self.parts:
                part.after_backward()

    def after_step(self) -> None:
        """After the optimizer: update the topology where that is due, and count the step."""
        context = self.context
        for part in self.parts:
            part.unwatch()
        for member in self.members:
            if member.method.due(context.step, context.total_steps):
                before = self.version
                with context.selecting():
                    for part in self.parts:
                        part.pool()
                    self.apply(self._agreed(member.method.update_topology(context.step, self.view(member))), member)
                    self._count(member.method, context.step)
                self.num_updates += self.version > before
        for part in self.parts:
            if part.settle():
                self._changed()
        context.step += 1
        context.batch, self._gradients_read = None, False
        for part in self.parts:
            part.watch()

    def apply(self, topology: Topology | None, member: Member | None = None) -> None:
        """Make a decision true: masks, zeroed weights and moments, units that leave and return.

        Args:
            member: whose decision it is; default the first.
        Raises:
            ValueError: a decision about what no part of the method can make true.
        """
        if topology is None:
            return
        member = member or self.members[0]
        member.memory.update(topology.memory)
        own = [part for part in self.parts if part.method is member.method]
        known = set().union(*(part.names() for part in own))
        named = {(field, name) for field in ("active", "values", "units") for name in getattr(topology, field)}
        if unknown := named - known:
            names = ", ".join(sorted(name for _, name in unknown))
            what = ", ".join(sorted(part.selects for part in own if part.selects)) or "nothing"
            raise ValueError(f"{member.method.name()} decided about {names}, and its parts select {what}")
        if any([part.apply(topology) for part in own]):
            self._changed()

    def _agreed(self, topology: Topology | None) -> Topology | None:
        """The decision of rank 0, on every rank."""
        if ranks.count() == 1 or topology is None:
            return topology
        device = next(self.model.parameters()).device
        on_device = ("active", "trained", "values", "memory")  # decisions about units lie on the CPU
        sent = replace(topology, **{name: moved(dict(getattr(topology, name)), "cpu") for name in on_device})
        agreed = ranks.of_first(lambda: sent)
        return replace(agreed, **{name: moved(getattr(agreed, name), device) for name in on_device})

    def _count(self, method: Method, step: int) -> None:
        """Note how much exists after a decision, where that is an outcome of training that a twin has to repeat."""
        if not method.outcome:
            return
        units = self.part(Units)
        alive = units.store.alive if units else {}
        alive_now = {name: int(mask.sum()) for name, mask in alive.items()}  # on the CPU
        before = len(self.counts.get("step", []))
        for name, size in {"step": step, **sizes(self.active), **alive_now}.items():
            self.counts.setdefault(name, [UNDECIDED] * before).append(size)

    def trace(self) -> dict[str, Tensor]:
        """What a twin of the method needs of a run: how much existed after each decision, and the weights of examples.

        Returns:
            name -> long [decisions], UNDECIDED before the first about it, with their steps as "step"; "samples" ->
            [steps, B], each row in rising order, NaN where all examples were alike. Empty for a method whose counts
            follow from its options.
        """
        counts = {name: torch.tensor(sizes) for name, sizes in self.counts.items()}
        samples = self.part(Samples)
        return counts | ({"samples": torch.stack(samples.trace).cpu()} if samples and samples.trace else {})

    def _changed(self) -> None:
        self.version += 1
        self.accounts.changed()

    def view(self, member: Member | None = None) -> NetView:
        """What a method may read now; default the first."""
        member = member or self.members[0]
        context = self.context
        nothing: dict[str, dict[str, Any]] = {"layers": {}, "stored": {}, "shapes": {}, "units": {}}
        answered = [part.view() for part in self.parts if part.method is member.method]
        return NetView(
            **{name: value for answer in [nothing, *answered] for name, value in answer.items()},
            blocks=context.blocks or tuple(self.accounts.prunable),
            stem=find_stem(context.model, context.blocks),
            generator=context.generator,
            device_generator=context.device_generator,
            total_steps=context.total_steps,
            learning_rate=float(context.optimizer.param_groups[0]["lr"]),
            reference=self.reference,
            memory=member.memory,
            batch=context.batch,
            charge=context.charge,
            probe=lambda function: probe(context, function),
            losses=lambda model, batch: context.loss(model, batch.inputs, batch.targets, "none"),
        )

    # ---- after the run ----------------------------------------------------------------------------------------------
    def finalize(self) -> nn.Module:
        """End the training and return the network as it is deployed, in evaluation mode.

        Weights that do not exist are zeros of plain layers, units that do not exist are not there, and what selects in
        training alone is gone. What a method has added to the network (experts, tables) stays, as do layers whose
        forward products are selected at inference too. The session is over: it has no parts any more.
        """
        for part in self.parts:
            part.unwatch()
        for part in reversed(self.parts):
            part.finalize()
        self.parts = self.context.parts = []
        return self.model.eval()

    # ---- resume -----------------------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs, in tensors and numbers; load it before the model's and optimizer's."""
        return {
            "step": self.context.step,
            "version": self.version,
            "num_updates": self.num_updates,
            "counts": {name: torch.tensor(sizes) for name, sizes in self.counts.items()},
            "selection_flops": self.context.selection_flops,
            "generators": [generator.get_state() for generator in self.context.generators],
            "memories": [dict(member.memory) for member in self.members],
            "parts": [part.state_dict() for part in self.parts],
            "accounts": self.accounts.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what exists, and the methods' memory; parameters get the shapes that the model's state needs."""
        context, device = self.context, next(self.model.parameters()).device
        for part in self.parts:
            part.unwatch()
        context.step, self.version, self.num_updates = state["step"], state["version"], state["num_updates"]
        self.counts = {name: sizes.tolist() for name, sizes in state["counts"].items()}
        context.selection_flops = state["selection_flops"]
        for generator, own in zip(context.generators, state["generators"], strict=True):
            generator.set_state(own.cpu())
        for member, memory in zip(self.members, state["memories"], strict=True):
            member.memory.clear()
            member.memory.update(moved(memory, device))
        for part, own in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(moved(own, "cpu" if part.on_host else device))
        self.accounts.load_state_dict(state["accounts"])
        for part in self.parts:
            part.watch()


def check_reducer(name: str, parts: Sequence[Part]) -> None:
    """Raise a ValueError where a method makes layers smaller that DistributedDataParallel holds the parameters of."""
    if ranks.count() > 1 and any(isinstance(part, Units) and part.selects and part.compact for part in parts):
        raise ValueError(
            f"{name} replaces parameters by smaller ones, and DistributedDataParallel keeps those that it began with; "
            "train without it, by Session.backward, which averages the gradients"
        )


def check_ranks(count: int, storage: str, name: str, parts: Sequence[Part]) -> None:
    """Raise a ValueError where a method cannot train on several ranks, of which each sees a share of the batch."""
    if count == 1:
        return
    for part in parts:
        if not part.shares or part.reads_batch:
            raise ValueError(
                f"trainer.ranks={count}: {name} decides about {part.selects or 'what'} of the batch, of which a rank "
                "sees a share; use trainer.ranks=1"
            )
    if storage != "masked" and any(part.selects == "weights" for part in parts):
        raise ValueError(
            f"trainer.ranks={count}: averages gradients of whole weights, and trainer.storage={storage} keeps single "
            "ones; use trainer.storage=masked"
        )
