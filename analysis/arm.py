"""An arm: one configuration over its seeds, what it reached and what it cost, alone and beside another arm."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from hundredfold.analysis import apart, statistics
from hundredfold.analysis.contract import incomparable, unlike
from hundredfold.analysis.formatting import unknown
from hundredfold.analysis.schema import Metric
from hundredfold.analysis.statistics import NOTHING, Estimate, Sample

Run = Any  # a record, its columns as attributes
Why = Callable[[Run, Run], str | None]  # a rule of the contract: why two runs must not be compared


class Pairs(NamedTuple):
    """One figure per seed that two arms share.

    Attributes:
        arm, baseline: [n] figures of the two.
        misses: runs of the arm that diverged, which no figure stands for.
        runs: runs of the arm that have a record.
        refused: why runs were left out, each reason once.
        evidence: class of the figures, if they are joules.
        seeds: of the figures.
    """

    arm: np.ndarray
    baseline: np.ndarray
    misses: int
    runs: int
    refused: tuple[str, ...]
    evidence: str | None = None
    seeds: tuple[int, ...] = ()

    @property
    def ratio(self) -> Estimate:
        """Geometric mean of the baseline's figures over the arm's."""
        return statistics.geometric_mean(self.baseline / self.arm)


class Arm:
    """Runs of one configuration of a task, one per seed.

    Args:
        runs: its records, at least one, as `rows` gives them.
        metric: what the task is judged by: accuracy (a fraction) or loss (nats per token).
    Attributes:
        runs: seed -> the record.
        density: that was asked for; 1 where none was.
        simulated: whether any run computed what it says it skips.
        dense: the task's dense arm, this one perhaps; None if it has no record. The task sets it.
    """

    def __init__(self, runs: Iterable[Run], metric: Metric):
        self.runs = {run.seed: run for run in sorted(runs, key=lambda run: run.seed)}
        self.first, self.metric = next(iter(self.runs.values())), metric
        self.label: str = self.first.label
        self.method: str = self.first.method
        self.family: str = self.first.family
        self.twin_of: str | None = self.first.twin_of
        options = self.first.options
        density = options.get("density", (options.get("of") or {}).get("density"))  # a twin has its method's
        self.density = 1.0 if density is None else float(density)
        self.simulated = any(run.simulated for run in self.runs.values())
        self.dense: Arm | None = None
        self._figures: dict[str, dict[int, Any]] = {}
        self._reasons: dict[tuple[Why, Arm], dict[int, str | None]] = {}

    # ---- its own runs -----------------------------------------------------------------------------------------------
    @cached_property
    def finished(self) -> dict[int, Run]:
        """seed -> a run that came to its end."""
        return {seed: run for seed, run in self.runs.items() if run.status == "finished"}

    @cached_property
    def statuses(self) -> Counter[str]:
        """How many runs ended how."""
        return Counter(run.status for run in self.runs.values())

    def count(self, status: str) -> int:
        """Runs that ended so."""
        return self.statuses[status]

    def figures(self, column: str) -> dict[int, Any]:
        """seed -> what a finished run says in a column; what is not known is left out."""
        if column not in self._figures:
            values = {seed: getattr(run, column) for seed, run in self.finished.items()}
            self._figures[column] = {seed: value for seed, value in values.items() if not unknown(value)}
        return self._figures[column]

    def mean(self, column: str) -> Estimate:
        """Mean over finished runs."""
        return statistics.mean(list(self.figures(column).values()))

    @cached_property
    def evidence(self) -> str | None:
        """Class of its joules; None for a simulated arm and where classes are mixed."""
        classes = set(self.figures("evidence").values())
        return classes.pop() if len(classes) == 1 and not self.simulated else None

    @cached_property
    def quality(self) -> Estimate:
        """Test accuracy or loss."""
        return self.mean(f"test_{self.metric}")

    @cached_property
    def energy(self) -> Estimate:
        """Training joules; nothing where they are simulated or of several classes."""
        return NOTHING if self.evidence is None else self.mean("training_j")

    @cached_property
    def cpu(self) -> Estimate:
        """CPU seconds of training; nothing for a simulated arm."""
        return NOTHING if self.simulated else self.mean("training_cpu_s")

    # ---- beside the dense arm ---------------------------------------------------------------------------------------
    @property
    def baseline(self) -> Arm | None:
        """What it is measured against: the dense arm; None for that arm itself, and where it has no record."""
        return None if self.dense is self else self.dense

    @cached_property
    def difference(self) -> Estimate:
        """Test figure less that of dense; a loss keeps its sign, so that less is better."""
        if self.baseline is None:
            return NOTHING
        pairs = self.pairs(self.baseline, f"test_{self.metric}")
        return statistics.estimate(self.error_of(pairs.arm - pairs.baseline, self.baseline, pairs.seeds))

    @cached_property
    def energy_ratio(self) -> Estimate:
        """Joules of dense over those of the arm."""
        return NOTHING if self.baseline is None else self.energy_pairs(self.baseline).ratio

    def ratio(self, column: str) -> float | None:
        """Figures of dense over those of the arm."""
        return None if self.baseline is None else self.pairs(self.baseline, column).ratio.value

    @cached_property
    def ideal_ratio(self) -> float | None:
        """FLOPs of dense over those that the arm selected."""
        return self.ratio("ideal_flops")

    @cached_property
    def executed_ratio(self) -> float | None:
        """FLOPs of dense over those that the arm's kernels computed."""
        return self.ratio("executed_flops")

    @cached_property
    def parameter_share(self) -> float | None:
        """Parameters at the end over those of dense; a density that means the same for every arm."""
        if self.dense is None:
            return None
        pairs = self.pairs(self.dense, "active_parameters")
        return statistics.mean(pairs.arm / pairs.baseline).value

    # ---- beside any other arm ---------------------------------------------------------------------------------------
    def pairs(self, other: Arm, column: str) -> Pairs:
        """Figures of two arms at the seeds that both finished, on the same data."""
        mine, theirs = self.figures(column), other.figures(column)
        unlikes = self._unlike(other)
        seeds = tuple(seed for seed in mine if seed in theirs and unlikes[seed] is None)
        reasons = (unlikes[seed] for seed in mine if seed in theirs)
        refused = self._lost() + other._lost() + tuple(dict.fromkeys(reason for reason in reasons if reason))
        if other.count("diverged"):
            refused += (f"{other.label} diverged in {other.count('diverged')} of {len(other.runs)} runs",)
        values = np.array([(mine[seed], theirs[seed]) for seed in seeds], dtype=float).reshape(-1, 2)
        return Pairs(values[:, 0], values[:, 1], self.count("diverged"), len(self.runs), refused, None, seeds)

    def _unlike(self, other: Arm) -> dict[int, str | None]:
        """seed that both finished -> why nothing of the two runs must be compared."""
        return self._why(unlike, self.finished, other, other.finished)

    def _why(self, decide: Why, mine: dict[int, Run], other: Arm, theirs: dict[int, Run]) -> dict[int, str | None]:
        """seed that both have -> what a rule says of the two runs; asked once."""
        if (decide, other) not in self._reasons:
            shared = [seed for seed in mine if seed in theirs]
            self._reasons[decide, other] = {seed: decide(mine[seed], theirs[seed]) for seed in shared}
        return self._reasons[decide, other]

    @cached_property
    def right(self) -> dict[int, np.ndarray]:
        """seed -> which examples of the test set the run got right, bool [m]; runs that tell."""
        known = self.figures("correct").items()
        return {seed: _bits(text, int(self.finished[seed].test_examples)) for seed, text in known}

    def over_examples(self, other: Arm, seeds: Sequence[int]) -> Sample | None:
        """Difference of test accuracy with the error of seeds and of examples; None where the bits are not known."""
        if len(seeds) < 2 or any(seed not in arm.right for arm in (self, other) for seed in seeds):
            return None
        return statistics.crossed(np.stack([self.right[s].astype(float) - other.right[s] for s in seeds]))

    def error_of(self, differences: np.ndarray, other: Arm, seeds: Sequence[int]) -> Sample | None:
        """Mean of differences of test quality and its error: over seeds, and over examples where they are known."""
        over_both = self.over_examples(other, seeds) if self.metric == "accuracy" else None
        return over_both or statistics.sample(differences)

    def compared(self, values: np.ndarray, refused: Iterable[str] = (), misses: int = 0) -> Pairs:
        """Figures that compare the arm with something already, as pairs; its diverged runs are misses too."""
        lost = self.count("diverged") + misses
        return Pairs(values, values, lost, len(self.runs), tuple(refused), self.evidence)

    def energy_pairs(self, other: Arm, column: str = "training_j") -> Pairs:
        """Joules of two arms at the seeds where a ratio of them means something."""
        runs, reasons = comparable(self, other)
        refused = tuple(dict.fromkeys((*self._lost(), *other._lost(), *reasons)))
        classes = sorted({one.evidence for one, _ in runs})
        if len(classes) > 1:  # each pair agrees within itself, but their mean would mix classes
            runs, refused = [], (*refused, f"evidence differs between seeds ({', '.join(classes)})")
        values = joules(runs, column)
        evidence = classes[0] if len(classes) == 1 else None
        return Pairs(values[:, 0], values[:, 1], self.count("diverged"), len(self.runs), refused, evidence)

    def incomparable(self, other: Arm) -> dict[int, str | None]:
        """seed that both have -> why the energies of the two runs must not be divided."""
        return self._why(incomparable, self.runs, other, other.runs)

    def _lost(self) -> tuple[str, ...]:
        failed = self.count("failed")
        return (f"{self.label}: {failed} of {len(self.runs)} runs failed",) if failed else ()


