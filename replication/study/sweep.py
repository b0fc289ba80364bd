"""A Hydra sweep: its runs are composed and checked together, given to the queue, and shown as a table."""

from __future__ import annotations

from collections.abc import Callable

from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from analysis.schema import FINISHED
from replication.composition import resolve
from replication.record import read_record
from replication.study.job import Job
from replication.study.queue import Outcome, run_all


def sweep(composers: list[Callable[[], DictConfig]]) -> bool:
    """Do the runs of a sweep, each different one once; whether all have finished.

    Args:
        composers: each composes one run's configuration.
    Raises:
        ValueError: one of them is no run; none has begun then.
    """
    jobs: dict[tuple[str, int], Job] = {}
    for compose in composers:
        try:
            job = Job.of(resolve(compose()))
        except ValueError as error:
            lenient = "; strict=false leaves it out where it is unknown" if "has no such field" in str(error) else ""
            raise ValueError(f"{error}{lenient} (one of {len(composers)} runs; none was started)") from None
        jobs.setdefault((job.run_id, job.replicate), job)
    outcomes = run_all(list(jobs.values()))
    console = Console()
    console.print(table(outcomes))
    console.print(f"Records: {outcomes[0].job.config['results']}/runs", highlight=False, markup=False, soft_wrap=True)
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
