"""The child side of a sweep: one run in a process of its own, forked from a server that has the libraries loaded.

Importing this module is what the server does once; it starts no thread pool and touches no device.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import hydra
import transformers.models.gpt2.modeling_gpt2
import transformers.models.llama.modeling_llama  # noqa: F401
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf

from replication import config as configuration
from replication.overrides import canonical
from replication.record import read_record
from replication.run import fail, run, run_folder
from replication.tuning import validation_quality
from replication.wandb_mirror import mirror

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module="lightning")


def compose(overrides: list[str]) -> configuration.Experiment:
    """A checked experiment from command-line overrides."""
    configuration.register()
    if not GlobalHydra.instance().is_initialized():
        hydra.initialize_config_dir(str(configuration.CONF), version_base="1.3")
    return configuration.build(hydra.compose("config", overrides=canonical(overrides)))


def perform(experiment: configuration.Experiment, *, suite: str | None, progress) -> tuple[str, dict, Path]:
    """Bring a run to its end and export it where the logger says so; (action, record, folder)."""
    result = run(experiment, suite=suite, progress=progress)
    logger = experiment.config["logger"]
    if logger.get("wandb") and result.action != "skipped":
        mirror(result.record, result.folder, project=logger["project"], mode=logger["wandb"])
    return result.action, result.record, result.folder


def identify(connection, jobs: list[list[str]]) -> None:
    """Tell the parent what each run is, or the sentence about the first that cannot be one."""
    try:
        connection.send([_identity(experiment) for experiment in _compose_all(jobs)])
    except (ValueError, HydraException) as error:
        connection.send(str(error).splitlines()[0])


def _compose_all(jobs: list[list[str]]) -> Iterator[configuration.Experiment]:
    """An experiment for each list of overrides; lists that differ in the seed or replicate alone are composed once."""
    shared: dict[tuple, dict] = {}
    for overrides in jobs:
        own = {key: int(o.split("=")[1]) for o in overrides for key in ("seed", "replicate") if o.startswith(f"{key}=")}
        rest = tuple(o for o in overrides if not o.startswith(("seed=", "replicate=")))
        if rest not in shared:
            shared[rest] = compose(list(rest)).config
        yield configuration.build(OmegaConf.create(shared[rest] | own))


def _identity(experiment: configuration.Experiment) -> dict:
    folder = run_folder(experiment.config)
    record = read_record(folder)
    return {
        "run_id": folder.parent.name,
        "replicate": experiment.config["replicate"],
        "label": experiment.label,
        "task": experiment.task,
        "seed": experiment.seed,
        "reference": experiment.method.reference,
        "status": record and record["status"],
        "seconds": record and record["time"] and sum(record["time"]["phases_s"].values()),
        "joules": record and record["energy"] and record["energy"]["spent_j"],
        "validation": validation_quality(record),
    }


def _report(connection, done: int, total: int) -> None:
    try:
        connection.send(("progress", done, total))
    except BrokenPipeError:  # the parent was killed; the run goes on from its checkpoint when it is started again
        raise SystemExit from None


def work(connection, overrides: list[str], suite: str | None) -> None:
    """Do one run and tell the parent: ("progress", done, total) and at last ("ended", action, status, reason)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    with open(os.devnull, "w") as null:
        sys.stdout = null
        experiment = None
        try:
            experiment = compose(overrides)
            action, record, _ = perform(experiment, suite=suite, progress=partial(_report, connection))
            ended = (action, record["status"], record["reason"])
        except Exception as error:
            mistake = isinstance(error, (ValueError, HydraException))
            reason = f"{'' if mistake else type(error).__name__ + ': '}{error}".splitlines()[0]
            if experiment is not None and not mistake:
                traceback.print_exc()
                fail(experiment, reason, suite=suite)
            ended = ("started", "failed", reason)
        connection.send(("ended", *ended))
        connection.close()
