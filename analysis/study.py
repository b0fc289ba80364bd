"""A study: the tasks of a report, and what is not among its records."""

from __future__ import annotations

from typing import Any

import pandas as pd

from hundredfold.analysis.arm import Arm
from hundredfold.analysis.frontier import Frontier, frontiers
from hundredfold.analysis.task import Task


class Study:
    """Records of one report, by task.

    Args:
        runs: one row per record, as `records.load` gives them.
        missing: planned runs without a record, as the plan names them.
        excluded: sentences about records that were left out.
        planned: number of planned runs; None without a plan.
    """

    def __init__(
        self,
        runs: pd.DataFrame,
        missing: list[dict[str, Any]] | None = None,
        excluded: list[str] | None = None,
        planned: int | None = None,
    ):
        self.runs, self.missing, self.excluded, self.planned = runs, missing or [], excluded or [], planned
        self.tasks = [Task(str(name), group) for name, group in runs.groupby("task", sort=True)]
        self.frontiers: list[Frontier] = frontiers(runs)

    def task(self, name: str) -> Task:
        """The task of this name."""
        return next(task for task in self.tasks if task.name == name)

    @property
    def arms(self) -> list[Arm]:
        """Arms of all tasks."""
        return [arm for task in self.tasks for arm in task.arms]
