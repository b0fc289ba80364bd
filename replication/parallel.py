"""One run on several ranks: rank 0 is the process that does the run, and it starts the others beside itself.

The others load the same configuration, train on their shares of every batch, and hand over what they have drawn. They
write an energy ledger of their own and nothing else. Where torchrun has started every rank, on one machine or several
with a shared file system, nothing is started here.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta

import torch
import torch.distributed as dist

from hundredfold.replication.config import Experiment
from hundredfold.replication.energy.sources import Elsewhere, Source, choose

BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}
HERE = "127.0.0.1"
WAIT = timedelta(minutes=30)  # for the slowest rank; one that has died is noticed at once
PATIENCE_S = 20.0  # for ranks whose work is done


def launched(experiment: Experiment) -> int | None:
    """The rank of this process where torchrun has started all of them; None where it has not.

    Raises:
        ValueError: it has started another number of processes than the run has ranks.
    """
    count, expected = int(os.environ.get("WORLD_SIZE", "1")), experiment.trainer.ranks
    if count == 1 or "LOCAL_RANK" not in os.environ:
        return None
    if count != expected:
        raise ValueError(
            f"trainer.ranks={expected}: torchrun has started {count} processes; use trainer.ranks={count}"
        )
    return int(os.environ["RANK"])


@contextlib.contextmanager
def others(experiment: Experiment) -> Iterator[None]:
    """Have the run's other ranks at work, in one group with this process; nothing for a run on one.

    Raises:
        RuntimeError: one of them ended before its work was done.
    """
    count = experiment.trainer.ranks
    if count == 1:
        yield
        return
    if launched(experiment) is not None:
        with group(experiment, 0):
            yield
        return
    store = dist.TCPStore(HERE, 0, count, is_master=True, timeout=WAIT, wait_for_workers=False)
    given = json.dumps({"config": experiment.config, "port": store.port})
    processes: list[subprocess.Popen] = []
    try:
        for rank in range(1, count):
            command = [sys.executable, "-m", "hundredfold.replication.follow", str(rank)]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
            processes.append(process)
            process.stdin.write(given)
            process.stdin.close()
        with group(experiment, 0, store):
            yield
        for process in processes:
            process.wait(PATIENCE_S)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        raise _blamed(processes) or error from None
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _blamed(processes: list[subprocess.Popen]) -> RuntimeError | None:
    """What is to be said of a rank that has ended by itself; None where all are at work."""
    for rank, process in enumerate(processes, 1):
        with contextlib.suppress(subprocess.TimeoutExpired):
            if process.wait(1.0) != 0:
                return RuntimeError(f"rank {rank} ended by itself, exit code {process.returncode}")
    return None


def place(rank: int) -> int:
    """Which of the ranks on its machine a rank is."""
    return int(os.environ.get("LOCAL_RANK", rank))


@contextlib.contextmanager
def group(experiment: Experiment, rank: int, store: dist.Store | None = None) -> Iterator[None]:
    """This process in a group with the other ranks of its run, each on a GPU of its own where they train on GPUs.

    Args:
        store: where they meet; default what torchrun has told by the environment.
    """
    if experiment.trainer.device == "cuda":
        torch.cuda.set_device(place(rank))
    backend = BACKENDS[experiment.trainer.device]
    dist.init_process_group(backend, store=store, rank=rank, world_size=experiment.trainer.ranks, timeout=WAIT)
    try:
        yield
    finally:
        dist.destroy_process_group()


def source_of(experiment: Experiment, rank: int = 0) -> Source:
    """What counts the joules of a rank: the counters of a whole machine are read by its first rank, for all on it."""
    own = f":{place(rank)}" if experiment.trainer.device == "cuda" and experiment.trainer.ranks > 1 else ""
    device = experiment.trainer.device + own
    source = choose(experiment.energy.source, device, experiment.energy.watts_per_core)
    return Elsewhere(source) if place(rank) > 0 and source.metered and source.machine else source
