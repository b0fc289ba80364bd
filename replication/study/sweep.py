"""A Hydra sweep: its runs are composed and checked together, given to the queue, and shown as a table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hundredfold.analysis.report import PAGE, About, build
from hundredfold.analysis.schema import DIVERGED, FINISHED
from hundredfold.replication.composition import resolve
from hundredfold.replication.record import read_record
from hundredfold.replication.study.engines import Engine
from hundredfold.replication.study.job import Job, planned, told_apart
from hundredfold.replication.study.queue import Outcome, run_all

NAME = "sweep"  # of its report


def sweep(composers: list[Callable[[], DictConfig]], command: str, engine: Engine | None = None) -> bool:
    """Do the runs of a sweep, each different one once, and write their page; whether all have finished.

    Args:
        composers: each composes one run's configuration; the first one's `reports` has the page.
        command: that does this again.
        engine: does the runs; default one after the other on this machine.
    Raises:
        ValueError: one of them is no run; none has begun then.
    """
    jobs: dict[tuple[str, int], Job] = {}
    configs = []
    for compose in composers:
        try:
            configs.append(compose())
            job = Job.of(resolve(configs[-1]))
        except ValueError as error:
            lenient = "; strict=false leaves it out where it is unknown" if "has no such field" in str(error) else ""
            raise ValueError(f"{error}{lenient} (one of {len(composers)} runs; none was started)") from None
        jobs.setdefault((job.run_id, job.replicate), job)
    chosen = told_apart(list(jobs.values()))
    outcomes = run_all(chosen, engine=engine)
    console = Console()
    console.print(table(outcomes))
    results, reports = Path(outcomes[0].job.config["results"]), Path(configs[0].reports)
    lines = [f"Records: {results / 'runs'}"]
    if any(outcome.status in (FINISHED, DIVERGED) for outcome in outcomes):
        build(results, reports / NAME, NAME, planned(chosen), About(command))
        lines.append(f"Report: {reports / NAME / PAGE}")
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
    return all(outcome.status == FINISHED for outcome in outcomes)


def table(outcomes: list[Outcome]) -> Table:
    """One row for each run of a sweep, as far as its record knows."""
    shown = Table("arm", "task", "seed", "test quality", "training J", "status")
    for outcome in outcomes:
        job, record = outcome.job, read_record(outcome.job.folder) or {}
        status = outcome.status if outcome.reason is None else f"{outcome.status}: {outcome.reason}"
        arm = job.label if not job.replicate else f"{job.label}, repeat {job.replicate}"
        cells = (arm, job.task, str(job.seed), _quality(record), _joules(record), status)
        shown.add_row(*map(escape, cells))
    return shown


def _quality(record: dict) -> str:
    """The test split's accuracy, or its loss where that is the data set's measure."""
    quality = record.get("quality")
    if not quality or not quality["test"]:
        return "not measured"
    value, metric = quality["test"][quality["metric"]], quality["metric"]
    return f"{value:.4f}" if metric == "accuracy" else f"{value:.4f} nats"


def _joules(record: dict) -> str:
    joules = (record.get("energy") or {}).get("training_j")
    return "not measured" if joules is None else f"{joules:.4g}"
