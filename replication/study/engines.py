"""Where the runs of a study are done: here one after the other, in joblib's workers, by submitit on Slurm, or by Ray.

Every engine gives each run a process of its own, and all may work on one results folder: a run is locked in its folder,
one that has ended is skipped, and one that was interrupted goes on from its checkpoint, on whatever machine.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from hundredfold.analysis.schema import FAILED
from hundredfold.replication.process import check_device
from hundredfold.replication.study.job import Job

RETRIES = 2  # after a process that died without a word
HEARING_S = 0.2  # between two looks at whether to stop
PATIENCE_S = 20  # with a process that was asked to stop
MOST_AT_ONCE = 512  # runs that one sweep has on a cluster; the others wait here


class Ended(NamedTuple):
    """How a run ended; action: skipped, resumed or started; status as in its record."""

    action: str
    status: str
    reason: str | None


Tell = Callable[[int, int], None]  # steps done, steps in all
STOPPED = Ended("started", FAILED, "stopped; the same command goes on")


class Engine(Protocol):
    """Does runs, some of them at once.

    Attributes:
        at_once: so many calls of `run` may wait side by side, each in a thread of its own.
    """

    at_once: int

    def begin(self, jobs: Iterable[Job], suite: str | None) -> None:
        """Get ready, and hand over runs that start from no other.

        Raises:
            ValueError: what does the runs cannot do them; nothing has run then.
        """

    def run(self, job: Job, suite: str | None, tell: Tell, stop: threading.Event) -> Ended:
        """Bring a run to its end, or stop it where `stop` is set; waits for it."""


# ---- here -----------------------------------------------------------------------------------------------------------
class Fresh:
    """Processes forked from one server that has loaded the libraries, which takes many seconds.

    Args:
        at_once: more than one only where no energy is measured.
    """

    def __init__(self, at_once: int = 1):
        self.at_once = at_once

    def begin(self, jobs: Iterable[Job], suite: str | None) -> None:
        for device in {job.config["trainer"]["device"] for job in jobs}:
            check_device(device)
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["hundredfold.replication.study.preload"])
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the queue, not for what it starts
        try:
            multiprocessing.forkserver.ensure_running()
        finally:
            signal.signal(signal.SIGINT, before)

    def run(self, job: Job, suite: str | None, tell: Tell, stop: threading.Event) -> Ended:
        for _ in range(1 + RETRIES):
            receiver, sender = self.context.Pipe(duplex=False)
            process = self.context.Process(target=_child, args=(sender, job.config, suite), daemon=True)
            process.start()
            sender.close()
            ended = _listen(receiver, tell, stop)
            if stop.is_set():
                process.terminate()
                process.join(PATIENCE_S)
                process.kill()
                return STOPPED
            process.join()
            if ended is not None:
                return ended
        return Ended("started", FAILED, f"its process ended by itself, exit code {process.exitcode}")


def _child(connection: Connection, config: dict[str, Any], suite: str | None) -> None:
    """What a child does; its libraries are loaded by the server, and this process never needs them."""
    from hundredfold.replication.study.child import work

    work(connection, config, suite)


def _listen(receiver: Connection, tell: Tell, stop: threading.Event) -> Ended | None:
    """Pass progress on until the run has ended; None if it is to stop, or died first."""
    try:
        while not stop.is_set():
            if receiver.poll(HEARING_S):
                kind, *values = receiver.recv()
                if kind == "ended":
                    return Ended(*values)
                tell(*values)
    except EOFError:
        pass
    return None


# ---- elsewhere ------------------------------------------------------------------------------------------------------
class Work:
    """One run in a fresh process of the machine that calls this; a value that travels to it."""

    def __init__(self, config: dict[str, Any], suite: str | None):
        self.config, self.suite = config, suite

    def __call__(self) -> tuple[str, str, str | None]:
        """How the run ended.

        Raises:
            RuntimeError: its process ended without a word.
        """
        command = [sys.executable, "-m", "hundredfold.replication.study.child"]
        given = json.dumps({"config": self.config, "suite": self.suite})
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            told, _ = process.communicate(given)
        except BaseException:
            process.terminate()
            process.wait(PATIENCE_S)
            raise
        if process.returncode != 0:
            raise RuntimeError(f"its process ended by itself, exit code {process.returncode}")
        return tuple(json.loads(told.splitlines()[-1]))

    def checkpoint(self) -> Any:
        """What submitit queues again where Slurm has stopped this: the same run, which goes on."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class Submitting:
    """An engine that hands runs over and gets something that will have their results."""

    at_once = MOST_AT_ONCE

    def __init__(self) -> None:
        self.futures: dict[tuple[str, int], Any] = {}

    def begin(self, jobs: Iterable[Job], suite: str | None) -> None:
        try:
            self.open()
        except ModuleNotFoundError as error:
            raise ValueError(f"{error.name} is not installed; pip install 'hundredfold[engines]'") from None
        first = [job for job in jobs if job.reference is None]
        works = [Work(job.config, suite) for job in first]
        keys = [(job.run_id, job.replicate) for job in first]
        self.futures = dict(zip(keys, self.submit(works), strict=True))

    def run(self, job: Job, suite: str | None, tell: Tell, stop: threading.Event) -> Ended:
        key = (job.run_id, job.replicate)
        future = self.futures.get(key) or self.submit([Work(job.config, suite)])[0]
        while not stop.wait(HEARING_S):
            if future.done():
                try:
                    return Ended(*future.result())
                except CancelledError:
                    break
                except Exception as error:  # of the engine, or of the machine that the run was on
                    return Ended("started", FAILED, f"{type(error).__name__}: {error}".splitlines()[0])
        future.cancel()
        return STOPPED

    def open(self) -> None:
        """Connect to what does the runs."""
        raise NotImplementedError

    def submit(self, works: list[Work]) -> list[Any]:
        """Hand runs over; futures of what they answer."""
        raise NotImplementedError


