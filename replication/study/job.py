"""A run that is to be done, as a value: composed once, then handed from the suite to the queue to the child."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from hundredfold.analysis import apart
from hundredfold.analysis.schema import DENSE, FAILED, FINISHED
from hundredfold.methods.base import Method
from hundredfold.replication.config import Experiment, build, reference_config, run_folder, run_id
from hundredfold.replication.record import drawn_j, read_record


@dataclass(frozen=True)
class Job:
    """One run of a study.

    Attributes:
        config: fully resolved, plain values; everything else follows from it.
        arm: run_id of the same configuration with seed 0: equal for all seeds and repetitions of an arm.
        task: under which a report shows it; data set and model unless the suite gives it another name.
        reference: arm whose result, of the same seed, it starts from; None without one.
        seconds: that it is expected to take.
    """

    config: dict[str, Any]
    run_id: str
    arm: str
    label: str
    task: str
    reference: str | None
    seconds: float
    updates: int | None  # that the method's schedule has room for; None without one

    @classmethod
    def of(cls, experiment: Experiment, task: str | None = None, seconds: float = 1.0) -> Job:
        """The job that a checked experiment is."""
        config, reference = experiment.config, reference_config(experiment)
        return cls(
            config,
            run_id=run_id(config),
            arm=run_id(config | {"seed": 0}),
            label=experiment.label,
            task=task or experiment.task,
            reference=None if reference is None else run_id(reference | {"seed": 0}),
            seconds=seconds,
            updates=_num_updates(experiment.method, experiment.steps),
        )

    @property
    def seed(self) -> int:
        return self.config["seed"]

    @property
    def replicate(self) -> int:
        return self.config["replicate"]

    @property
    def folder(self) -> Path:
        return run_folder(self.config)

    def __str__(self) -> str:
        repeat = f", repeat {self.replicate}" if self.replicate else ""
        return f"{self.task} {self.label}, seed {self.seed}{repeat}"

    def changed(self, **changes: Any) -> Job:
        """The job with other values of its configuration; those of a group are given as a dictionary.

        Raises:
            ValueError: a value that no run could have.
        """
        values = {name: self.config[name] | v if isinstance(v, dict) else v for name, v in changes.items()}
        return self.of(build(self.config | values), self.task, self.seconds)


@cache
def _num_updates(method: Method, steps: int) -> int | None:
    return method.num_updates(steps)


class Past(NamedTuple):
    """What the record of a job says; None where there is none, or where it does not know."""

    status: str | None = None
    seconds: float | None = None
    joules: float | None = None
    validation: float | None = None  # quality on the validation split, larger is better: accuracy, or minus the loss

    @classmethod
    def published(cls, run: Any) -> Past:
        """What the row of a published table says."""
        return cls(run.status, None if run.phases_s is None else sum(run.phases_s.values()))

    @property
    def ended(self) -> bool:
        """Whether the run need not be done again."""
        return self.status not in (None, FAILED)


def past(job: Job) -> Past:
    """Read the record of a job.

    Raises:
        ValueError: there is one that cannot be read.
    """
    record = read_record(job.folder)
    if record is None:
        return Past()
    seconds = record["time"]
    return Past(
        record["status"],
        seconds and sum(seconds["phases_s"].values()),
        drawn_j(record),
        _validation(record["quality"]) if record["status"] == FINISHED else None,
    )


def _validation(quality: dict[str, Any]) -> float:
    value = quality["validation"][quality["metric"]]
    return value if quality["metric"] == "accuracy" else -value


def expected(jobs: list[Job], pasts: list[Past]) -> list[Job]:
    """Jobs with the seconds that finished ones of the same arm have taken on average, where there are any."""
    times: dict[tuple[str, str], list[float]] = {}
    for job, done in zip(jobs, pasts, strict=True):
        if done.seconds:
            times.setdefault((job.task, job.label), []).append(done.seconds)
    means = {arm: sum(values) / len(values) for arm, values in times.items()}
    return [replace(job, seconds=means.get((job.task, job.label), job.seconds)) for job in jobs]


def told_apart(jobs: list[Job]) -> list[Job]:
    """The jobs, with what differs in the labels of arms that have one label but several configurations."""
    groups: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for job in jobs:
        groups.setdefault((job.task, job.label), {})[job.arm] = job.config
    texts = {key: apart.differences(arms) for key, arms in groups.items()}
    return _declared([replace(job, label=f"{job.label} {texts[job.task, job.label][job.arm]}".strip()) for job in jobs])


def _declared(jobs: list[Job]) -> list[Job]:
    """The jobs, with what an arm is given otherwise than its task's first dense arm in its label."""
    dense: dict[str, Job] = {}
    for job in jobs:
        if job.config["method"]["name"] == DENSE:
            dense.setdefault(job.task, job)
    found = []
    for job in jobs:
        base = dense.get(job.task, job)
        other = apart.undeclared(apart.given(job.config), apart.given(base.config), (job.label, base.label))
        told = [f"{name}={apart.text(mine)}" for name, (mine, _) in other.items()]
        found.append(replace(job, label=" ".join([job.label, *told])))
    return found


def planned(jobs: list[Job]) -> list[dict]:
    """The runs of a study as the analysis takes them."""
    return [{name: getattr(job, name) for name in ("run_id", "replicate", "label", "task", "seed")} for job in jobs]
