"""Does a list of jobs one after the other or some at a time, each in a fresh process, and goes on after a failure.

Importing the libraries takes many seconds, so every process is forked from one server that has them loaded; it is
started only where something has to run. A run that has ended is skipped, one that was interrupted goes on where it
stopped.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import signal
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from hundredfold.analysis.schema import FAILED, FINISHED
from hundredfold.replication.process import check_device
from hundredfold.replication.study.job import Job, past

RETRIES = 2  # after a process that died without a word
HEARING_S = 0.2  # between two looks at whether to stop
PATIENCE_S = 20  # with a process that was asked to stop
COLUMNS = (
    TextColumn("{task.description}", markup=False),
    BarColumn(),
    TextColumn("{task.fields[finished]}/{task.fields[runs]} runs"),
    TimeElapsedColumn(),
    TextColumn("left"),
    TimeRemainingColumn(elapsed_when_finished=False),
)


class Outcome(NamedTuple):
    """How a job ended; action: skipped, resumed or started; status as in its record."""

    job: Job
    action: str
    status: str
    reason: str | None


def run_all(jobs: list[Job], *, suite: str | None = None, at_once: int = 1) -> list[Outcome]:
    """Do every job that has not ended, and say how each ended.

    Args:
        at_once: so many side by side; more than one only where no energy is measured.
    Raises:
        ValueError: a record that cannot be read, or a device that this machine does not have; nothing has run then.
    """
    earlier = [past(job) for job in jobs]
    todo = [job for job, done in zip(jobs, earlier, strict=True) if not done.ended]
    for device in {job.config["trainer"]["device"] for job in todo}:
        check_device(device)
    outcomes = iter(_run_each(todo, suite, at_once) if todo else [])
    return [
        Outcome(job, "skipped", done.status, None) if done.ended else next(outcomes)
        for job, done in zip(jobs, earlier, strict=True)
    ]


def _run_each(jobs: list[Job], suite: str | None, at_once: int) -> list[Outcome]:
    context = _context()
    console = Console(stderr=True, highlight=False)
    outcomes: list[Outcome] = []
    done = dict.fromkeys(range(len(jobs)), 0.0)  # fraction of each job
    with (
        Progress(*COLUMNS, console=console, speed_estimate_period=120, refresh_per_second=4) as bar,
        ThreadPoolExecutor(at_once) as pool,
    ):
        task = bar.add_task("loading libraries", total=sum(job.seconds for job in jobs), runs=len(jobs), finished=0)

        def show(index: int, fraction: float) -> None:
            done[index] = fraction
            seconds = sum(job.seconds * done[i] for i, job in enumerate(jobs))
            bar.update(task, completed=seconds, finished=len(outcomes), description=str(jobs[index]))

        def do(index: int) -> Outcome:
            job = jobs[index]
            for earlier, future in zip(jobs[:index], futures, strict=False):
                if (earlier.arm, earlier.seed) == (job.reference, job.seed):  # the run that it starts from
                    future.result()
            outcome = _run_one(context, job, suite, lambda steps, total: show(index, steps / total), stop)
            outcomes.append(outcome)
            show(index, 1.0)
            if outcome.status != FINISHED:
                console.print(f"[red]{outcome.status}[/red] {escape(f'{job}: {outcome.reason}')}")
            return outcome

        stop = threading.Event()
        futures: list[Future[Outcome]] = []  # a job sees those of all before it
        for index in range(len(jobs)):
            futures.append(pool.submit(do, index))
        try:
            ordered = [future.result() for future in futures]
        except KeyboardInterrupt:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    counts = Counter(o.action if o.status == FINISHED else o.status for o in outcomes)
    console.print("runs: " + ", ".join(f"{count} {name}" for name, count in sorted(counts.items())))
    return ordered


def _run_one(context, job: Job, suite: str | None, tell: Callable[[int, int], None], stop: threading.Event) -> Outcome:
    for _ in range(1 + RETRIES):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_child, args=(sender, job.config, suite), daemon=True)
        process.start()
        sender.close()
        ended = _listen(receiver, tell, stop)
        if stop.is_set():
            process.terminate()
            process.join(PATIENCE_S)
            process.kill()
            return Outcome(job, "started", FAILED, "stopped; the same command goes on")
        process.join()
        if ended is not None:
            return Outcome(job, *ended)
    return Outcome(job, "started", FAILED, f"its process ended by itself, exit code {process.exitcode}")


def _child(connection: Connection, config: dict[str, Any], suite: str | None) -> None:
    """What a child does; its libraries are loaded by the server, and this process never needs them."""
    from hundredfold.replication.study.child import work

    work(connection, config, suite)


def _context() -> multiprocessing.context.BaseContext:
    """Processes forked from a server that has the libraries; neither hears Ctrl-C, which is for the queue."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hundredfold.replication.study.child"])
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited by the server and by what it forks
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, before)
    return context


def _listen(
    receiver: Connection, tell: Callable[[int, int], None], stop: threading.Event
) -> tuple[str, str, str | None] | None:
    """Pass progress on until the run has ended: its action, status and reason; None if it is to stop, or died first."""
    try:
        while not stop.is_set():
            if receiver.poll(HEARING_S):
                kind, *values = receiver.recv()
                if kind == "ended":
                    return tuple(values)
                tell(*values)
    except EOFError:
        pass
    return None
