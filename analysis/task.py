"""A task: a data set and a model, and the arms that were run on it."""

from __future__ import annotations

import math
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from hundredfold.analysis import statistics
from hundredfold.analysis.arm import Arm, Run, comparable, joules, rows
from hundredfold.analysis.schema import DENSE, FAMILIES, Metric
from hundredfold.analysis.statistics import Estimate, Interval

SMALL = "dense_small"  # the rival of equal size
SHORT = "dense_short"  # dense training with fewer steps


class Control(NamedTuple):
    """The dense-against-dense control (A/A): joules of dense over those of the same runs once more.

    Attributes:
        decisive: the 90 % interval of the ratio.
        refused: why pairs of runs were left out.
    """

    ratio: Estimate
    decisive: Interval | None
    refused: tuple[str, ...]

    @property
    def holds(self) -> bool | None:
        """Whether the interval holds 1; None where there is none."""
        return self.ratio.interval and self.ratio.interval.low <= 1 <= self.ratio.interval.high

    @property
    def noise(self) -> float | None:
        """The largest effect, as a logarithm, that its 90 % interval does not exclude; None where there is none."""
        return self.decisive and max(abs(math.log(bound)) for bound in self.decisive)


class Task:
    """Arms of one task, in the order of tables: by family, method and falling density, simulated ones behind.

    Args:
        runs: its records, repetitions of a configuration included.
    Attributes:
        metric: what it is judged by: accuracy (a fraction) or loss (nats per token).
        dense: the dense arm, of several the best on validation; None if it has no record.
    """

    def __init__(self, name: str, runs: pd.DataFrame):
        self.name, self.runs = name, runs
        self.metric: Metric = next(iter(runs.metric.dropna()), "accuracy")
        self._rows = rows(runs)
        self.arms = sorted(self._arms(replicate=0), key=_place)
        dense = self.of_method(DENSE)
        self.dense = self.best_on_validation(dense) or next(iter(dense), None)
        for arm in self.arms:
            arm.dense = self.dense

    def _arms(self, replicate: int) -> list[Arm]:
        groups: dict[str, list[Run]] = {}
        for run in self._rows:
            if run.replicate == replicate:
                groups.setdefault(run.label, []).append(run)
        return [Arm(groups[label], self.metric) for label in sorted(groups)]

    @property
    def physical(self) -> list[Arm]:
        """Arms that really compute less."""
        return [arm for arm in self.arms if not arm.simulated]

    @property
    def simulated(self) -> list[Arm]:
        """Arms that compute what they say they skip."""
        return [arm for arm in self.arms if arm.simulated]

    @cached_property
    def evidence(self) -> list[str]:
        """Classes of the joules of its arms."""
        return sorted({arm.evidence for arm in self.arms if arm.evidence is not None})

    def of_method(self, method: str) -> list[Arm]:
        """Arms of one method, largest density first."""
        return sorted((arm for arm in self.arms if arm.method == method), key=lambda arm: (-arm.density, arm.label))

    def rival(self, density: float) -> Arm | None:
        """The equally small dense network: the arm of dense_small with the nearest density."""
        small = self.of_method(SMALL)
        return min(small, key=lambda arm: abs(np.log(arm.density / density)), default=None)

    def best_on_validation(self, arms: list[Arm]) -> Arm | None:
        """The arm with the best mean on the validation split, a diverged arm last; None if no arm finished."""
        sign = -1 if self.metric == "accuracy" else 1
        ranked = {
            (arm.count("diverged"), sign * float(np.mean(list(figures.values()))), arm.label): arm
            for arm in arms
            if len(figures := arm.figures(f"validation_{self.metric}"))
        }
        return ranked[min(ranked)] if ranked else None

    def best_of_others(self, arms: list[Arm]) -> Arm | None:
        """The arm that is best on the validation split of the first half of the seeds, at the other seeds alone.

        Picked on the seeds at which it is compared, the best of several equal arms would look better than it is; and
        picked anew at every seed on all others, its figures would not be independent. One arm needs no picking and
        keeps all of its seeds. None if no arm finished.
        """
        known = [arm for arm in arms if len(arm.finished)]
        if len(known) < 2:
            return next(iter(known), None)
        seeds = sorted({seed for arm in known for seed in arm.finished})
        first = set(seeds[: max(1, len(seeds) // 2)])
        best = min(known, key=lambda arm: self._rank(arm, first))
        kept = [run for seed, run in best.runs.items() if seed not in first]
        if not kept:
            return None
        picked = Arm(kept, self.metric)
        picked.label, picked.dense = f"{best.label} (best of {len(known)})", self.dense
        return picked

    def _rank(self, arm: Arm, seeds: set[int]) -> tuple[bool, float, str]:
        """Place of an arm by its validation figures at some seeds; one that diverged there or has none comes last."""
        runs = [run for seed, run in arm.runs.items() if seed in seeds]
        figures = [value for seed, value in arm.figures(f"validation_{self.metric}").items() if seed in seeds]
        mean = float(np.mean(figures)) if figures else np.nan
        lost = not figures or any(run.status == "diverged" for run in runs)
        return lost, -mean if self.metric == "accuracy" else mean, arm.label

    @cached_property
    def control(self) -> Control:
        """Dense against dense, seed by seed."""
        label = None if self.dense is None else self.dense.label
        again = next((arm for arm in self._arms(replicate=1) if arm.label == label), None)
        if self.dense is None or again is None:
            return Control(statistics.NOTHING, None, ())
        runs, reasons = comparable(self.dense, again)
        first, second = joules(runs).T
        decisive = statistics.geometric_mean(first / second, statistics.DECIDED).interval
        return Control(statistics.geometric_mean(first / second), decisive, tuple(dict.fromkeys(reasons)))


def _place(arm: Arm) -> tuple[bool, int, str, float]:
    """Where tables show an arm: a control stands beside its method."""
    return arm.simulated, FAMILIES.index(arm.family), arm.method, -arm.density
