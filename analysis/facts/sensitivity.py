"""The same comparison decided otherwise: what of a result hangs on the way in which it was tested."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from hundredfold.analysis import formatting, statistics
from hundredfold.analysis.arm import Arm
from hundredfold.analysis.formatting import DASH, UNKNOWN
from hundredfold.analysis.task import Task

TITLES = ("Arm", "Figure", "As decided", "Over seeds alone", "Unpaired", "p by sign flips (p of t)",
          "Without its most extreme seed", "Over the weakest dense arm")  # fmt: skip


def sensitivity(task: Task, methods: list[str]) -> pd.DataFrame:
    """One row per arm of the judged methods and figure: energy ratio over dense, and how much better it is."""
    rows = []
    for arm in (arm for method in methods for arm in task.of_method(method)):
        if task.dense is not None and arm is not task.dense:
            rows += [_row(arm, task, ratio) for ratio in (True, False)]
    return pd.DataFrame([row for row in rows if row], columns=list(TITLES))


def _row(arm: Arm, task: Task, ratio: bool) -> list[str]:
    """One figure of an arm, in every way."""
    dense = task.dense
    if dense is None:
        return []
    unit = "ratio" if ratio else ("points" if task.metric == "accuracy" else "nats")
    x, mine, theirs = _figures(arm, dense, ratio)
    if len(x) < 2:
        return []
    weakest = min(task.of_method(dense.method), key=lambda one: _worth(one, task), default=dense)
    naive = DASH if weakest is dense else _text(statistics.mean(_figures(arm, weakest, ratio)[0]), unit)
    welch = stats.ttest_ind(mine, theirs, equal_var=False).confidence_interval(statistics.SHOWN)
    unpaired = statistics.Estimate(float(mine.mean() - theirs.mean()), statistics.Interval(*map(float, welch)), len(x))
    center = float(np.median(x))
    trimmed = np.delete(x, int(np.argmax(np.abs(x - center))))
    found = statistics.sample(x)
    p = found.p_above(0.0) if found else None
    decided = found if ratio else arm.error_of(x, dense, arm.pairs(dense, f"test_{arm.metric}").seeds)
    return [
        arm.label,
        "E dense / E" if ratio else "better by",
        _text(statistics.estimate(decided), unit),
        _text(statistics.mean(x), unit),
        _text(unpaired, unit) if not statistics.constant(x) else UNKNOWN,
        f"{sign_flips(x):.3f} ({formatting.number(p, 2)})",
        _text(statistics.mean(trimmed), unit) if len(trimmed) > 1 else UNKNOWN,
        naive,
    ]


def _figures(arm: Arm, dense: Arm, ratio: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Paired differences, larger is better, and the figures that they are of; of joules the logarithms."""
    if ratio:
        pairs = arm.energy_pairs(dense)
        mine, theirs = -np.log(pairs.arm), -np.log(pairs.baseline)
    else:
        pairs, sign = arm.pairs(dense, f"test_{arm.metric}"), 1 if arm.metric == "accuracy" else -1
        mine, theirs = sign * pairs.arm, sign * pairs.baseline
    return mine - theirs, mine, theirs


def _worth(arm: Arm, task: Task) -> float:
    """Test quality, larger is better."""
    value = arm.quality.value
    return np.inf if value is None else (value if task.metric == "accuracy" else -value)


def sign_flips(x: np.ndarray) -> float:
    """Exact one-sided p-value of a positive mean if both signs are equally likely; of the first 12 figures at most."""
    n = min(len(x), 12)
    signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    return float(np.mean((signs * x[:n]).mean(1) >= x[:n].mean() - 1e-12))


def _text(found: statistics.Estimate, unit: str) -> str:
    if unit != "ratio" or found.value is None:
        return formatting.estimate(found, unit)
    bounds = found.interval and statistics.Interval(*map(float, np.exp(found.interval)))
    return formatting.estimate(statistics.Estimate(float(np.exp(found.value)), bounds, found.n), unit)
