"""The LightningModule of the suite: one Lightning batch is a whole segment of optimizer steps.

Lightning's own cost per batch is paid once per segment, so that the framework does not show in the measurement. The
module keeps the position itself: a run resumes at the edge of a segment, bit for bit.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import lightning as L
import torch
from torch import Tensor

from hundredfold.methods.base import Diverged
from hundredfold.methods.execution import ranks
from hundredfold.methods.execution.loss import cross_entropy
from hundredfold.methods.execution.session import Session
from hundredfold.methods.execution.storage.choice import prepare_storage
from hundredfold.methods.views import Batch
from hundredfold.replication.config import Experiment
from hundredfold.replication.datasets.base import DataSpec, Seen, Split
from hundredfold.replication.energy.meter import Meter, together
from hundredfold.replication.models.base import DataDependent, Learner
from hundredfold.replication.optimizer import BYTES_PER_PARAMETER, make_optimizer
from hundredfold.replication.scoring import evaluate
from hundredfold.replication.streams import stream

READY_BYTES = 2**29  # training examples without augmentation that are standardised once and kept so
GATHERED_BYTES = 2**25  # training examples that are brought to the device and augmented at once
COMPILE_MODES = {"cuda": "reduce-overhead"}  # a step as one graph, which the host starts once
LASTING = 1000  # steps for which a structure has to last to get a graph of its own, which takes seconds to make
WARMING = 3  # steps in which a graph is compiled, recorded, and started for the first time
SEEN = 5000  # first training examples that a network's first weights may be computed from


@dataclass
class Position:
    """How far a run has come, and what it has counted on the way; all of it is in the checkpoint."""

    step: int = 0
    modeled_bytes: float = 0.0
    curve: list[dict] = field(default_factory=list)
    density_curve: list[dict] = field(default_factory=list)


class TrainingModule(L.LightningModule):
    """A model in training under a method.

    Args:
        experiment: what is trained.
        spec: of the data.
        train, validation: splits, on the run's device where the data set is resident; the test split is not reachable
            from here.
        meter: phases of the run's energy.
        reference: final units of the run that the method starts from.
        progress: called with (steps done, steps in all), a few times per second at most.
    """

    def __init__(
        self,
        experiment: Experiment,
        spec: DataSpec,
        train: Split,
        validation: Split,
        meter: Meter,
        reference: dict[str, Tensor] | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ):
        super().__init__()
        self.automatic_optimization = False
        self.experiment, self.spec, self.meter, self.progress = experiment, spec, meter, progress
        dataset = experiment.dataset
        self.ready = not dataset.augments and dataset.resident and 8 * train.inputs.numel() <= READY_BYTES
        if self.ready:
            train = Split(*dataset.prepare(*train))
        self.train_split, self.validation_split = train, validation
        self.total_steps = experiment.steps
        self.rates = experiment.learning_rates()
        seed, method = experiment.seed, experiment.method
        for member in method.members():
            member.prepare()
        if experiment.stores:
            prepare_storage(experiment.trainer.storage)
        torch.manual_seed(stream(seed, "init"))
        self.device_of_run = torch.device(experiment.trainer.device)
        self.model = experiment.model.build(spec, width=method.width).to(self.device_of_run)
        if experiment.trainer.channels_last and any(isinstance(m, torch.nn.Conv2d) for m in self.model.modules()):
            self.model.to(memory_format=torch.channels_last)
        if isinstance(self.model, DataDependent):
            some = Split(*(tensor[:SEEN].to(self.device_of_run) for tensor in train))
            self.model.fit(some.inputs if self.ready else dataset.prepare(*some)[0])
        self.optimizer = make_optimizer(self.model, experiment.recipe)
        self.compiled: Any = None  # the model as this step runs it; None for the model as it is
        self.session = Session(
            self.model,
            method,
            self.optimizer,
            total_steps=self.total_steps,
            seed=stream(seed, "method"),
            storage=experiment.trainer.storage,
            reference=reference,
            loss=self.loss,
            training=Batch(*train),
            selecting=lambda: meter.phase("select"),
            accounting=lambda: meter.phase("account"),
        )
        if isinstance(self.model, Learner):
            self.model.prepare()
            self.model.attach(train)
        self.graph: Any = None  # of the last stretch that ran compiled
        self.stretches = self._stretches()
        self.stretch, self.graph_runs = range(0), 0
        self.position = Position()

    # ---- Lightning's hooks ------------------------------------------------------------------------------------------
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer

    def training_step(self, segment: tuple[int, int], index: int) -> None:
        start, stop = int(segment[0]), int(segment[1])
        torch.manual_seed(stream(self.experiment.seed, self._own("dropout"), start))
        take = self.learn_steps if isinstance(self.model, Learner) else self.train_steps
        with self.meter.phase("train"):
            losses = take(start, stop)
        loss = float(losses.mean())
        self.position.step = stop
        if not math.isfinite(loss):
            raise Diverged(f"the loss is not finite between steps {start} and {stop}; lower recipe.learning_rate")
        self.record_point(loss)

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["session"] = self.session.state_dict()
        checkpoint["position"] = dict(vars(self.position))
        checkpoint["training"] = ranks.gathered(self.meter.commit(self.position.step))

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self.session.load_state_dict(checkpoint["session"])
        self.position = Position(**checkpoint["position"])
        self.meter.resume(checkpoint["training"][ranks.rank()])

    # ---- the loop ---------------------------------------------------------------------------------------------------
    def train_steps(self, start: int, stop: int) -> Tensor:
        """Take the steps [start, stop); returns their losses, [stop - start], on the device."""
        session, optimizer, rates = self.session, self.optimizer, self.rates
        clip, prepare, ready = self.experiment.recipe.clip, self.experiment.dataset.prepare, self.ready
        losses = torch.empty(stop - start, device=self.device_of_run)
        version, told, traffic = -1, time.perf_counter(), 0.0
        self.model.train()
        for step, (inputs, targets, rows) in zip(range(start, stop), self.examples(start, stop), strict=True):
            compiles = self._choose_graph(step)
            if session.version != version:
                version, parameters = session.version, session.dense_parameters()
                moved = BYTES_PER_PARAMETER[self.experiment.recipe.optimizer] * sum(p.numel() for p in parameters)
            for group in optimizer.param_groups:
                group["lr"] = rates[step]
            inputs, targets = (inputs, targets) if ready else prepare(inputs, targets)
            with self.meter.phase("warmup") if compiles else contextlib.nullcontext():  # the compiler runs in it
                losses[step - start] = session.backward(inputs, targets, rows)
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(parameters, clip)
            session.step()
            optimizer.zero_grad(set_to_none=True)
            traffic += moved
            now = time.perf_counter()
            if now - told > 0.5:
                told = now
                self.progress(step + 1, self.total_steps)
                self.meter.heartbeat(step + 1)
        self.progress(stop, self.total_steps)
        self.position.modeled_bytes += traffic
        return losses

    def learn_steps(self, start: int, stop: int) -> Tensor:
        """Let a model that learns by itself take the steps [start, stop); returns their losses, [stop - start]."""
        size, session, losses = self.experiment.recipe.batch_size, self.session, torch.empty(stop - start)
        for step in range(start, stop):
            losses[step - start] = self.model.learn(size, self.rates[step])
            self.progress(step + 1, self.total_steps)
            self.meter.heartbeat(step + 1)
        session.accounts.executed_flops, session.accounts.ideal_flops = self.model.flops()
        return losses

    def loss(self, model: torch.nn.Module, x: Tensor, y: Tensor, reduction: str = "mean") -> Tensor:
        """Cross-entropy in nats of a batch: the mean, or with "none" one value per example."""
        smoothing = self.experiment.recipe.smoothing
        if self.compiled is not None and self._trains:
            model = self.compiled
        with self.autocast():
            return cross_entropy(model, x, y, reduction, smoothing)

    @property
    def _trains(self) -> bool:
        """Whether the model is run for a step of the run: neither counted nor asked by a method between two steps."""
        context = self.session.context
        return context.on_batch and not context.counting and torch.is_grad_enabled()

    def autocast(self) -> contextlib.AbstractContextManager:
        """The precision of the recipe's products, in training and evaluation alike."""
        if self.experiment.trainer.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device_of_run.type, torch.bfloat16)

    def _stretches(self) -> list[range]:
        """Steps that run compiled: for each graph the steps for which it holds, of those that last and of the last."""
        if not self.experiment.trainer.compile:
            return []
        changes = [step + 1 for step in range(self.total_steps - 1) if self.session.reshapes(step)]
        edges = itertools.pairwise([0, *changes, self.total_steps])
        return [range(*edge) for edge in edges if edge[1] - edge[0] >= LASTING or edge[1] == self.total_steps]

    def _choose_graph(self, step: int) -> bool:
        """Let a step run compiled where it lies in a stretch and nothing is observed in it; whether that takes long."""
        self.compiled = None
        if not self.stretches or self.session.observes(step):
            return False
        if step not in self.stretch:
            self.stretch = next((stretch for stretch in self.stretches if step in stretch), range(0))
            if not self.stretch:
                return False
            torch.compiler.reset()  # graphs of other structures hold memory, and never come back
            self.graph = torch.compile(self.model, mode=COMPILE_MODES.get(self.device_of_run.type))
            self.graph_runs = 0
        self.compiled, self.graph_runs = self.graph, self.graph_runs + 1
        return self.graph_runs <= WARMING

    def examples(self, start: int, stop: int) -> Iterator[Batch]:
        """Batches of the steps [start, stop) on the device, augmented; standardised already if `ready`.

        Of several ranks each gets its own rows of every batch.
        """
        split, dataset = self.train_split, self.experiment.dataset
        whole = self.experiment.recipe.batch_size
        size = whole // ranks.count()
        at_once = max(1, GATHERED_BYTES // (size * split.inputs[0].nbytes))
        for first in range(start, stop, at_once):
            rows = self.batches(first, min(first + at_once, stop))
            seen = torch.arange(first * whole, first * whole + rows.numel(), device=rows.device).view_as(rows)
            rows, seen = (t[:, ranks.rank() :: ranks.count()].contiguous() for t in (rows, seen))
            flat = rows.flatten()
            inputs = split.inputs[flat].to(self.device_of_run, non_blocking=True)
            targets = split.targets[flat].to(self.device_of_run, non_blocking=True)
            generator = torch.Generator().manual_seed(stream(self.experiment.seed, self._own("augment"), first))
            inputs = dataset.augment(inputs, Seen(flat, seen.flatten() // len(split.inputs)), generator)
            parts = inputs.split(size), targets.split(size), rows.to(self.device_of_run)
            yield from (Batch(*batch) for batch in zip(*parts, strict=True))

    def _own(self, purpose: str) -> str:
        """The purpose of a random stream that every rank has for itself."""
        return f"{purpose} of rank {ranks.rank()}" if ranks.rank() else purpose

    def batches(self, start: int, stop: int) -> Tensor:
        """Row numbers of the batches of steps [start, stop), [stop - start, B]: epochs of one shuffled pass each.

        They lie where the training split does.
        """
        count, size = len(self.train_split.inputs), self.experiment.recipe.batch_size
        first, last = start * size, stop * size
        order = [
            torch.randperm(count, generator=torch.Generator().manual_seed(stream(self.experiment.seed, "order", epoch)))
            for epoch in range(first // count, (last - 1) // count + 1)
        ]
        rows = torch.cat(order)[first % count :][: last - first]
        return rows.view(-1, size).to(self.train_split.inputs.device)

    # ---- evaluation -------------------------------------------------------------------------------------------------
    def record_point(self, train_loss: float) -> None:
        """Evaluate on the validation split and append a point to the curves."""
        with self.meter.phase("eval"):
            quality = ranks.of_first(lambda: evaluate(self, self.validation_split)[0])
        if not math.isfinite(quality["loss"]):
            raise Diverged(f"the validation loss is not finite after step {self.position.step}")
        totals, position = together(ranks.gathered(self.meter.totals())), self.position
        position.curve.append(
            {
                "step": position.step,
                "fraction": position.step / self.total_steps,
                "train_loss": train_loss,
                "validation_accuracy": quality["accuracy"],
                "validation_loss": quality["loss"],
                "training_j": totals.training_j,
                "training_cpu_s": totals.training_cpu_s,
                "executed_flops": ranks.count() * (self.session.executed_flops + self.session.selection_flops),
            }
        )
        position.density_curve.append({"step": position.step, "layers": self.session.densities()})


class Segments(torch.utils.data.Dataset):
    """The one item of a Lightning epoch: the next segment of steps that the module has not taken."""

    def __init__(self, module: TrainingModule, edges: list[int]):
        self.module, self.edges = module, edges

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> tuple[int, int]:
        start = self.module.position.step
        return start, next(edge for edge in self.edges if edge > start)


def segment_edges(steps: int, segments: int) -> list[int]:
    """Steps at which a run is evaluated: `segments` near-equal parts, fewer for a run of fewer steps."""
    return sorted({round(steps * (i + 1) / segments) for i in range(segments)} - {0})
