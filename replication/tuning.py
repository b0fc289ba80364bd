"""The same number of trials for every arm, from one deterministic list of points: `make reproduce tune=true`.

The list is a Halton sequence over the model's space, conf/space/<model>.yaml. Trials run with seeds that no report
uses, are judged on the validation split, and are ordinary runs: a sweep of them is resumed like any other, and their
energy is in their records.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import yaml
from scipy.stats import qmc

from replication import suite as suites
from replication.config import CONF
from replication.suite import Job, Suite

FIRST_SEED = 1000  # of trials; reported runs have seeds below


@dataclass(frozen=True)
class Space:
    """Ranges of a model's recipe, and how many points of them every arm tries."""

    trials: int
    ranges: dict[str, tuple[float, float, bool]]  # override -> lowest, highest, logarithmic

    def points(self) -> list[list[str]]:
        """Overrides of each trial; the same on every machine."""
        sampler = qmc.Halton(len(self.ranges), scramble=False)
        sampler.fast_forward(1)  # the first point of the sequence is a corner
        return [
            [f"{name}={_value(at, *limits):.3g}" for at, (name, limits) in zip(point, self.ranges.items(), strict=True)]
            for point in sampler.random(self.trials)
        ]


def _value(at: float, low: float, high: float, logarithmic: bool) -> float:
    return math.exp(math.log(low) + at * math.log(high / low)) if logarithmic else low + at * (high - low)


def load_space(model: str, optimizer: str) -> Space:
    """Read the space of a model's recipes with this optimizer from conf/space/<model>.yaml.

    Raises:
        ValueError: the model has none, or the file is not of this form.
    """
    path = suites.CONF / "space" / f"{model}.yaml"
    if not path.exists():
        raise ValueError(f"tune=true: model={model} has no space; add conf/space/{model}.yaml, or leave tuning out")
    content = yaml.safe_load(path.read_text())
    try:
        spaces = {
            kind: {name: (float(low), float(high), bool(log)) for name, (low, high, *log) in space.items()}
            for kind, space in content["space"].items()
        }
        count = int(content["trials"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: not a space ({error!r}); conf/space/mlp.yaml shows the form") from None
    if optimizer not in spaces:
        raise ValueError(
            f"tune=true: {path} has a space of optimizer={', '.join(spaces)} but none of {optimizer}; add it, or leave "
            "tuning out"
        )
    return Space(count, spaces[optimizer])


def arm_of(job: Job) -> tuple[str, ...]:
    """What is tuned together: the overrides of a job without its seed, repetition and tuned values."""
    return tuple(o for o in job.overrides if not o.startswith(("seed=", "replicate=")))


def trials(suite: Suite) -> dict[tuple[str, ...], list[Job]]:
    """The trials of every arm of a suite; one that starts from another's finished run uses that one's choice."""
    found: dict[tuple[str, ...], list[Job]] = {}
    for job in suite.jobs:
        arm = arm_of(job)
        if arm not in found and not any("_frozen" in override for override in arm):
            points = load_space(_model(arm), _optimizer(arm)).points()
            found[arm] = [Job([*arm, *point, f"seed={FIRST_SEED}"], job.seconds, job.task) for point in points]
    return found


def _chosen(arm: tuple[str, ...], key: str) -> str | None:
    return next((o.partition("=")[2] for o in reversed(arm) if o.startswith(f"{key}=")), None)


def _model(arm: tuple[str, ...]) -> str:
    return _chosen(arm, "model") or "mlp"


def _optimizer(arm: tuple[str, ...]) -> str:
    recipe = _chosen(arm, "recipe") or f"{_chosen(arm, 'dataset') or 'digits'}-{_model(arm)}"
    content = yaml.safe_load((CONF / "recipe" / f"{recipe}.yaml").read_text())
    return _chosen(arm, "recipe.optimizer") or content["optimizer"]


def tuned(suite: Suite, quality: dict[tuple[str, ...], float | None]) -> Suite:
    """A suite whose arms have the recipe of their best trial.

    Args:
        quality: overrides of a trial -> validation quality, larger is better; None where the trial failed.
    Raises:
        ValueError: no trial of an arm has finished.
    """
    best: dict[tuple[str, ...], list[str]] = {}
    for arm, jobs in trials(suite).items():
        known = [(quality.get(tuple(job.overrides)), job) for job in jobs]
        finished = [(value, job) for value, job in known if value is not None]
        if not finished:
            raise ValueError(f"no trial of {' '.join(arm)} has finished; see the records' reasons")
        chosen = max(finished, key=lambda pair: pair[0])[1]
        best[arm] = chosen.overrides[len(arm) : -1]
    jobs = [replace(job, overrides=[*job.overrides, *best[_tuned_arm(arm_of(job))]]) for job in suite.jobs]
    return Suite(suite.name, suite.title, jobs, suite.scaled)


def _tuned_arm(arm: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(override.replace("dsc_frozen", "dsc") for override in arm)


def validation_quality(record: dict[str, Any] | None) -> float | None:
    """Accuracy, or the negative loss, on the validation split; None for a run that has not finished."""
    if record is None or record["status"] != "finished":
        return None
    quality = record["quality"]
    value = quality["validation"][quality["metric"]]
    return value if quality["metric"] == "accuracy" else -value
