"""Parts that decide about the batch before it is computed: its shape, its examples, its tokens."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from hundredfold.methods.execution.blocks import run_on_tokens
from hundredfold.methods.execution.context import Context
from hundredfold.methods.execution.parts.base import Decider, Part
from hundredfold.methods.views import Batch

Transform = Callable[[int, int, Tensor, Tensor], tuple[Tensor, Tensor]]
SampleChoice = Callable[[int, int, Tensor, torch.Generator], Tensor | None]
TokenChoice = Callable[[int, int, int, int, int, torch.Generator], Tensor | None]


class Inputs(Part):
    """The batch in another shape, such as fewer pixels or tokens.

    Args:
        transform: (step, total, inputs, targets) -> inputs, targets.
    """

    selects = "inputs"
    reads_batch = True
    single = False

    def __init__(self, method: Decider, transform: Transform):
        super().__init__(method)
        self.transform = transform

    def before_forward(self) -> None:
        context = self.context
        inputs, targets, ids = context.batch
        inputs, targets = self.transform(context.step, context.total_steps, inputs, targets)
        context.batch, context.batch_size = Batch(inputs, targets, ids), len(inputs)


class Losses(Enum):
    """The losses by which examples are chosen."""

    NONE = "none are known"
    REMEMBERED = "of every training example, as it was last seen"
    FRESH = "of the batch, by a forward pass before its training step"


class Samples(Part):
    """The examples that are trained on.

    Args:
        choose: (step, total, losses [B], the device's generator) -> weight of every example, [B]; 0 is not computed,
            None trains all alike. The step's loss is the sum of weight x loss over B. Losses that were never seen are
            NaN, unknown ones 0.
        losses: which ones `choose` gets.
        reads: (step, total) -> whether fresh losses are computed at a step.
    """

    selects = "samples"
    reads_batch = True

    def __init__(
        self,
        method: Decider,
        choose: SampleChoice,
        *,
        losses: Losses = Losses.NONE,
        reads: Callable[[int, int], bool] = lambda step, total: True,
    ):
        super().__init__(method)
        self.choose, self.losses, self.reads = choose, losses, reads
        self.example_losses: Tensor | None = None  # of the training split, [N]
        self.weights: Tensor | None = None  # [k] of the examples that stay; None where all do, alike
        self.trace: list[Tensor] = []  # a step's weights in rising order, [B]; where a twin has to repeat their number

    def attach(self, context: Context) -> None:
        super().attach(context)
        if self.losses is Losses.REMEMBERED:
            if context.training is None:
                name = self.method.name()
                raise ValueError(f"{name} remembers losses: pass the training split as Session(training=...)")
            inputs = context.training.inputs
            self.example_losses = torch.full((len(inputs),), torch.nan, device=inputs.device)
        context.objective = self.mean_loss

    @property
    def _reads_fresh(self) -> bool:
        context = self.context
        return self.losses is Losses.FRESH and self.reads(context.step, context.total_steps)

    def before_forward(self) -> None:
        context, batch = self.context, self.context.batch
        weights = self.choose(context.step, context.total_steps, self._known_losses(), context.device_generator)
        self.weights = None
        if self.method.outcome:
            alike = torch.full((len(batch.inputs),), torch.nan, device=batch.inputs.device)
            self.trace.append((alike if weights is None else weights.sort().values).half())
        if weights is None:
            return
        rows = weights.nonzero().flatten()
        if not len(rows):
            raise ValueError(
                f"{self.method.name()} selected no example of a batch of {len(batch.inputs)}; keep at least one"
            )
        context.batch = Batch(*(None if part is None else part[rows] for part in batch))
        self.weights = weights[rows]

    def _known_losses(self) -> Tensor:
        """Loss of every example of the batch, [B]."""
        context, batch = self.context, self.context.batch
        if self._reads_fresh:
            with torch.no_grad():
                return context.loss(context.model, batch.inputs, batch.targets, "none")
        if self.example_losses is None:
            return torch.zeros(len(batch.inputs), device=batch.inputs.device)
        if batch.ids is None:
            raise ValueError(f"{self.method.name()} remembers losses: pass ids to session.backward")
        return self.example_losses[batch.ids]

    def mean_loss(self) -> Tensor:
        """The loss of the examples that stay, per example of the whole batch."""
        context, batch = self.context, self.context.batch
        if self.weights is None and self.example_losses is None:
            return context.loss(context.model, batch.inputs, batch.targets, "mean")
        losses = context.loss(context.model, batch.inputs, batch.targets, "none")
        if self.example_losses is not None and not context.counting:
            self.example_losses[batch.ids] = losses.detach().float()
        return (losses if self.weights is None else losses * self.weights.to(losses)).sum() / context.batch_size

    def recount(self) -> None:
        if self._reads_fresh:
            inputs, size = self.context.batch.inputs, self.context.batch_size
            with torch.no_grad():
                self.context.model(inputs.repeat(size // len(inputs) + 1, *[1] * (inputs.ndim - 1))[:size])

    def key(self) -> tuple:
        return (self.context.batch_size if self._reads_fresh else 0,)

    def state_dict(self) -> dict[str, Any]:
        return {"example_losses": self.example_losses, "trace": torch.stack(self.trace) if self.trace else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.example_losses = state["example_losses"]
        self.trace = [] if state["trace"] is None else list(state["trace"])


class Tokens(Part):
    """The positions that enter each residual block in training; all others pass it unchanged.

    Args:
        choose: (step, total, block, blocks, positions there are, generator) -> positions, long [k] ascending; none
            skips the block, None is all.
    """

    selects = "tokens"

    def __init__(self, method: Decider, choose: TokenChoice):
        super().__init__(method)
        self.choose = choose
        self.drawn: list[Tensor | None] | None = None  # by block; None where they are drawn as the block is run
        self._counts: dict[tuple, list[int]] = {}  # shape of a batch -> positions that reach each block

    def compiles(self, storage: str) -> bool:
        return False

    def attach(self, context: Context) -> None:
        super().attach(context)
        if not context.blocks or sum(isinstance(m, nn.Conv2d) for m in context.model.modules()) > 1:
            raise ValueError(f"{self.method.name()} selects tokens of residual blocks, and this model has none")
        for index, name in enumerate(context.blocks):
            block = context.model.get_submodule(name)
            block.forward = partial(self._run_block, index, block.forward)

    def before_forward(self) -> None:
        """Decide which positions enter each block of the coming pass."""
        inputs = self.context.batch.inputs
        shape = tuple(inputs.shape)
        if shape not in self._counts:
            self._counts[shape] = self._count(inputs)
        self.drawn = [self._choose(block, count) for block, count in enumerate(self._counts[shape])]

    def _count(self, inputs: Tensor) -> list[int]:
        """Positions that reach each block."""
        counts: list[int] = []
        model, blocks = self.context.model, self.context.blocks
        self.drawn = [None] * len(blocks)
        found = [model.get_submodule(name) for name in blocks]
        hooks = [b.register_forward_pre_hook(lambda m, args: counts.append(args[0].shape[1])) for b in found]
        with torch.no_grad(), torch.random.fork_rng(enabled=True):
            model(inputs[:1])
        for hook in hooks:
            hook.remove()
        return counts

    def _choose(self, block: int, count: int) -> Tensor | None:
        context = self.context
        return self.choose(context.step, context.total_steps, block, len(context.blocks), count, context.generator)

    def _run_block(self, index: int, forward: Callable, x: Tensor, *args, **kwargs) -> Tensor:
        if not self.context.model.training:
            return forward(x, *args, **kwargs)
        tokens = self._choose(index, x.shape[1]) if self.drawn is None else self.drawn[index]
        if tokens is None:
            return forward(x, *args, **kwargs)
        return run_on_tokens(forward, x, tokens.to(x.device, non_blocking=True), *args, **kwargs)

    def unwatch(self) -> None:
        if not self.context.counting:
            self.drawn = None

    def finalize(self) -> None:
        for name in self.context.blocks:
            del self.context.model.get_submodule(name).forward

    def key(self) -> tuple:
        return tuple(-1 if tokens is None else len(tokens) for tokens in self.drawn or ())
