"""Runs a list of configurations one after the other, each in a fresh process, and goes on after a failure.

Importing the libraries takes many seconds, so every process is forked from one server that has them loaded. A run
that has ended is skipped, one that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import multiprocessing
from collections import Counter
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

RETRIES = 2  # after a process that died without a word


class Outcome(NamedTuple):
    """How one run of a sweep ended; action: skipped, resumed or started; status as in its record."""

    overrides: list[str]
    action: str
    status: str
    reason: str | None


def run_all(jobs: list[list[str]], *, suite: str | None = None, weights: list[float] | None = None) -> list[Outcome]:
    """Run every list of overrides.

    Args:
        jobs: overrides of each run.
        weights: expected seconds of each run, for the remaining time; equal if not given.
    """
    context = _context()
    console = Console(stderr=True)
    weights = weights or [1.0] * len(jobs)
    outcomes: list[Outcome] = []
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[finished]}/{task.fields[runs]} runs"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=False),
    )
    with Progress(*columns, console=console, speed_estimate_period=120, refresh_per_second=4) as bar:
        task = bar.add_task("loading libraries", total=sum(weights), runs=len(jobs), finished=0)
        for job, weight in zip(jobs, weights, strict=True):
            before = bar.tasks[task].completed

            def tell(done: int, total: int, base=before, share=weight, job=job) -> None:
                bar.update(task, completed=base + share * done / total, description=describe(job))

            outcome = _run_one(context, job, suite, tell)
            outcomes.append(outcome)
            bar.update(task, completed=before + weight, finished=len(outcomes), description=describe(job))
            if outcome.status != "finished":
                console.print(f"[red]{outcome.status}[/red] {' '.join(job)}: {outcome.reason}", highlight=False)
    counts = Counter(o.action if o.status == "finished" else o.status for o in outcomes)
    console.print("runs: " + ", ".join(f"{count} {name}" for name, count in sorted(counts.items())), highlight=False)
    return outcomes


def describe(overrides: list[str]) -> str:
    """The values of a run's choices, without the words."""
    values = dict(o.split("=", 1) for o in overrides)
    shown = [values.get(key) for key in ("dataset", "model", "method", "method.density", "seed")]
    return " ".join(value for value in shown if value)


def _run_one(context, job: list[str], suite: str | None, tell) -> Outcome:
    for _ in range(1 + RETRIES):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_child, args=("work", sender, job, suite), daemon=True)
        process.start()
        sender.close()
        try:
            ended = _listen(receiver, tell)
        except KeyboardInterrupt:
            process.terminate()
            process.join()
            raise
        process.join()
        if ended is not None:
            return Outcome(job, *ended)
    return Outcome(job, "started", "failed", f"its process ended by itself, exit code {process.exitcode}")


def _child(function: str, *args) -> None:
    """Call a function of the worker, whose libraries the fork server has loaded and this parent never needs."""
    from replication import worker

    getattr(worker, function)(*args)


def identify(jobs: list[list[str]]) -> list[dict]:
    """What each list of overrides is: run_id, folder, label, task, seed, replicate, reference and whether it has ended.

    Raises:
        ValueError: a configuration that no run could have.
    """
    receiver, sender = _context().Pipe(duplex=False)
    process = _context().Process(target=_child, args=("identify", sender, jobs), daemon=True)
    process.start()
    sender.close()
    answer = receiver.recv()
    process.join()
    if isinstance(answer, str):
        raise ValueError(answer)
    return answer


def _context():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["replication.preload"])
    return context


def _listen(receiver, tell) -> tuple[str, str, str | None] | None:
    try:
        while True:
            kind, *values = receiver.recv()
            if kind == "ended":
                return tuple(values)
            tell(*values)
    except EOFError:
        return None
