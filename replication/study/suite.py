"""Reads the study of a file of conf/suite or conf/experiment and lays its jobs out in the order of measurement.

The file is a Hydra config of its own: `suite=NAME` and `experiment=NAME` give a single run its setting.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import yaml

from hundredfold.methods.options import Count, Fraction, Within, check_options
from hundredfold.replication.composition import compose, once
from hundredfold.replication.config import CONF
from hundredfold.replication.mistakes import sentence
from hundredfold.replication.registry import make, suggestion
from hundredfold.replication.study.job import Job, told_apart

FOLDERS = ("suite", "experiment")


@dataclass(frozen=True)
class Sweep:
    """Arms that run side by side."""

    arms: tuple[str, ...]  # overrides of each
    seeds: Count
    seconds: Annotated[float, Within(0, low_open=True)]  # of one run on the reference machine, for the first estimate
    fixed: Annotated[float, Within(0)] = 0.0  # of these seconds: loading and evaluating, which no budget shortens
    overrides: tuple[str, ...] | None = None  # of all arms; null: what the file sets for a single run
    task: str | None = None  # its name in the report; null: data set and model

    def __post_init__(self):
        check_options(self)
        if self.fixed > self.seconds:
            raise ValueError(f"fixed={self.fixed:g}: expected at most the {self.seconds:g} seconds of a run")
        if not self.arms:
            raise ValueError("arms=[]: expected at least one arm, such as method=dense")
        if self.task is not None and not re.fullmatch(r"[\w./ -]{1,80}", self.task):
            raise ValueError(f"task={self.task[:80]!r}: expected at most 80 letters, digits or ./_-")


@dataclass(frozen=True)
class Budget:
    """A way to scale a study down."""

    seeds: Count | None = None  # at most so many
    steps: Fraction = 1.0  # fraction of them, with the schedule fitted into them
    arms: tuple[str, ...] | None = None  # only those in which one of these patterns is found

    def __post_init__(self):
        check_options(self)
        for pattern in self.arms or ():
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"arms: {pattern!r} is no regular expression ({error})") from None


@dataclass(frozen=True)
class Study:
    """What a file says under `study`."""

    title: str
    sweeps: tuple[Sweep, ...]
    budgets: Any = None  # name -> Budget
    judge: tuple[str, ...] = ()  # methods that the claims are about; none: `dsc`, or without it all that select

    def __post_init__(self):
        if not self.sweeps:
            raise ValueError("sweeps=[]: expected at least one sweep")
        if not isinstance(self.budgets or {}, dict):
            raise ValueError(f"budgets={self.budgets!r}: expected names with what they scale down")
        budgets = {name: make(Budget, options, f"budgets.{name}") for name, options in (self.budgets or {}).items()}
        object.__setattr__(self, "budgets", budgets)


@dataclass(frozen=True)
class Suite:
    """A named list of jobs."""

    name: str
    title: str
    jobs: list[Job]
    scaled: str | None = None  # how a budget has scaled the study down, in one sentence
    config_dir: Path | None = None  # further folder of configurations that it comes from
    judge: tuple[str, ...] = ()  # methods that the claims are about


def load_suite(name: str, results: str, budget: str | None = None, config_dir: Path | None = None) -> Suite:
    """The jobs of a file of conf/suite or conf/experiment.

    Every seed is a block in which all arms run side by side, forwards for even seeds and backwards for odd ones, so
    that a slow drift of the machine cancels; an arm that starts from another's result comes last.

    Args:
        budget: one of the file's `budgets`: fewer seeds, a fraction of the steps, fewer arms.
        config_dir: a further folder of configurations, with folders like those of conf/.
    Raises:
        ValueError: there is no such suite or budget, its file is not of this form, or an arm is no run.
    """
    path = _path(name, config_dir)
    try:
        study = _read(path)
        chosen = None if budget is None else _budget(study, budget)
        sweeps = study.sweeps if chosen is None else filter(None, (_scaled(sweep, chosen) for sweep in study.sweeps))
        setting = f"{path.parent.name}={name}"
        jobs = told_apart([job for sweep in sweeps for job in _jobs(sweep, setting, chosen, results, config_dir)])
        _check_apart(jobs)
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path.parent.name}/{path.name}: {sentence(error)}") from None
    if chosen is None:
        return Suite(name, study.title, jobs, None, config_dir, study.judge)
    return Suite(f"{name}-{budget}", study.title, jobs, _sentence(budget, chosen, study), config_dir, study.judge)


def studies(root: Path = CONF) -> dict[str, Path]:
    """Name -> file of every study in a folder of configurations."""
    return {path.stem: path for folder in FOLDERS for path in (Path(root) / folder).glob("*.yaml")}


def _path(name: str, config_dir: Path | None) -> Path:
    ours, theirs = studies(), studies(config_dir) if config_dir else {}
    if name in ours and name in theirs:
        raise ValueError(f"suite={name}: is a file of conf/ too; give yours another name")
    paths = ours | theirs
    if name not in paths:
        known = ", ".join(sorted(paths))
        raise ValueError(
            f"suite={name}: unknown{suggestion(name, paths)}; choose one of {known}, or add conf/suite/{name}.yaml"
        )
    return paths[name]


def _read(path: Path) -> Study:
    content = yaml.safe_load(path.read_text())
    if not isinstance(content, dict) or not isinstance(content.get("study"), dict):
        raise ValueError("has no `study`; conf/suite/quick.yaml shows the form")
    return make(Study, content["study"], "study")


def _budget(study: Study, name: str) -> Budget:
    if name not in study.budgets:
        known = f"choose one of {', '.join(sorted(study.budgets))}" if study.budgets else "there is none; leave it out"
        raise ValueError(f"budget={name}: unknown; {known}")
    return study.budgets[name]


def _scaled(sweep: Sweep, budget: Budget) -> Sweep | None:
    """A sweep with fewer seeds, a fraction of the steps, and only the arms in which a pattern is found, if any is."""
    arms = [arm for arm in sweep.arms if any(re.search(pattern, arm) for pattern in budget.arms or ["."])]
    if not arms:
        return None
    seeds = min(budget.seeds or sweep.seeds, sweep.seeds)
    seconds = sweep.fixed + (sweep.seconds - sweep.fixed) * budget.steps
    return replace(sweep, arms=tuple(arms), seeds=seeds, seconds=seconds)


def _sentence(name: str, budget: Budget, study: Study) -> str:
    seeds = max(sweep.seeds for sweep in study.sweeps)
    parts = [f"{min(budget.seeds or seeds, seeds)} of {seeds} seeds"]
    parts.append(f"{100 * budget.steps:g} % of the steps, each schedule decayed to its end")
    if budget.arms is not None:
        parts.append("a choice of the arms")
    return f"Scaled down by budget={name}: {', '.join(parts)}. Figures of the whole study differ."


def _jobs(sweep: Sweep, setting: str, budget: Budget | None, results: str, config_dir: Path | None) -> list[Job]:
    """The jobs of a sweep; an arm is composed once for all of its seeds."""
    shared = once([setting] if sweep.overrides is None else sweep.overrides)
    if budget is not None and budget.steps != 1:
        shared |= once([f"budget={budget.steps:g}"])
    experiments = [compose((shared | once(arm.split())).values(), config_dir) for arm in sweep.arms]
    arms = [Job.of(experiment, sweep.task, sweep.seconds) for experiment in experiments]
    # not by an override: a folder `results` beside the configurations would make a group of it
    return [job.changed(seed=seed, results=results) for seed in range(sweep.seeds) for job in block(arms, seed)]


def block(arms: list[Job], seed: int) -> list[Job]:
    """The arms in the order in which one seed measures them; what repeats an arm stands at the other end."""
    first = sorted(arms, key=lambda job: job.replicate)
    ordered = first if seed % 2 == 0 else first[::-1]
    return sorted(ordered, key=lambda job: job.reference is not None)


def _check_apart(jobs: list[Job]) -> None:
    """Raise a ValueError for two jobs that a report could not tell from each other."""
    if not jobs:
        raise ValueError("no arm is left to run")
    seen: dict[tuple, Job] = {}
    for job in jobs:
        other = seen.setdefault((job.task, job.label, job.seed, job.replicate), job)
        if other is not job:
            raise ValueError(f"two arms are the same run ({job}); leave one out, or give their sweeps a `task` each")
