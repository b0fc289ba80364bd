"""One run from a checked experiment to its record: skip, resume or start, train, test once, write.

This is the task of every command: a single run, a Hydra sweep and a suite behave alike because they all end here.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import pickle
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file

from hundredfold.analysis.schema import DIVERGED, FAILED, FINISHED, MEASURED
from hundredfold.methods.base import Diverged
from hundredfold.methods.execution import ranks
from hundredfold.methods.execution.parts import Units
from hundredfold.replication.config import Experiment, reference_config, run_folder
from hundredfold.replication.datasets.base import Split, sealed
from hundredfold.replication.energy.cotenants import CoTenants
from hundredfold.replication.energy.ledger import Ledger
from hundredfold.replication.energy.meter import Meter
from hundredfold.replication.energy.sources import Source
from hundredfold.replication.module import Segments, TrainingModule, segment_edges
from hundredfold.replication.network import NETWORK, keep
from hundredfold.replication.parallel import group, launched, others, place, source_of
from hundredfold.replication.process import check_device, prepare
from hundredfold.replication.record import at_rest, identity, read_record, results, shares, write_record
from hundredfold.replication.scoring import evaluate, read_on

Progress = Callable[[int, int], None]
DIGEST = 32  # bytes of a checkpoint before its content
LOCK = "run.lock"  # in a run's folder: one process does it, on whatever machine of a shared file system
FILES = (LOCK, "attempts", "checkpoint.ckpt", "checkpoint.damaged", "checkpoint.tmp", "config.yaml",
         "counts.safetensors", "energy.jsonl",
         "network.safetensors", "network.tmp", "record.json", "record.json.tmp", "units.safetensors")  # fmt: skip


class Result(NamedTuple):
    """How a run ended: `action` is skipped, resumed, started or, where another rank leads, followed."""

    action: str
    folder: Path
    record: dict[str, Any]


def run(experiment: Experiment, *, suite: str | None = None, progress: Progress = lambda done, total: None) -> Result:
    """Bring one run to its end, or find that it has ended before.

    Raises:
        ValueError: the output folder cannot be written or has a folder where a run has a file, or the device, the data
            or the run that the method starts from is missing.
    """
    folder = run_folder(experiment.config)
    for name in FILES:
        if (folder / name).is_dir():
            raise ValueError(f"{folder / name}: is a folder where a run has a file; remove it")
    record = read_record(folder)
    if record is not None and record["status"] != FAILED:
        return _skipped(experiment, folder, record)
    check_device(experiment.trainer.device, 1 if launched(experiment) is not None else experiment.trainer.ranks)
    if not experiment.dataset.present():
        experiment.dataset.training()  # says which file is missing
    reference = _reference(experiment)
    if rank := launched(experiment):
        with group(experiment, rank):
            return Result("followed", folder, follow(experiment, rank))
    source = source_of(experiment)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LOCK).touch()
    except OSError as error:
        raise ValueError(f"results={experiment.config['results']}: cannot be written ({error.strerror})") from None
    with held(filelock.FileLock(folder / LOCK), "another process that does this run"):
        record = read_record(folder)
        if record is not None and record["status"] != FAILED:  # the other has done it
            return _skipped(experiment, folder, record)
        OmegaConf.save(OmegaConf.create(experiment.config), folder / "config.yaml")
        action = "resumed" if (folder / "checkpoint.ckpt").exists() else "started"
        with alone(source) if source.metered else contextlib.nullcontext():
            earlier = _attempts(folder)
            known = identity(experiment, folder, suite, earlier + 1)
            rest = at_rest(source, Path(experiment.config["results"]))
            known["environment"]["idle_w"], source.step_s = rest.idle_w, rest.step_s or 0.0
            meter = Meter(source, Ledger(folder / "energy.jsonl"), attempts=earlier)
            with meter.beating(), others(experiment):
                ranks.of_first(lambda: (earlier, source.step_s))
                (folder / "attempts").write_text(str(earlier + 1))  # once the ledger knows of it
                cotenants = CoTenants()
                record = known | _measured(experiment, folder, meter, reference, progress)
                if ranks.count() == 1:  # else the other ranks are among them
                    known["environment"] |= cotenants.seen(experiment.trainer.device)
                ranks.of_first(lambda: record)
        write_record(folder, record)
        (folder / "checkpoint.ckpt").unlink(missing_ok=True)
        return Result(action, folder, record)


def _skipped(experiment: Experiment, folder: Path, record: dict[str, Any]) -> Result:
    if experiment.trainer.keep and record["status"] == FINISHED and not (folder / NETWORK).exists():
        raise ValueError(
            f"trainer.keep=true: run {folder.parent.name} has ended in {experiment.results} without keeping its "
            "network; use another results=FOLDER"
        )
    return Result("skipped", folder, record)


def alone(source: Source) -> contextlib.AbstractContextManager:
    """Hold what a run holds while a source measures it."""
    where = f"on {source.shares} of this machine" if source.shares else "on this machine"
    return held(metering_lock(source.shares), f"another measured run {where}")


@contextlib.contextmanager
def held(lock: filelock.BaseFileLock, what: str) -> Iterator[None]:
    """Hold a lock, and say for what one waits where that takes longer than a moment."""
    try:
        lock.acquire(timeout=1.0)
    except filelock.Timeout:
        print(f"Waiting for {what} ({lock.lock_file})", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def fail(experiment: Experiment, reason: str, *, suite: str | None = None) -> None:
    """Write the record of a run that could not be brought to its end."""
    folder = run_folder(experiment.config)
    folder.mkdir(parents=True, exist_ok=True)
    attempts = _attempts(folder) or 1
    ended = {"status": FAILED, "reason": reason} | dict.fromkeys(MEASURED)
    write_record(folder, identity(experiment, folder, suite, attempts) | ended)


def follow(experiment: Experiment, rank: int) -> dict[str, Any]:
    """Train as a rank that is not the first, under a meter of its own whose figures go to that one; its record."""
    folder, source = run_folder(experiment.config), source_of(experiment, rank)
    attempts, source.step_s = ranks.of_first(lambda: (0, 0.0))
    prepare(experiment.trainer.threads)
    apart = source.metered and (source.shares or place(rank) == 0)  # from what rank 0 holds
    with alone(source) if apart else contextlib.nullcontext():
        meter = Meter(source, Ledger(folder / f"energy-{rank}.jsonl"), attempts=attempts)
        with meter.beating():
            with meter.phase("setup"):
                module, _ = _train(experiment, folder, meter, _reference(experiment), lambda done, total: None)
            meter.close()
            shares(module)
    return ranks.of_first(dict)


def _measured(experiment: Experiment, folder: Path, meter: Meter, reference, progress: Progress) -> dict[str, Any]:
    """Train and test under the meter; the part of the record that only a run can fill."""
    prepare(experiment.trainer.threads)
    with meter.phase("setup"):  # whatever is no other phase: building the model, reading the data, Lightning itself
        module, reason = _train(experiment, folder, meter, reference, progress)
        test, bits, text = (None, None, None) if reason else _test(module)
    meter.close()
    units = module.session.part(Units)
    if units is not None:
        alive = {name: alive.to(torch.uint8) for name, alive in units.store.alive.items()}
        save_file(alive, folder / "units.safetensors")
    if trace := module.session.trace():
        save_file(trace, folder / "counts.safetensors")
    ended = {"status": DIVERGED if reason else FINISHED, "reason": reason}
    record = ended | results(module, meter, test, bits, text)
    if experiment.trainer.keep and not reason:
        keep(folder / NETWORK, module.session, experiment, module.spec, folder.parent.name)
    return record


def _train(experiment: Experiment, folder: Path, meter: Meter, reference, progress: Progress):
    """The trained module, and the reason if it diverged; no example of the test split can be read meanwhile."""
    with sealed():
        train, validation = (placed(split, experiment) for split in experiment.dataset.training())
        module = TrainingModule(experiment, experiment.dataset.spec(), train, validation, meter, reference, progress)
        return module, fit(module, folder, experiment.trainer.checkpoint_every_s)


def _test(module: TrainingModule) -> tuple[dict[str, Any], torch.Tensor, dict[str, Any] | None]:
    """Quality on the test split, read once and at the end, which predictions are right, and the losses read on."""
    with module.meter.phase("eval"):
        split = placed(module.experiment.dataset.test(), module.experiment)
        texts = read_on(module, {"validation": module.validation_split, "test": split})
        with module.meter.phase("test"):  # what predictions of the finished network cost
            test, bits = evaluate(module, split)
        return test, bits, texts


def placed(split: Split, experiment: Experiment) -> Split:
    """A split on the run's device; where it is too large for that, as it is, and its batches move one by one."""
    if not experiment.dataset.resident:
        return split
    return Split(*(tensor.to(experiment.trainer.device) for tensor in split))


