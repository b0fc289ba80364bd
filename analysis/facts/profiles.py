"""How methods do over many tasks: on which share of them they save so much at no loss (Dolan and More, 2002)."""

from __future__ import annotations

import pandas as pd

from hundredfold.analysis import formatting
from hundredfold.analysis.claims.no_accuracy_lost import keeps
from hundredfold.analysis.study import Study
from hundredfold.analysis.task import Task

LEAST_TASKS = 8  # below which a share says nothing
FACTORS = (1.0, 1.5, 2.0, 3.0, 10.0, 100.0)


def profiles(study: Study) -> pd.DataFrame:
    """One row per method: the share of tasks on which one of its arms saves a factor and loses nothing."""
    if len(study.tasks) < LEAST_TASKS:
        return pd.DataFrame()
    methods = dict.fromkeys(arm.method for arm in study.arms if arm is not arm.dense and not arm.simulated)
    rows = []
    for method in methods:
        best = [_best(task, method) for task in study.tasks if task.of_method(method)]
        shares = [formatting.percent(sum(ratio >= factor for ratio in best) / len(study.tasks)) for factor in FACTORS]
        rows.append([method, f"{len(best)} of {len(study.tasks)}", *shares])
    return pd.DataFrame(rows, columns=["Method", "Tasks", *(f"{factor:g}x" for factor in FACTORS)])


def _best(task: Task, method: str) -> float:
    """The largest saving of an arm that loses no more than the claim about losses allows; 0 without one."""
    return max((arm.energy_ratio.value or 0.0 for arm in filter(keeps, task.of_method(method))), default=0.0)
