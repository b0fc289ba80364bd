"""What is not in the comparisons, and what in them is to be doubted."""

from __future__ import annotations

from hundredfold.analysis import formatting
from hundredfold.analysis.claims.base import Verdict
from hundredfold.analysis.inert import inert
from hundredfold.analysis.study import Study
from hundredfold.analysis.task import Task
from hundredfold.analysis.twins import broken

DISAGREE = 1.10  # ratios of CPU and of wall seconds further apart than this are flagged


def ended(study: Study) -> list[str]:
    """Runs that have not finished, and why."""
    runs = study.runs[study.runs.status != "finished"]
    return [
        f"{run.task}: {run.label}, seed {run.seed} {run.status} ({run.reason})"
        for run in runs.itertuples()
    ]


def exclusions(study: Study, verdicts: list[Verdict]) -> list[str]:
    """What is not in the comparisons, and why."""
    lines = list(study.excluded)
    for task in study.tasks:
        names = ", ".join(dict.fromkeys(task.runs.label[task.runs.simulated.astype(bool)]))
        if names:
            lines.append(f"{task.name}: {names} simulated; their quality counts, their energy does not")
        for arm in task.arms:
            if (reason := inert(arm, task)) is not None:
                lines.append(f"{task.name}: {arm.label} is inert: it {reason}")
            if (reason := broken(arm, task)) is not None:
                lines.append(f"{task.name}: {arm.label} is no control: it {reason}")
    for run in study.missing:
        repeat = " (the dense-against-dense control)" if run["replicate"] else ""
        lines.append(f"{run['task']}: {run['label']}, seed {run['seed']}{repeat} was planned and has no record")
    if study.planned is None:
        lines.append("No plan was given, so runs that are missing cannot be named")
    rows = [(v.task, part) for v in verdicts for row in v.rows for part in (row.parts or (row,))]
    lines += [f"{task}: {reason}" for task, row in rows for reason in row.refused]
    return list(dict.fromkeys(lines))


def flagged(task: Task) -> list[str]:
    """Physical arms whose ratio of CPU seconds and ratio of wall seconds to dense tell different stories."""
    lines = []
    for arm in task.physical if task.dense is not None else ():
        cpu, wall = (arm.pairs(task.dense, column).ratio.value for column in ("training_cpu_s", "training_s"))
        if cpu and wall and max(cpu / wall, wall / cpu) > DISAGREE:
            by_cpu, by_clock = formatting.quantity(cpu, "ratio"), formatting.quantity(wall, "ratio")
            lines.append(f"{task.name}: {arm.label} saves {by_cpu} by CPU seconds and {by_clock} by the clock")
    return lines
