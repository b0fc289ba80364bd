"""Intervals, tests and decisions; every function takes plain numbers, one per seed.

A t interval on paired differences, or on paired log ratios, holds its level with 3 to 10 seeds where a bootstrap does
not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.optimize import brentq
from statsmodels.stats.contingency_tables import mcnemar
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


class Sample(NamedTuple):
    """A mean of figures and how far it may be off: mean +- se * t(df).

    Attributes:
        se: standard error; 0 where all figures are the same.
        n: number of seeds.
    """

    mean: float
    se: float
    df: float
    n: int

    def interval(self, confidence: float = SHOWN) -> Interval | None:
        """t interval; None with fewer than two seeds, without width where all figures are equal."""
        if self.n < 2:
            return None
        reach = self.se * float(stats.t.ppf((1 + confidence) / 2, self.df)) if self.se else 0.0
        return Interval(self.mean - reach, self.mean + reach)

    def p_above(self, bound: float) -> float | None:
        """One-sided p-value against "the mean is at most `bound`"; None with fewer than two seeds.

        Figures that are all the same have no spread to test with: what they prove is that every seed lies above, which
        happens by chance with a probability of 2^-n (a sign test).
        """
        if self.n < 2:
            return None
        if self.se == 0:
            return 0.5**self.n if self.mean > bound else 1.0
        return float(stats.t.sf((self.mean - bound) / self.se, self.df))

    def p_below(self, bound: float) -> float | None:
        """One-sided p-value against "the mean is at least `bound`"; None with fewer than two seeds."""
        return self._replace(mean=-self.mean).p_above(-bound)


def constant(values: Values) -> bool:
    """Whether the values differ by no more than rounding."""
    return bool(np.ptp(values) <= 1e-12 * max(1.0, float(np.max(np.abs(values)))))


def sample(values: Values) -> Sample | None:
    """Mean and standard error over seeds; None without a value."""
    if len(values) == 0:
        return None
    n, same = len(values), constant(values)
    se = 0.0 if n < 2 or same else float(np.std(values, ddof=1)) / math.sqrt(n)
    return Sample(float(np.mean(values)), se, n - 1, n)


def crossed(differences: np.ndarray) -> Sample:
    """Mean of differences over seeds and examples that are both a choice, [n seeds, m examples], n and m at least 2.

    Every seed is tested on the same examples, so that the mean has a part of its error from the seeds and a part from
    the examples: two random effects, crossed. Their mean squares estimate both (Searle, Casella and McCulloch, Variance
    Components, 1992, chapter 4), Satterthwaite's formula gives the degrees of freedom.
    """
    n, m = differences.shape
    rows, columns, mean = differences.mean(1), differences.mean(0), float(differences.mean())
    by_seed, by_example = m * float(rows.var(ddof=1)), n * float(columns.var(ddof=1))
    rest = differences - rows[:, None] - columns + mean
    by_both = float((rest**2).sum()) / ((n - 1) * (m - 1))
    parts = np.array([by_seed, by_example, -by_both]) / (n * m)
    if by_example < by_both:  # the examples add nothing
        parts = parts[:1]
    variance, freedom = float(parts.sum()), np.array([n - 1, m - 1, (n - 1) * (m - 1)])[: len(parts)]
    df = variance**2 / float((parts**2 / freedom).sum()) if variance else float(n - 1)
    return Sample(mean, math.sqrt(variance), df, n)


def mcnemar_p(only_one: int, only_other: int) -> float:
    """Exact two-sided p-value for examples that only one or only the other of two networks got right."""
    return float(mcnemar([[0, only_one], [only_other, 0]], exact=True).pvalue) if only_one + only_other else 1.0


def mean_interval(values: Values, confidence: float = SHOWN) -> Interval | None:
    """t interval of a mean; None with fewer than two values, without width where all are equal."""
    found = sample(values)
    return found and found.interval(confidence)


def mean(values: Values, confidence: float = SHOWN) -> Estimate:
    """Mean and its t interval."""
    return estimate(sample(values), confidence)


def estimate(found: Sample | None, confidence: float = SHOWN) -> Estimate:
    """A sample as tables show it."""
    return NOTHING if found is None else Estimate(found.mean, found.interval(confidence), found.n)


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


def seeds_to_decide(found: Sample, bound: float, level: float = 0.05, power: float = 0.8) -> int | None:
    """Seeds in all that would decide with this probability, if mean and spread stay as they are.

    Returns:
        at most MOST_SEEDS + 1, which means more; None where the spread is not known.
    """
    if found.n < 2 or found.se == 0:
        return None
    effect = abs(found.mean - bound) / (found.se * math.sqrt(found.n))
    return max(seeds_for(effect, level, power), found.n)


@cache
def seeds_for(effect: float, level: float = 0.05, power: float = 0.8) -> int:
    """Seeds that show an effect of so many standard deviations; at most MOST_SEEDS + 1, which means more."""
    test = TTestPower()
    if effect == 0 or test.power(effect, MOST_SEEDS, level, alternative="larger") < power:
        return MOST_SEEDS + 1
    low, high = 2, MOST_SEEDS
    while low < high:  # solve_power fails for large effects
        middle = (low + high) // 2
        enough = test.power(effect, middle, level, alternative="larger") >= power
        low, high = (low, middle) if enough else (middle + 1, high)
    return low


def effect_for(n: int, level: float = 0.05, power: float = 0.8) -> float | None:
    """The smallest effect, in standard deviations, that so many seeds show; None with fewer than two."""
    if n < 2:
        return None
    test = TTestPower()
    return float(brentq(lambda effect: test.power(effect, n, level, alternative="larger") - power, 1e-3, 1e3))


def correlation(first: Values, second: Values) -> float | None:
    """Pearson's correlation over seeds; None with fewer than three pairs or without spread."""
    if len(first) < 3 or constant(first) or constant(second):
        return None
    return float(np.corrcoef(first, second)[0, 1])
