"""Rows that claims share: an energy ratio or a difference of quality between two arms, beside its rival's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from analysis import arms, statistics
from analysis.claims.base import Row, make_row
from analysis.statistics import Region

MakeRow = Callable[[pd.DataFrame, str, str, str, Region], Row]


def beside_rival(runs: pd.DataFrame, task: str, method: str, make: MakeRow, region: Region) -> list[Row]:
    """One row per arm of a method against dense, each beside that of the equally small dense network."""
    dense, rows = arms.dense_label(runs, task), []
    for label, density in arms.of_method(runs, task, method).items() if dense else ():
        rival = arms.rival(runs, task, density)
        row = make(runs, task, label, dense, region)
        rows.append(row if rival is None else replace(row, rival=make(runs, task, rival, dense, region)))
    return rows


def ratio_row(runs: pd.DataFrame, task: str, label: str, baseline: str, region: Region) -> Row:
    """E_baseline / E_arm, with the ratios of wall seconds and of executed FLOPs as sensitivity."""
    pairs = arms.paired_energy(runs, task, label, baseline)
    row = make_row(label, baseline, "ratio", pairs, pairs.baseline / pairs.arm, region)
    if row.estimate.value is None:
        return row
    others = {}
    for name, column in {"wall seconds": "training_s", "executed FLOPs": "executed_flops"}.items():
        other = arms.paired_figures(runs, task, label, baseline, column)
        others[f"ratio of {name}"] = (statistics.geometric_mean(other.baseline / other.arm).value, "ratio")
    return replace(row, sensitivity=others)


def quality_row(runs: pd.DataFrame, task: str, label: str, baseline: str, region: Region, loss_unit="nats") -> Row:
    """How much better an arm is on the test set: points of accuracy, or less loss in nats or as a fraction."""
    accuracy = arms.metric(runs, task) == "accuracy"
    pairs = arms.paired_figures(runs, task, label, baseline, "test_accuracy" if accuracy else "test_loss")
    better = pairs.arm - pairs.baseline if accuracy else pairs.baseline - pairs.arm
    unit = "points" if accuracy else loss_unit
    values = better / pairs.baseline if unit == "relative" else better
    row = make_row(label, baseline, unit, pairs, values, region)
    if row.estimate.value is None:
        return row
    if accuracy:
        others = _accuracy_otherwise(pairs, baseline)
    else:
        others = _loss_otherwise(runs, task, label, baseline, pairs, unit)
    return replace(row, sensitivity={name: figure for name, figure in others.items() if np.isfinite(figure[0])})


def _accuracy_otherwise(pairs: arms.Pairs, baseline: str) -> dict[str, tuple[float, str]]:
    gain, base = float(np.mean(pairs.arm - pairs.baseline)), float(np.mean(pairs.baseline))
    others = {f"relative to the accuracy of {baseline}": (gain / base if base else np.nan, "relative")}
    if base < 1:
        others[f"share of the errors of {baseline} removed"] = (gain / (1 - base), "relative")
    return others


def _loss_otherwise(runs, task, label, baseline, pairs: arms.Pairs, unit: str) -> dict[str, tuple[float, str]]:
    better = pairs.baseline - pairs.arm
    others = {
        "nats per token": (float(np.mean(better)), "nats"),
        "relative to its loss": (float(np.mean(better / pairs.baseline)), "relative"),
    }
    others.pop("nats per token" if unit == "nats" else "relative to its loss")
    tokens = arms.paired_figures(runs, task, label, baseline, "test_accuracy")
    return others | {"next-token accuracy": (float(np.mean(tokens.arm - tokens.baseline)), "points")}