def fit(module: TrainingModule, folder: Path, checkpoint_every_s: float, segments: int | None = None) -> str | None:
    """Train with Lightning, to the end or through the first segments only; the reason if the run diverged."""
    edges = segment_edges(module.total_steps, module.experiment.trainer.segments)
    checkpoint = folder / "checkpoint.ckpt"
    ranks.of_first(lambda: _set_aside_if_damaged(checkpoint))
    trainer = L.Trainer(
        max_epochs=len(edges) if segments is None else segments,
        accelerator={"cuda": "gpu"}.get(module.experiment.trainer.device, module.experiment.trainer.device),
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[Checkpoint(checkpoint, checkpoint_every_s)],
        plugins=[CheckedIO()],
    )
    loader = torch.utils.data.DataLoader(Segments(module, edges), batch_size=None)
    reason = None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*`training_step` returned `None`.*")
        try:
            trainer.fit(module, loader, ckpt_path=checkpoint if checkpoint.exists() else None, weights_only=True)
        except Diverged as error:
            reason = str(error)
        except SystemExit as stop:  # Lightning's answer to Ctrl-C, after which it ignores the next one
            if not isinstance(stop.__context__, KeyboardInterrupt):
                raise
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt from None
        except torch._dynamo.exc.BackendCompilerFailed as error:
            raise ValueError(
                f"trainer.compile=true: the compiler failed ({str(error).splitlines()[0]}); use trainer.compile=false"
            ) from None
    # Lightning's teardown moves every module to the CPU, and what follows runs it where the data lies
    module.to(module.device_of_run)
    return reason


