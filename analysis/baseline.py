"""Whether the dense baseline of a task is what it should be: neither weaker nor better than published ones."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

import yaml

from hundredfold.analysis import formatting
from hundredfold.analysis.arm import Arm
from hundredfold.analysis.task import Task

REFERENCES = Path(__file__).with_name("references.yaml")


class Reference(NamedTuple):
    """What a dense network of a task reaches.

    Attributes:
        weakest, strongest: test accuracy (a fraction) or loss (nats) between which a baseline is certified.
        source: of the published figure behind them.
    """

    task: str
    metric: Literal["accuracy", "loss"]
    weakest: float
    strongest: float
    source: str


@cache
def references() -> dict[str, Reference]:
    """Task -> its reference."""
    found = [Reference(**entry) for entry in yaml.safe_load(REFERENCES.read_text(encoding="utf-8"))]
    return {reference.task: reference for reference in found}


def uncertified(task: Task) -> str | None:
    """Why the dense baseline of a task is not certified; None if it is."""
    if task.dense is None or task.dense.quality.value is None:
        return "no dense baseline finished"
    reference = _reference(task.dense)
    if reference is None or reference.metric != task.metric:
        return "the dense baseline is not certified"
    sign = 1 if task.metric == "accuracy" else -1
    reached = task.dense.quality.value
    weak, strong = (formatting.quantity(bound, task.metric) for bound in (reference.weakest, reference.strongest))
    if sign * reached < sign * reference.weakest:
        return f"the dense baseline is weak ({formatting.quantity(reached, task.metric)}; published: {weak})"
    if sign * reached > sign * reference.strongest:
        return f"the dense baseline is too good ({formatting.quantity(reached, task.metric)}; best known: {strong})"
    return None


def sentence(task: Task) -> str:
    """What is known of the dense baseline, for the page."""
    problem, reference = uncertified(task), None if task.dense is None else _reference(task.dense)
    if problem is not None or task.dense is None or reference is None:
        return f"{problem}"
    reached = formatting.estimate(task.dense.quality, task.metric)
    return f"the dense baseline is certified ({reached}; {reference.source})"


def _reference(dense: Arm) -> Reference | None:
    return references().get(f"{dense.first.dataset}/{dense.first.model}")