class Joblib(Submitting):
    """joblib's worker processes on this machine.

    Args:
        jobs: so many at once. Runs whose energy is measured by one counter wait for each other all the same.
        devices: CUDA devices, each for one worker; default all of what the machine shows, for each.
    """

    def __init__(self, jobs: int = 2, devices: list[int] | None = None):
        super().__init__()
        self.jobs, self.devices = len(devices) if devices else jobs, devices

    def open(self) -> None:
        from joblib.externals.loky import ProcessPoolExecutor

        given = (_queue(self.devices),)
        self.pool = ProcessPoolExecutor(self.jobs, timeout=600, initializer=_take_device, initargs=given)

    def submit(self, works: list[Work]) -> list[Any]:
        return [self.pool.submit(work) for work in works]


def _queue(devices: list[int] | None) -> Any:
    if not devices:
        return None
    from joblib.externals.loky.backend.context import get_context

    queue = get_context().Queue()
    for device in devices:
        queue.put(device)
    return queue


def _take_device(devices: Any) -> None:
    """A worker's runs use one device, which no other worker has."""
    if devices is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(devices.get())


class Submitit(Submitting):
    """Jobs of a Slurm cluster, as arrays; a job that Slurm stops is queued again and goes on from its checkpoint.

    Args:
        folder: of submitit's own files.
        cluster: slurm, local (processes of this machine) or debug; default slurm where there is one.
        parameters: of submitit's executor, as in timeout_min=600 or slurm_partition=gpu.
    """

    def __init__(self, folder: str = "submitit", cluster: str | None = None, **parameters: Any):
        super().__init__()
        self.folder, self.cluster, self.parameters = folder, cluster, parameters

    def open(self) -> None:
        import submitit

        Path(self.folder).mkdir(parents=True, exist_ok=True)
        self.executor = submitit.AutoExecutor(folder=self.folder, cluster=self.cluster)
        self.executor.update_parameters(**{"timeout_min": 24 * 60} | self.parameters)

    def submit(self, works: list[Work]) -> list[Any]:
        with self.executor.batch():
            jobs = [self.executor.submit(work) for work in works]
        return jobs


class Ray(Submitting):
    """Tasks of a Ray cluster; a task whose node dies is done again on another, from its checkpoint.

    Args:
        address: of the cluster; default that of RAY_ADDRESS, or a cluster of this machine alone.
        cpus, gpus: that one run takes.
    """

    def __init__(self, address: str | None = None, cpus: float = 1, gpus: float = 0):
        super().__init__()
        self.address, self.cpus, self.gpus = address, cpus, gpus

    def open(self) -> None:
        import ray

        ray.init(address=self.address, ignore_reinit_error=True, log_to_driver=False, logging_level=logging.ERROR)
        self.task = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=RETRIES)(_call)

    def submit(self, works: list[Work]) -> list[Any]:
        return [self.task.remote(work).future() for work in works]


def _call(work: Work) -> tuple[str, str, str | None]:
    return work()


ENGINES: dict[str, type] = {"fresh": Fresh, "joblib": Joblib, "submitit": Submitit, "ray": Ray}


def engine(name: str = "fresh", **options: Any) -> Engine:
    """An engine by its name.

    Raises:
        ValueError: there is none of that name, or it has no such option.
    """
    if name not in ENGINES:
        raise ValueError(f"launcher={name}: unknown; choose one of {', '.join(ENGINES)}")
    try:
        return ENGINES[name](**options)
    except TypeError as error:
        raise ValueError(f"launcher={name}: {str(error).partition('() ')[2]}") from None


def parsed(text: str) -> Engine:
    """An engine as a command line names it: "joblib jobs=2".

    Raises:
        ValueError: as `engine`, or words that are not of the form name=value.
    """
    import yaml

    name, *given = text.split()
    if wrong := [word for word in given if "=" not in word]:
        raise ValueError(f"--launcher {text!r}: {wrong[0]} is not of the form name=value")
    return engine(name, **{key: yaml.safe_load(value) for key, _, value in (word.partition("=") for word in given)})
