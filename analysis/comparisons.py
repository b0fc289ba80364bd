"""Rows that claims share: an energy ratio or a difference of quality between two arms, beside its rival's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from hundredfold.analysis import statistics
from hundredfold.analysis.arm import Arm, Pairs
from hundredfold.analysis.claims.base import Row, make_row
from hundredfold.analysis.statistics import Region
from hundredfold.analysis.task import Task

MakeRow = Callable[[Arm, Arm, Region], Row]


def beside_rival(task: Task, method: str, make: MakeRow, region: Region) -> list[Row]:
    """One row per arm of a method against dense, each beside that of the equally small dense network."""
    if task.dense is None:
        return []
    rows = []
    for arm in task.of_method(method):
        row, rival = make(arm, task.dense, region), task.rival(arm.density)
        rows.append(row if rival is None else replace(row, rival=make(rival, task.dense, region)))
    return rows


def ratio_row(arm: Arm, baseline: Arm, region: Region) -> Row:
    """E_baseline / E_arm, with the ratios of wall seconds and of executed FLOPs as sensitivity."""
    pairs = arm.energy_pairs(baseline)
    row = make_row(arm.label, baseline.label, "ratio", pairs, pairs.baseline / pairs.arm, region)
    if row.estimate.value is None:
        return row
    others = {"wall seconds": "training_s", "executed FLOPs": "executed_flops"}
    sensitivity = {
        f"ratio of {name}": (arm.pairs(baseline, column).ratio.value, "ratio") for name, column in others.items()
    }
    return replace(row, sensitivity=sensitivity)


def quality_row(arm: Arm, baseline: Arm, region: Region, loss_unit: str = "nats") -> Row:
    """How much better an arm is on the test set: points of accuracy, or less loss in nats or as a fraction."""
    accuracy = arm.metric == "accuracy"
    pairs = arm.pairs(baseline, f"test_{arm.metric}")
    better = pairs.arm - pairs.baseline if accuracy else pairs.baseline - pairs.arm
    unit = "points" if accuracy else loss_unit
    values = better / pairs.baseline if unit == "relative" else better
    found = arm.error_of(values, baseline, pairs.seeds)
    row = make_row(arm.label, baseline.label, unit, pairs, values, region, found)
    if row.estimate.value is None:
        return row
    others = _accuracy_otherwise(pairs, arm, baseline) if accuracy else _loss_otherwise(pairs, arm, baseline, unit)
    return replace(row, sensitivity={name: figure for name, figure in others.items() if np.isfinite(figure[0])})


def _accuracy_otherwise(pairs: Pairs, arm: Arm, baseline: Arm) -> dict[str, tuple[float, str]]:
    gain, base = float(np.mean(pairs.arm - pairs.baseline)), float(np.mean(pairs.baseline))
    others = {f"relative to the accuracy of {baseline.label}": (gain / base if base else np.nan, "relative")}
    if base < 1:
        others[f"share of the errors of {baseline.label} removed"] = (gain / (1 - base), "relative")
    if len(pairs.seeds) == 1 and all(pairs.seeds[0] in one.right for one in (arm, baseline)):
        mine, theirs = arm.right[pairs.seeds[0]], baseline.right[pairs.seeds[0]]
        others["McNemar's p of these two networks"] = (
            statistics.mcnemar_p(int((mine & ~theirs).sum()), int((theirs & ~mine).sum())), "p")  # fmt: skip
    return others


def _loss_otherwise(pairs: Pairs, arm: Arm, baseline: Arm, unit: str) -> dict[str, tuple[float, str]]:
    better = pairs.baseline - pairs.arm
    others = {
        "nats per token": (float(np.mean(better)), "nats"),
        "relative to its loss": (float(np.mean(better / pairs.baseline)), "relative"),
    }
    others.pop("nats per token" if unit == "nats" else "relative to its loss")
    tokens = arm.pairs(baseline, "test_accuracy")
    return others | {"next-token accuracy": (float(np.mean(tokens.arm - tokens.baseline)), "points")}