class Damaged(ValueError):
    """A checkpoint that is not as it was written."""


class CheckedIO(TorchCheckpointIO):
    """Checkpoints that begin with the SHA-256 of what follows, so that a flipped bit cannot go on training."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        content = buffer.getbuffer()
        with open(path, "wb") as file:
            file.write(hashlib.sha256(content).digest())
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        raw = Path(path).read_bytes()
        if hashlib.sha256(raw[DIGEST:]).digest() != raw[:DIGEST]:
            raise Damaged(str(path))
        return torch.load(io.BytesIO(raw[DIGEST:]), map_location=map_location, weights_only=True)


class Checkpoint(L.Callback):
    """Saves the run at a segment's edge, at most every so many seconds, by an atomic replacement."""

    def __init__(self, path: Path, every_s: float):
        self.path, self.every_s, self.saved = path, every_s, time.monotonic()

    def on_train_epoch_end(self, trainer: L.Trainer, module: Any) -> None:
        if module.position.step >= module.total_steps:
            return
        if ranks.of_first(lambda: time.monotonic() - self.saved < self.every_s):
            return
        with module.meter.phase("checkpoint"):
            if ranks.rank() == 0:
                temporary = self.path.with_suffix(".tmp")
                trainer.save_checkpoint(temporary)
                os.replace(temporary, self.path)
            else:
                module.on_save_checkpoint({})  # its share of the account
        self.saved = time.monotonic()


def _set_aside_if_damaged(checkpoint: Path) -> None:
    """Begin anew where a checkpoint is not as it was written; the ledger keeps the joules of what is done again."""
    if not checkpoint.exists():
        return
    try:
        CheckedIO().load_checkpoint(checkpoint)
    except (Damaged, OSError, RuntimeError, EOFError, pickle.UnpicklingError):
        aside = checkpoint.with_suffix(".damaged")
        os.replace(checkpoint, aside)
        print(f"The checkpoint is damaged and the run begins anew; it was set aside as {aside}", file=sys.stderr)


def _reference(experiment: Experiment) -> dict[str, torch.Tensor] | None:
    """What the method reads of the finished run that it names."""
    config = reference_config(experiment)
    if config is None:
        return None
    path = run_folder(config | {"replicate": 0}) / experiment.method.reference_file
    if not path.exists():
        raise ValueError(
            f"method={experiment.method.name()}: reads the run method={experiment.method.reference} with the same "
            f"options and seed={experiment.seed}, which has not finished in {config['results']}; run that first"
        )
    return load_file(path)


def _attempts(folder: Path) -> int:
    """Attempts so far; where the file holds no count, those that left a trace in the ledger."""
    path = folder / "attempts"
    text = path.read_text(errors="replace").strip() if path.exists() else "0"
    return int(text) if text.isdecimal() else Ledger(folder / "energy.jsonl").segment


def metering_lock(shares: str = "") -> filelock.FileLock:
    """What a run holds while it is measured, since two at once would share the energy of what they run on.

    The lock is the machine's, whatever the folder; HUNDREDFOLD_LOCK names another file, for runs that measure nothing.

    Args:
        shares: the device whose counter measures the run, which has a lock of its own; default the machine.
    """
    ending = f"-{shares}" if shares else ""
    shared = Path(tempfile.gettempdir()) / f"hundredfold-metered-run{ending}.lock"
    chosen = Path(os.environ["HUNDREDFOLD_LOCK"] + ending) if os.environ.get("HUNDREDFOLD_LOCK") else shared
    try:
        with open(chosen, "a"):
            pass
    except PermissionError:  # another user's file, which the system lets nobody else open
        chosen = Path(tempfile.gettempdir()) / f"hundredfold-metered-run{ending}-{os.getuid()}.lock"
    return filelock.FileLock(chosen)
