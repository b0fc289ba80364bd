"""Does a list of jobs one after the other or some at a time, each in a fresh process, and goes on after a failure.

A run that has ended is skipped, one that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from hundredfold.analysis.schema import FINISHED
from hundredfold.replication.study.engines import Engine, Fresh
from hundredfold.replication.study.job import Job, past

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


def run_all(jobs: list[Job], *, suite: str | None = None, engine: Engine | None = None) -> list[Outcome]:
    """Do every job that has not ended, and say how each ended.

    Args:
        engine: does the runs; default one after the other on this machine.
    Raises:
        ValueError: a record that cannot be read, or a device that this machine does not have; nothing has run then.
    """
    earlier = [past(job) for job in jobs]
    todo = [job for job, done in zip(jobs, earlier, strict=True) if not done.ended]
    outcomes = iter(_run_each(todo, suite, engine or Fresh()) if todo else [])
    return [
        Outcome(job, "skipped", done.status, None) if done.ended else next(outcomes)
        for job, done in zip(jobs, earlier, strict=True)
    ]


def _run_each(jobs: list[Job], suite: str | None, engine: Engine) -> list[Outcome]:
    engine.begin(jobs, suite)
    console = Console(stderr=True, highlight=False)
    outcomes: list[Outcome] = []
    done = dict.fromkeys(range(len(jobs)), 0.0)  # fraction of each job
    with (
        Progress(*COLUMNS, console=console, speed_estimate_period=120, refresh_per_second=4) as bar,
        ThreadPoolExecutor(min(engine.at_once, len(jobs))) as pool,
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
            outcome = Outcome(job, *engine.run(job, suite, lambda steps, total: show(index, steps / total), stop))
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
