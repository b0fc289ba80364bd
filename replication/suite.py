"""Reads a suite file and lays its runs out in the order in which they are measured."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

SUITES = Path(__file__).resolve().parent.parent / "conf" / "suite"


@dataclass(frozen=True)
class Job:
    """One run of a suite: its overrides, and the seconds it is expected to take."""

    overrides: list[str]
    seconds: float


@dataclass(frozen=True)
class Suite:
    """A named list of jobs."""

    name: str
    title: str
    jobs: list[Job]


def load_suite(name: str, results: str) -> Suite:
    """Read conf/suite/<name>.yaml.

    Every seed is a block in which all arms run side by side, forwards for even seeds and backwards for odd ones, so
    that a slow drift of the machine cancels; an arm that starts from another's result comes last.

    Raises:
        ValueError: there is no such suite, or its file is not of this form.
    """
    path = SUITES / f"{name}.yaml"
    known = ", ".join(sorted(p.stem for p in SUITES.glob("*.yaml")))
    if not re.fullmatch(r"\w+", name) or not path.exists():
        raise ValueError(f"suite={name}: unknown; choose one of {known}, or add conf/suite/{name}.yaml")
    content = yaml.safe_load(path.read_text())
    jobs = []
    try:
        for sweep in content["sweeps"]:
            for seed in range(sweep["seeds"]):
                arms = sweep["arms"] if seed % 2 == 0 else sweep["arms"][::-1]
                for arm in sorted(arms, key=lambda arm: "_frozen" in arm):
                    overrides = [*sweep["overrides"], *arm.split(), f"seed={seed}", f"results={results}"]
                    jobs.append(Job(overrides, float(sweep["seconds"])))
        return Suite(name, content["title"], jobs)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a suite ({error!r}); conf/suite/quick.yaml shows the form") from None
