"""Does a list of jobs one after the other, each in a fresh process, and goes on after a failure.

Importing the libraries takes many seconds, so every process is forked from one server that has them loaded; it is
started only where something has to run. A run that has ended is skipped, one that was interrupted goes on where it
stopped.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import signal
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from hundredfold.replication.process import check_device
from hundredfold.replication.study.job import Job, past

RETRIES = 2  # after a process that died without a word
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


def run_all(jobs: list[Job], *, suite: str | None = None) -> list[Outcome]:
    """Do every job that has not ended, and say how each ended.

    Raises:
        ValueError: a record that cannot be read, or a device that this machine does not have; nothing has run then.
    """
    earlier = [past(job) for job in jobs]
    todo = [job for job, done in zip(jobs, earlier, strict=True) if not done.ended]
    for device in {job.config["trainer"]["device"] for job in todo}:
        check_device(device)
    outcomes = iter(_run_each(todo, suite) if todo else [])
    return [
        Outcome(job, "skipped", done.status, None) if done.ended else next(outcomes)
        for job, done in zip(jobs, earlier, strict=True)
    ]


def _run_each(jobs: list[Job], suite: str | None) -> list[Outcome]:
    context = _context()
    console = Console(stderr=True, highlight=False)
    outcomes: list[Outcome] = []
    with Progress(*COLUMNS, console=console, speed_estimate_period=120, refresh_per_second=4) as bar:
        task = bar.add_task("loading libraries", total=sum(job.seconds for job in jobs), runs=len(jobs), finished=0)
        for job in jobs:
            before = bar.tasks[task].completed

            def tell(done: int, total: int, base=before, job=job) -> None:
                bar.update(task, completed=base + job.seconds * done / total, description=str(job))

            outcome = _run_one(context, job, suite, tell)
            outcomes.append(outcome)
            bar.update(task, completed=before + job.seconds, finished=len(outcomes), description=str(job))
            if outcome.status != "finished":
                console.print(f"[red]{outcome.status}[/red] {escape(f'{job}: {outcome.reason}')}")
    counts = Counter(o.action if o.status == "finished" else o.status for o in outcomes)
    console.print("runs: " + ", ".join(f"{count} {name}" for name, count in sorted(counts.items())))
    return outcomes


def _run_one(context, job: Job, suite: str | None, tell: Callable[[int, int], None]) -> Outcome:
    for _ in range(1 + RETRIES):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_child, args=(sender, job.config, suite), daemon=True)
        process.start()
        sender.close()
        try:
            ended = _listen(receiver, tell)
        except KeyboardInterrupt:
            process.terminate()
            process.join(PATIENCE_S)
            process.kill()
            raise
        process.join()
        if ended is not None:
            return Outcome(job, *ended)
    return Outcome(job, "started", "failed", f"its process ended by itself, exit code {process.exitcode}")


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


def _listen(receiver: Connection, tell: Callable[[int, int], None]) -> tuple[str, str, str | None] | None:
    """Pass progress on until the run has ended: its action, status and reason; None if the process died first."""
    try:
        while True:
            kind, *values = receiver.recv()
            if kind == "ended":
                return tuple(values)
            tell(*values)
    except EOFError:
        return None
