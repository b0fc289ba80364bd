"""Joules that each arm takes to reach what dense reaches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from hundredfold.analysis import formatting
from hundredfold.analysis.arm import Arm
from hundredfold.analysis.formatting import EVIDENCE
from hundredfold.analysis.records import Point
from hundredfold.analysis.schema import Metric
from hundredfold.analysis.task import Task

TARGETS = (0.0, 0.01, 0.02)  # below the dense median: points of accuracy, or shares of the loss


def energy_to_target(task: Task) -> pd.DataFrame:
    """Median training joules at the first confirmed crossing of a target that dense sets; a miss is infinite.

    A crossing is confirmed by the next evaluation, the last one by itself. Quality is that of the validation split;
    physical arms only.
    """
    goals = targets(task, TARGETS)
    if not goals:
        return pd.DataFrame()
    rows = [[arm.label, *(_median_of_reached(arm, goal) for goal in goals)] for arm in task.physical]
    classes = " ".join(sorted({EVIDENCE[one] for one in task.runs.evidence.dropna()}))
    titles = [f"J to validation {task.metric} {formatting.quantity(goal, task.metric)} ({classes})" for goal in goals]
    return pd.DataFrame(rows, columns=["Arm", *titles])


def targets(task: Task, below: Sequence[float]) -> list[float]:
    """Qualities below the dense median on the validation split; none where no dense run finished."""
    last = task.dense.figures(f"validation_{task.metric}") if task.dense is not None else {}
    if not len(last):
        return []
    middle = float(np.median(list(last.values())))
    return [middle - each if task.metric == "accuracy" else middle * (1 + each) for each in below]


def _median_of_reached(arm: Arm, goal: float) -> str:
    """Joules of the median run, and how many of all runs reached the goal."""
    curves = [run.curve for run in arm.runs.values() if run.status != "failed" and run.curve]
    spent = [first_crossing(curve, arm.metric, goal) for curve in curves]
    known = [joules for joules in spent if joules is not None]
    median = float(np.median([np.inf if joules is None else joules for joules in spent])) if spent else np.inf
    text = formatting.number(median) if np.isfinite(median) else "not reached"
    return f"{text} ({len(known)} of {len(spent)})"


def first_crossing(curve: list[Point], metric: Metric, goal: float) -> float | None:
    """Joules at the first evaluation that reaches a goal together with the one after it; None for a miss."""
    sign = 1 if metric == "accuracy" else -1
    reached = [sign * point.validation(metric) >= sign * goal for point in curve]
    return next((point.training_j for i, point in enumerate(curve) if all(reached[i : i + 2])), None)
