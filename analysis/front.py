"""Arms beside the front of small dense networks at equal training energy, for the documentation.

python -m hundredfold.analysis.front results/flagship/records.parquet docs/selection.md
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd

from hundredfold.analysis import formatting, markers, records, statistics
from hundredfold.analysis.arm import Arm
from hundredfold.analysis.contract import unmeasured
from hundredfold.analysis.inert import inert
from hundredfold.analysis.schema import DENSE
from hundredfold.analysis.statistics import Estimate
from hundredfold.analysis.study import Study
from hundredfold.analysis.task import SMALL, Task

UNITS = {"accuracy": "points", "loss": "nats"}


def above(arm: Arm, task: Task) -> Estimate:
    """Quality of an arm less that of the front at its joules, over its seeds."""
    return statistics.mean(pd.Series(distances(arm, task), dtype=float))


def distances(arm: Arm, task: Task) -> np.ndarray:
    """Quality of an arm less that of the front at its joules, one a seed; better is above 0.

    The front of a seed joins its dense networks of every size by straight lines over the logarithm of energy. Nothing
    where an arm is simulated, or costs less than the smallest or more than the largest of them.
    """
    sign = 1 if task.metric == "accuracy" else -1
    differences: list[float] = []
    for seed, run in arm.runs.items():
        points = sorted(_points(task, arm, seed))
        if run.status != "finished" or len(points) < 2 or not points[0][0] <= run.training_j <= points[-1][0]:
            continue
        joules, quality = np.array(points).T
        front = np.interp(np.log(run.training_j), np.log(joules), quality)
        differences.append(sign * (getattr(run, f"test_{task.metric}") - front))
    return np.array(differences, dtype=float)


def savings(arm: Arm, task: Task) -> tuple[np.ndarray, tuple[str, ...]]:
    """Joules at which the dense front reaches an arm's quality over the arm's own, one a seed, and what was refused.

    Where the smallest network is already as good and as cheap, its joules stand for the front's. A seed is left out
    where no dense network reaches the arm's quality, or all are better and cost more: what they would cost is unknown.
    """
    sign = 1 if task.metric == "accuracy" else -1
    ratios: list[float] = []
    refused: dict[str, None] = {}
    for seed, run in arm.runs.items():
        if (reason := unmeasured(run)) is not None:
            refused[reason] = None
            continue
        points = sorted(_points(task, arm, seed))
        if len(points) < 2:
            refused[f"{arm.label}: no two dense networks to compare with"] = None
            continue
        joules, quality = np.array(points).T
        best, wanted = np.maximum.accumulate(sign * quality), sign * getattr(run, f"test_{task.metric}")
        if best[-1] < wanted:
            refused[f"{arm.label}: no dense network reaches its quality"] = None
        elif best[0] >= wanted and joules[0] > run.training_j:
            refused[f"{arm.label}: every dense network is better and costs more"] = None
        elif best[0] >= wanted:
            ratios.append(joules[0] / run.training_j)
        else:
            after = int(np.argmax(best >= wanted))
            edges = slice(after - 1, after + 1)
            ratios.append(float(np.exp(np.interp(wanted, best[edges], np.log(joules[edges])))) / run.training_j)
    return np.array(ratios, dtype=float), tuple(refused)


def _points(task: Task, arm: Arm, seed: int) -> list[tuple[float, float]]:
    """Joules and quality of the dense networks of one seed that may stand beside an arm's run."""
    networks = (*task.of_method(DENSE), *task.of_method(SMALL))
    runs = [one.runs[seed] for one in networks if arm.incomparable(one).get(seed, "not run") is None]
    return [(float(run.training_j), float(getattr(run, f"test_{task.metric}"))) for run in runs]


def tables(study: Study) -> str:
    """One table a task: quality, joules, FLOPs and the distance to the front, best first."""
    return "\n\n".join(f"### {task.name}\n\n{_table(task)}" for task in study.tasks)


def _table(task: Task) -> str:
    unit, scale = UNITS[task.metric], 100 if task.metric == "accuracy" else 1
    rows = []
    for arm in task.arms:
        found = above(arm, task)
        distance = "" if arm.method in (DENSE, SMALL) else "no dense network costs this"
        if found.value is not None and arm.method not in (DENSE, SMALL):
            low, high = found.interval or (found.value, found.value)
            distance = f"{scale * found.value:+.2f} [{scale * low:+.2f}, {scale * high:+.2f}]"
        rows.append(
            {
                "arm": f"`{arm.label}`" + (" (inert)" if inert(arm, task) else ""),
                f"test {task.metric}": formatting.estimate(arm.quality, task.metric),
                "joules": "–" if arm.energy.value is None else f"{arm.energy.value:.3g}",
                "FLOPs dense / arm": "1" if arm.executed_ratio is None else f"{arm.executed_ratio:.3g}",
                f"above the front ({unit})": "simulated" if arm.evidence is None else distance,
            }
        )
    order = sorted(range(len(rows)), key=lambda i: -(above(task.arms[i], task).value or -np.inf))
    dense = [i for i in order if task.arms[i].method in (DENSE, SMALL)]
    shown = dense + [i for i in order if i not in dense]
    return pd.DataFrame([rows[i] for i in shown]).to_markdown(index=False, disable_numparse=True)


def main(arguments: list[str]) -> int:
    """Exit code."""
    defaults = ("results/flagship/records.parquet", "docs/selection.md")
    return markers.fill(arguments, "front", defaults, lambda source: tables(Study(records.read(source))))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
