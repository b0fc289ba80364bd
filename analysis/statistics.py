"""Intervals, tests and decisions; every function takes plain numbers, one per seed.

A t interval on paired differences, or on paired log ratios, holds its level with 3 to 10 seeds where a bootstrap does
not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

SHOWN, DECIDED = 0.95, 0.90  # confidence of intervals in tables, and of those that decide (5 % on each side)
SUPPORTED, REFUTED, INCONCLUSIVE, NOT_MEASURED = "supported", "refuted", "inconclusive", "not measured"
NOT_REACHABLE = "not reachable here"  # refuted, and by its design no arm could have done otherwise
MOST_SEEDS = 1000  # beyond this an answer is "more than"


Values = Sequence[float] | np.ndarray


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


class Region(NamedTuple):
    """Values of an estimand for which a claim holds: from `low` to `high`, `low` itself only if not `strict`."""

    low: float
    high: float = math.inf
    strict: bool = False


class Estimate(NamedTuple):
    """A mean over seeds.

    Attributes:
        value: None without a single figure.
        interval: of SHOWN confidence; None with fewer than two figures.
        n: number of figures.
    """

    value: float | None
    interval: Interval | None
    n: int

    def times(self, factor: float) -> Estimate:
        """The same in another unit."""
        value = None if self.value is None else factor * self.value
        return Estimate(value, self.interval and Interval(*(factor * bound for bound in self.interval)), self.n)


NOTHING = Estimate(None, None, 0)


def constant(values: Values) -> bool:
    """Whether the values differ by no more than rounding."""
    return bool(np.ptp(values) <= 1e-12 * max(1.0, float(np.max(np.abs(values)))))


def mean_interval(values: Values, confidence: float = SHOWN) -> Interval | None:
    """t interval of a mean; None with fewer than two values, without width where all are equal."""
    if len(values) < 2:
        return None
    if constant(values):
        return Interval(float(np.mean(values)), float(np.mean(values)))
    low, high = stats.ttest_1samp(values, 0.0).confidence_interval(confidence)
    return Interval(float(low), float(high))


def mean(values: Values, confidence: float = SHOWN) -> Estimate:
    """Mean and its t interval."""
    if len(values) == 0:
        return NOTHING
    return Estimate(float(np.mean(values)), mean_interval(values, confidence), len(values))


def geometric_mean(ratios: Values, confidence: float = SHOWN) -> Estimate:
    """Geometric mean of positive ratios, with the t interval of their logarithms.

    Raises:
        ValueError: a ratio that is not positive and finite.
    """
    if any(not (0 < ratio < math.inf) for ratio in ratios):
        raise ValueError(f"ratios {list(ratios)}: expected positive finite numbers; check the energies they come from")
    value, interval, n = mean(np.log(ratios) if len(ratios) else [], confidence)
    if value is None:
        return NOTHING
    return Estimate(math.exp(value), interval and Interval(*map(math.exp, interval)), n)


def p_above(values: Values, bound: float) -> float | None:
    """One-sided p-value against "the mean is at most `bound`"; None with fewer than two values."""
    return _p_value(values, bound, "greater")


def p_below(values: Values, bound: float) -> float | None:
    """One-sided p-value against "the mean is at least `bound`"; None with fewer than two values."""
    return _p_value(values, bound, "less")


def _p_value(values: Values, bound: float, alternative: str) -> float | None:
    if len(values) < 2:
        return None
    if constant(values):
        gap = float(np.mean(values)) - bound
        return 0.0 if (gap > 0 if alternative == "greater" else gap < 0) else 1.0
    return float(stats.ttest_1samp(values, bound, alternative=alternative).pvalue)


def decide(interval: Interval | None, region: Region) -> str:
    """What one confidence interval says about a claim: inside the region, outside of it, or neither."""
    if interval is None:
        return INCONCLUSIVE
    above = interval.low > region.low if region.strict else interval.low >= region.low
    if above and interval.high <= region.high:
        return SUPPORTED
    below = interval.high <= region.low if region.strict else interval.high < region.low
    return REFUTED if below or interval.low > region.high else INCONCLUSIVE


def holm(p_values: Values) -> list[float]:
    """p-values after Holm's correction, in the order given."""
    return [float(p) for p in multipletests(p_values, method="holm")[1]] if len(p_values) else []


def seeds_to_decide(values: Values, bound: float, level: float = 0.05, power: float = 0.8) -> int | None:
    """Seeds in all that would decide with this probability, if mean and spread stay as they are.

    Returns:
        at most MOST_SEEDS + 1, which means more; None where the spread is not known.
    """
    if len(values) < 2 or constant(values):
        return None
    effect = abs(float(np.mean(values)) - bound) / float(np.std(values, ddof=1))
    test = TTestPower()
    if effect == 0 or test.power(effect, MOST_SEEDS, level, alternative="larger") < power:
        return MOST_SEEDS + 1
    low, high = 2, MOST_SEEDS
    while low < high:  # solve_power fails for large effects
        middle = (low + high) // 2
        low, high = (low, middle) if test.power(effect, middle, level, alternative="larger") >= power else (
            middle + 1, high)  # fmt: skip
    return max(low, len(values))


def correlation(first: Values, second: Values) -> float | None:
    """Pearson's correlation over seeds; None with fewer than three pairs or without spread."""
    if len(first) < 3 or constant(first) or constant(second):
        return None
    return float(np.corrcoef(first, second)[0, 1])
