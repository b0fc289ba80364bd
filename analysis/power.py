"""What a study will be able to see and to save, before it runs: from published runs of its tasks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from hundredfold.analysis import formatting, records, statistics
from hundredfold.analysis.facts.ceiling import fixed_cost_bound
from hundredfold.analysis.study import Study
from hundredfold.analysis.task import Task

LEVEL = 0.05  # one-sided, of each claim by itself


def published_tasks(names: Collection[str], root: Path) -> dict[str, Task]:
    """Tasks of these names with the published runs of the largest study that has joules of them.

    Args:
        root: folder of published studies.
    """
    runs = records.studies(root, tasks=names)
    runs = runs[runs.evidence != "none"]
    runs = runs[~runs.duplicated(["run_id", "machine", "replicate"])]
    return {task.name: task for task in Study(_one_study_per_task(runs)).tasks} if len(runs) else {}


def plan(seeds: Mapping[str, int], known: Mapping[str, Task]) -> list[str]:
    """A sentence per task: the smallest difference that its seeds show four times out of five, and what more would.

    Args:
        seeds: task -> number of seeds that are planned.
        known: published tasks.
    """
    return [_sentence(name, count, known.get(name)) for name, count in seeds.items()]


def ceilings(known: Mapping[str, Task]) -> dict[str, str]:
    """Task -> how much a run of as many steps could save if it computed nothing; tasks whose runs tell."""
    bounds = {name: fixed_cost_bound(task) for name, task in known.items()}
    return {
        name: f"no selection saves more than {formatting.quantity(bound, 'ratio')}, what a run without any FLOP would "
        "(dense networks of several sizes, published)"
        for name, bound in bounds.items()
        if bound is not None
    }


def _one_study_per_task(runs: pd.DataFrame) -> pd.DataFrame:
    """Of each task the published study with most runs; arms of one name may differ between studies."""
    largest = runs.groupby("task").suite.agg(lambda names: names.value_counts().index[0])
    return runs[runs.suite == runs.task.map(largest)].reset_index(drop=True)


def _sentence(name: str, seeds: int, task: Task | None) -> str:
    effect = statistics.effect_for(seeds, LEVEL)
    if effect is None:
        return f"{name}: one seed decides nothing"
    spread = None if task is None else spreads(task)
    if task is None or spread is None:
        return f"{name}: {seeds} seeds show {effect:.2g} standard deviations; no published runs tell how much that is"
    quality, energy = spread
    unit = "points" if task.metric == "accuracy" else "nats"
    seen = formatting.quantity(effect * quality, unit).lstrip("+")
    text = f"{name}: {seeds} seeds show {seen}"
    if energy is not None:
        text += f" and a ratio of {formatting.quantity(float(np.exp(effect * energy)), 'ratio')}"
    needed = statistics.seeds_for((0.005 if unit == "points" else 0.01) / quality, LEVEL) if quality else None
    goal = "half a point" if unit == "points" else "0.01 nats"
    return f"{text}; {goal} would take {formatting.seeds(needed)}"


def spreads(task: Task) -> tuple[float, float | None] | None:
    """Median standard deviation over seeds of arms' differences to dense, and of the logarithms of energy ratios."""
    if task.dense is None:
        return None
    qualities, energies = [], []
    for arm in task.arms:
        if arm is task.dense:
            continue
        pairs, joules = arm.pairs(task.dense, f"test_{task.metric}"), arm.energy_pairs(task.dense)
        if len(pairs.arm) > 2:
            qualities.append(float(np.std(pairs.arm - pairs.baseline, ddof=1)))
        if len(joules.arm) > 2:
            energies.append(float(np.std(np.log(joules.baseline / joules.arm), ddof=1)))
    if not qualities:
        return None
    return float(np.median(qualities)), float(np.median(energies)) if energies else None
