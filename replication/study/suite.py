"""Reads a suite file and lays its jobs out in the order in which they are measured."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from replication.composition import compose
from replication.study.job import Job

CONF = Path(__file__).resolve().parent.parent.parent / "conf"
FOLDERS = ("suite", "experiment")


@dataclass(frozen=True)
class Suite:
    """A named list of jobs."""

    name: str
    title: str
    jobs: list[Job]
    scaled: str | None = None  # how a budget has scaled the study down, in one sentence


def load_suite(name: str, results: str, budget: str | None = None) -> Suite:
    """Read conf/suite/<name>.yaml or conf/experiment/<name>.yaml.

    Every seed is a block in which all arms run side by side, forwards for even seeds and backwards for odd ones, so
    that a slow drift of the machine cancels; an arm that starts from another's result comes last.

    Args:
        budget: one of the file's `budgets`: fewer seeds, a fraction of the steps, fewer arms.
    Raises:
        ValueError: there is no such suite or budget, its file is not of this form, or an arm is no run.
    """
    paths = {path.stem: path for folder in FOLDERS for path in (CONF / folder).glob("*.yaml")}
    if name not in paths:
        known = ", ".join(sorted(paths))
        raise ValueError(f"suite={name}: unknown; choose one of {known}, or add conf/suite/{name}.yaml")
    content = yaml.safe_load(paths[name].read_text())
    try:
        title, sweeps = content["title"], content["sweeps"]
        if budget is not None:
            sweeps = [_scaled(sweep, _budget(name, content, budget)) for sweep in sweeps]
        jobs = [job for sweep in sweeps for job in _jobs(sweep, results)]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{paths[name]}: not a suite ({error!r}); conf/suite/quick.yaml shows the form") from None
    if budget is None:
        return Suite(name, title, jobs)
    return Suite(f"{name}-{budget}", title, jobs, _sentence(budget, _budget(name, content, budget), content["sweeps"]))


def _budget(name: str, content: dict[str, Any], budget: str) -> dict[str, Any]:
    budgets = content.get("budgets") or {}
    if budget not in budgets:
        known = f"choose one of {', '.join(sorted(budgets))}" if budgets else "this suite has none; leave it out"
        raise ValueError(f"budget={budget}: unknown to suite {name}; {known}")
    return budgets[budget]


def _scaled(sweep: dict[str, Any], budget: dict[str, Any]) -> dict[str, Any]:
    """A sweep with fewer seeds, a fraction of the steps, and only the arms in which a pattern is found."""
    steps, patterns = float(budget.get("steps", 1.0)), budget.get("arms", ["."])
    arms = [arm for arm in sweep["arms"] if any(re.search(pattern, arm) for pattern in patterns)]
    overrides = [*sweep["overrides"], f"budget={steps:g}"] if steps != 1 else sweep["overrides"]
    seeds = min(int(budget.get("seeds", sweep["seeds"])), sweep["seeds"])
    return sweep | {"overrides": overrides, "arms": arms, "seeds": seeds, "seconds": sweep["seconds"] * steps}


def _sentence(name: str, budget: dict[str, Any], sweeps: list[dict[str, Any]]) -> str:
    seeds = max(sweep["seeds"] for sweep in sweeps)
    parts = [f"{min(int(budget.get('seeds', seeds)), seeds)} of {seeds} seeds"]
    parts.append(f"{100 * float(budget.get('steps', 1.0)):g} % of the steps, each schedule decayed to its end")
    if "arms" in budget:
        parts.append("a choice of the arms")
    return f"Scaled down by budget={name}: {', '.join(parts)}. Figures of the whole study differ."


def _jobs(sweep: dict[str, Any], results: str) -> list[Job]:
    """The jobs of a sweep; an arm is composed once for all of its seeds."""
    task, seconds = sweep.get("task"), float(sweep["seconds"])
    arms = [
        Job.of(compose([*sweep["overrides"], *arm.split(), f"results={results}"]), task, seconds)
        for arm in sweep["arms"]
    ]
    return [job.changed(seed=seed) for seed in range(sweep["seeds"]) for job in block(arms, seed)]


def block(arms: list[Job], seed: int) -> list[Job]:
    """The arms in the order in which one seed measures them."""
    ordered = arms if seed % 2 == 0 else arms[::-1]
    return sorted(ordered, key=lambda job: job.reference is not None)
