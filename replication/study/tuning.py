"""The same number of trials for every arm, from one deterministic list of points: `make reproduce tune=true`.

The list is a Halton sequence over the model's space, conf/space/<model>.yaml. Trials run with seeds that no report
uses, are judged on the validation split, and are ordinary runs: a sweep of them is resumed like any other, and their
energy is in their records.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import yaml
from scipy.stats import qmc

from hundredfold.methods.options import Count
from hundredfold.replication.config import CONF
from hundredfold.replication.mistakes import sentence
from hundredfold.replication.registry import convert
from hundredfold.replication.study.job import Job
from hundredfold.replication.study.suite import Suite

FIRST_SEED = 1000  # of trials; reported runs have seeds below


@dataclass(frozen=True)
class Space:
    """Ranges of a model's recipe, and how many points of them every arm tries."""

    trials: int
    ranges: dict[str, tuple[float, float, bool]]  # recipe.<field> -> lowest, highest, logarithmic

    def points(self) -> list[dict[str, float]]:
        """Values of the recipe's fields of each trial; the same on every machine."""
        sampler = qmc.Halton(len(self.ranges), scramble=False)
        sampler.fast_forward(1)  # the first point of the sequence is a corner
        fields = [name.removeprefix("recipe.") for name in self.ranges]
        return [
            {
                name: float(f"{_value(at, *limits):.3g}")
                for name, at, limits in zip(fields, point, self.ranges.values(), strict=True)
            }
            for point in sampler.random(self.trials)
        ]


def _value(at: float, low: float, high: float, logarithmic: bool) -> float:
    return math.exp(math.log(low) + at * math.log(high / low)) if logarithmic else low + at * (high - low)


def load_space(model: str, optimizer: str, config_dir: Path | None = None) -> Space:
    """Read the space of a model's recipes with this optimizer from conf/space/<model>.yaml.

    Args:
        config_dir: a further folder of configurations, which comes first.
    Raises:
        ValueError: the model has none, or the file is not of this form.
    """
    paths = [Path(root) / "space" / f"{model}.yaml" for root in (config_dir, CONF) if root is not None]
    path = next((path for path in paths if path.exists()), None)
    if path is None:
        raise ValueError(f"tune=true: model={model} has no space; add conf/space/{model}.yaml, or leave tuning out")
    try:
        content = yaml.safe_load(path.read_text())
        spaces = {
            kind: {name: _range(*limits) for name, limits in space.items()} for kind, space in content["space"].items()
        }
        trials = convert(content["trials"], Count, "trials")
    except (KeyError, TypeError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: not a space ({sentence(error)}); conf/space/mlp.yaml shows the form") from None
    if optimizer not in spaces:
        raise ValueError(
            f"tune=true: {path} has a space of optimizer={', '.join(spaces)} but none of {optimizer}; add it, or leave "
            "tuning out"
        )
    return Space(trials, spaces[optimizer])


def _range(lowest: float | str, highest: float | str, *scale: str) -> tuple[float, float, bool]:
    """Lowest, highest, and whether the scale is logarithmic; YAML reads 1e-5 as a text."""
    low, high = float(lowest), float(highest)
    if not (0 if scale else -math.inf) < low < high or scale not in ((), ("log",)):
        raise ValueError(f"[{low}, {high}, {', '.join(scale)}]: expected [low, high], or [low, high, log] above 0")
    return low, high, bool(scale)


def trials(suite: Suite) -> dict[str, list[Job]]:
    """The trials of every `Job.arm` of a suite; one that starts from another's result uses that one's choice."""
    found: dict[str, list[Job]] = {}
    for job in suite.jobs:
        if job.arm not in found and job.reference is None:
            model, optimizer = job.config["model"]["name"], job.config["recipe"]["optimizer"]
            points = load_space(model, optimizer, suite.config_dir).points()
            found[job.arm] = [job.changed(seed=FIRST_SEED, replicate=0, recipe=point) for point in points]
    return found


def tuned(suite: Suite, quality: Mapping[str, float | None]) -> Suite:
    """A suite whose arms have the recipe of their best trial.

    Args:
        quality: run_id of a trial -> validation quality, larger is better; None where the trial failed.
    Raises:
        ValueError: no trial of an arm has finished.
    """
    best: dict[str, Job] = {}
    for arm, jobs in trials(suite).items():
        finished = [job for job in jobs if quality.get(job.run_id) is not None]
        if not finished:
            raise ValueError(f"no trial of {jobs[0]} has finished; see the records' reasons")
        best[arm] = max(finished, key=lambda job: quality[job.run_id])
    return replace(
        suite, jobs=[job.changed(recipe=best[job.reference or job.arm].config["recipe"]) for job in suite.jobs]
    )
