"""The record of a run: what goes into it, and the one atomic write that makes a run finished.

results/runs/<run_id>/<machine>-<replicate>/record.json stands beside the append-only energy.jsonl, the final units
(units.safetensors) and config.yaml. Its fields are those of analysis/schema.py.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from hundredfold.analysis import check
from hundredfold.analysis.schema import SCHEMA_VERSION
from hundredfold.methods.execution import ranks
from hundredfold.methods.execution.parts import Weights
from hundredfold.methods.execution.storage.masked import STRUCTURE
from hundredfold.replication.energy.meter import together
from hundredfold.replication.energy.watch import mean_watts, step_s, watch
from hundredfold.replication.environment import boot, collect, machine_id

if TYPE_CHECKING:
    from hundredfold.replication.config import Experiment
    from hundredfold.replication.energy.meter import Meter, Totals
    from hundredfold.replication.energy.sources import Source
    from hundredfold.replication.module import TrainingModule


IDLE_S = 10.0  # of the baseline


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that the file is either the old or the new one, whatever happens; NaN is refused."""
    text = json.dumps(value, indent=1, allow_nan=False)
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


class Rest(NamedTuple):
    """What a counter does while nothing runs: watts, and seconds between two of its steps."""

    idle_w: float | None = None
    step_s: float | None = None


def at_rest(source: Source, results: Path) -> Rest:
    """What a source does at rest: measured once between two starts of the machine, nothing for one without a counter.

    Kept beside the runs, results/machines/<machine>-<boot>-<source>.json.
    """
    if source.evidence not in ("measured", "modeled"):
        return Rest()
    path = results / "machines" / f"{machine_id()}-{boot()}-{source.name}-{source.shares or 'all'}.json"
    if path.exists():
        known = json.loads(path.read_text())
        return Rest(known["idle_w"], known.get("step_s"))
    print(f"Measuring the watts at rest for {IDLE_S:g} seconds, once", file=sys.stderr)
    trace = watch(source, IDLE_S)
    found = Rest(mean_watts(trace), step_s(trace))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, found._asdict() | {"seconds": IDLE_S})
    return found


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Write record.json of a run.

    Raises:
        ValueError: a field is not what the schema says.
    """
    check.check(record)
    write_json(folder / "record.json", record)


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record of a run folder, or None if the run has not ended.

    Raises:
        ValueError: the file is no record of this schema.
    """
    path = folder / "record.json"
    return check.read(path).model_dump() if path.is_file() else None


def drawn_j(record: dict[str, Any] | None) -> float | None:
    """Joules that training has drawn, steps taken again included; None where they are not known."""
    energy = record and record["energy"]
    if not energy or energy["training_j"] is None:
        return None
    return energy["training_j"] + energy["phases_j"].get("replayed", 0.0)


def identity(experiment: Experiment, folder: Path, suite: str | None, attempts: int) -> dict[str, Any]:
    """What is known of a run before it has started."""
    method, config, trainer = experiment.method, experiment.config, experiment.trainer
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": folder.parent.name,
        "machine": machine_id(),
        "replicate": config["replicate"],
        "suite": suite,
        "task": experiment.task,
        "dataset": config["dataset"]["name"],
        "model": config["model"]["name"],
        "method": config["method"]["name"],
        "label": experiment.label,
        "family": method.family,
        "twin_of": method.twin_of,
        "simulated": experiment.simulated,
        "options": {name: value for name, value in config["method"].items() if name != "name"},
        "seed": experiment.seed,
        "config": config,
        "attempts": attempts,
        "environment": collect(trainer.device, trainer.threads, trainer.precision, type(method))
        | {"data_fingerprint": experiment.dataset.fingerprint()},
    }


class Share(NamedTuple):
    """What one rank adds to the record of its run."""

    totals: Totals
    peak_bytes: float
    sha256: str | None  # of its parameters; None where there is no other rank to compare it with