def comparable(one: Arm, other: Arm) -> tuple[list[tuple[Any, Any]], list[str]]:
    """Runs of two arms whose energies may be divided, seed by seed, and why others may not."""
    found = one.incomparable(other)
    pairs = [(one.runs[seed], other.runs[seed]) for seed, reason in found.items() if reason is None]
    return pairs, [reason for reason in found.values() if reason is not None]


def joules(pairs: Iterable[tuple[Any, Any]], column: str = "training_j") -> np.ndarray:
    """Joules of pairs of runs, [n, 2]; pairs in which one is not known or nothing are left out."""
    known = [(getattr(one, column), getattr(other, column)) for one, other in pairs]
    return np.array([pair for pair in known if min(pair) > 0], dtype=float).reshape(-1, 2)


def _bits(text: str, count: int) -> np.ndarray:
    return np.unpackbits(np.frombuffer(base64.b64decode(text), dtype=np.uint8), count=count).astype(bool)


def rows(runs: pd.DataFrame) -> list[Run]:
    """Records of a table one by one, with what follows from them.

    gap is the loss on the test set less that of the last training steps; test_j the joules of predicting the test set;
    given the settings that arms must share unless they say so.
    """
    last = [points[-1].train_loss if points else None for points in runs.curve]
    test_j = [(phases or {}).get("test") for phases in runs.phases_j]
    gap = runs.test_loss - pd.Series(last, index=runs.index, dtype=float)
    given = [apart.given(config or {}) for config in runs.config]
    told = runs.assign(gap=gap, test_j=pd.Series(test_j, index=runs.index, dtype=float), given=given)
    return list(told.itertuples(index=False, name="Run"))