def shares(module: TrainingModule) -> list[Share]:
    """The shares of all ranks, by rank, on every rank; called once by each, at the end.

    Raises:
        RuntimeError: their parameters are not the same.
    """
    totals = module.meter.totals()  # first, since what follows lies in no phase
    digest = sha256_of(dict(module.model.named_parameters())) if ranks.count() > 1 else None
    every = ranks.gathered(Share(totals, _peak_bytes(module.device_of_run), digest))
    if len({share.sha256 for share in every}) > 1:
        raise RuntimeError("the ranks have ended with different weights")
    return every


def results(
    module: TrainingModule,
    meter: Meter,
    test: dict[str, Any] | None,
    bits: torch.Tensor | None,
    text: dict[str, Any] | None,
) -> dict[str, Any]:
    """What only a run that came to its end can tell.

    Args:
        test: quality on the test split; None if the run diverged.
        bits: which predictions on it are right, bool; None if the run diverged.
        text: losses of the validation and the test text read from beginning to end; None where there is no such text.
    """
    session, position, count = module.session, module.position, ranks.count()
    every = shares(module)
    totals = together([share.totals for share in every])
    return {
        "quality": _quality(module, test, bits) | {"read_on": text},
        "energy": _energy(meter, totals),
        "time": {
            "phases_s": totals.phases_s,
            "phases_cpu_s": totals.phases_cpu_s,
            "training_s": totals.training_s,
            "training_cpu_s": totals.training_cpu_s,
        },
        "flops": {
            "executed": count * (session.executed_flops + session.selection_flops),
            "ideal": count * (session.ideal_flops + session.selection_flops),
            "selection": count * session.selection_flops,
        },
        "bytes": {
            "modeled": count * position.modeled_bytes,
            "peak": sum(share.peak_bytes for share in every),
        },
        "density": {
            "target": getattr(module.experiment.method, "density", None),
            "prunable": session.density(),
            "total": session.active_parameters() / session.accounts.full_parameters,
            "layers": session.densities(),
        },
        "density_curve": position.density_curve,
        "parameters": {"total": session.accounts.full_parameters, "active": session.active_parameters()},
        "units": session.unit_counts(),
        "storages": _storages(session.part(Weights)),
        "updates": {
            "scheduled": module.experiment.method.num_updates(module.total_steps),
            "made": session.num_updates,
        },
        "steps": module.total_steps,
        "segments": meter.ledger.num_segments(),
        "weights_sha256": weights_sha256(module.model),
    }


def _peak_bytes(device: torch.device) -> float:
    """The most memory that was held: of a GPU by tensors, of a process by all that is in it."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated())
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(used if sys.platform == "darwin" else 1024 * used)


def _energy(meter: Meter, totals: Totals) -> dict[str, Any]:
    source = meter.source
    return {
        "source": source.name,
        "evidence": source.evidence,
        "reason": source.reason,
        "domains": list(source.domains),
        "phases_j": totals.phases_j,
        "training_j": totals.training_j,
        "by_seconds": list(totals.by_seconds),
        "unmetered_fraction": totals.unmetered_fraction,
    }


def _quality(module: TrainingModule, test: dict[str, Any] | None, bits: torch.Tensor | None) -> dict[str, Any]:
    metric, curve = module.spec.metric, module.position.curve
    validation = correct = None
    if test is not None and bits is not None:
        last = curve[-1]
        count = len(module.validation_split.targets.flatten())
        validation = {"accuracy": last["validation_accuracy"], "loss": last["validation_loss"], "num_examples": count}
        if metric == "accuracy":
            correct = base64.b64encode(np.packbits(bits.cpu().numpy()).tobytes()).decode()
    return {"metric": metric, "validation": validation, "test": test, "correct": correct, "curve": curve}


def _storages(weights: Weights | None) -> dict[str, Any]:
    """How each layer's weights are stored, and why where that was chosen by measurement."""
    if weights is None:
        return {"layers": {}, "decisions": []}
    store = weights.store
    return {"layers": store.storages(), "decisions": [decision._asdict() for decision in store.decisions]}


def weights_sha256(model: torch.nn.Module) -> str:
    """SHA-256 of every tensor of a model but its masks, names and shapes included."""
    state = model.state_dict()
    return sha256_of({name: tensor for name, tensor in state.items() if name.rpartition(".")[2] not in STRUCTURE})


def sha256_of(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of named tensors, names and shapes included."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
