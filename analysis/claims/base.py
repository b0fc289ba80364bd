"""What a claim is: a statement about one quantity, and the values of it for which the statement holds."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hundredfold.analysis import statistics
from hundredfold.analysis.arm import Pairs
from hundredfold.analysis.baseline import uncertified
from hundredfold.analysis.schema import DENSE
from hundredfold.analysis.statistics import (
    INCONCLUSIVE,
    NOT_MEASURED,
    NOT_REACHABLE,
    NOTHING,
    REFUTED,
    SUPPORTED,
    Estimate,
    Interval,
    Region,
    Sample,
)
from hundredfold.analysis.task import Task

if TYPE_CHECKING:
    from hundredfold.analysis.study import Study

ATTRITION = 0.2  # share of an arm's runs that may be left out of a verdict
PROXY = {"estimated": "energy is a CPU-time proxy", "modeled": "energy is modeled"}  # evidence that caps a verdict
DECIDED = (SUPPORTED, REFUTED)
NOT_SAID = ("order", "method", "title")  # fields that change nothing about what is tested
WRITTEN = Path(__file__).with_name("written.json")  # identity -> name and time, in the order of writing
FLAGSHIP = "dsc"  # the method that the verdict is about, fixed before any run


@dataclass(frozen=True)
class Row:
    """What one arm says about a claim.

    Attributes:
        unit: of the figures: ratio, points (accuracy as a fraction), nats or relative (a fraction).
        estimate: mean with the interval that tables show.
        decisive: the interval that decides.
        verdict: what the decisive interval says by itself, before any correction.
        p_supported, p_refuted: one-sided; None where nothing was measured.
        sample: mean and standard error that decide, of a ratio by its logarithm.
        bound: the nearest edge of the claim's region, on the scale of `sample`.
        seed_correlation: between the two arms' figures.
        rival: the same quantity for the equally small dense network.
        sensitivity: the same comparison expressed otherwise: words -> (value, unit).
        parts: rows of which this one is the conjunction; it then has no figure of its own.
    """

    arm: str
    against: str
    unit: str
    estimate: Estimate = NOTHING
    decisive: Interval | None = None
    verdict: str = NOT_MEASURED
    p_supported: float | None = None
    p_refuted: float | None = None
    sample: Sample | None = None
    bound: float = 0.0
    seed_correlation: float | None = None
    misses: int = 0
    runs: int = 0
    refused: tuple[str, ...] = ()
    evidence: str | None = None
    rival: Row | None = None
    sensitivity: dict[str, tuple[float, str]] = field(default_factory=dict)
    parts: tuple[Row, ...] = ()

    @property
    def no_spread(self) -> bool:
        """Whether several seeds gave the same figure."""
        return self.sample is not None and self.sample.n > 1 and self.sample.se == 0

    def seeds_needed(self, tests: int, level: float) -> int | None:
        """Seeds in all to decide after a correction for so many tests; None where the spread is not known."""
        return self.sample and statistics.seeds_to_decide(self.sample, self.bound, level / max(1, tests))

    def simultaneous(self, tests: int) -> Interval | None:
        """The interval that holds together with those of so many tests, as often as a shown one holds alone."""
        found = self.sample and self.sample.interval(1 - (1 - statistics.SHOWN) / max(1, tests))
        return found and (Interval(*map(math.exp, found)) if self.unit == "ratio" else found)


@dataclass(frozen=True)
class Verdict:
    """What the records of one task say about a claim.

    Attributes:
        word: supported, refuted, not reachable here (refuted, as no arm could meet it), inconclusive or not measured.
        rows: one per arm of the method that was fixed beforehand.
        p_supported: that some arm meets the claim, corrected for their number; p_refuted: that all of them fail it.
        caps: why a decided verdict is indicative only.
        tests: that the verdict is corrected for.
    """

    claim: Claim
    task: str
    statement: str
    word: str
    rows: tuple[Row, ...]
    p_supported: float | None
    p_refuted: float | None
    caps: tuple[str, ...] = ()
    reachable: bool = True
    tests: int = 1

    @property
    def best(self) -> Row | None:
        """The arm that carries the verdict or comes closest to the claim; None if nothing was measured."""
        measured = [row for row in self.rows if row.verdict != NOT_MEASURED]
        order = (SUPPORTED, INCONCLUSIVE, REFUTED)

        def distance(row: Row) -> tuple[bool, int, float]:
            carries = row.p_supported is not None and len(measured) * row.p_supported < self.claim.level
            near = row.p_refuted if row.estimate.value is None else row.estimate.value
            return not carries, order.index(row.verdict), -near

        return min(measured, key=distance, default=None)

    @property
    def text(self) -> str:
        """The verdict with what caps it."""
        capped = self.caps and self.word in (SUPPORTED, REFUTED, NOT_REACHABLE)
        return f"{self.word} (indicative: {'; '.join(self.caps)})" if capped else self.word

    def corrected(self, p_supported: float | None, p_refuted: float | None, tests: int) -> Verdict:
        """The same after a correction for the other claims and tasks, so many tests in all."""
        word = word_of(p_supported, p_refuted, self.claim.level, self.rows, self.reachable)
        return replace(self, word=word, p_supported=p_supported, p_refuted=p_refuted, tests=tests)


@dataclass(frozen=True)
class Claim:
    """A statement that intervals can support or refute, written before the runs.

    Attributes:
        order: place on the page.
        region: values of the estimand for which the claim holds.
        loss_statement, loss_estimand, loss_region: the same on tasks judged by their loss, where it differs.
        minimum_seeds: with fewer, a verdict is indicative at most.
        level: one-sided error rate.
        uses_energy: whether joules enter, so that their evidence and the dense-against-dense control matter.
        method: whose arms are tested.
        by_method: the method enters; else the claim is about families or models.
        family: claims that are corrected together, for their number and that of the tasks.
    """

    name: str
    title: str
    order: int
    statement: str
    estimand: str
    region: Region
    uses_energy: bool
    loss_statement: str | None = None
    loss_estimand: str | None = None
    loss_region: Region | None = None
    minimum_seeds: int = 5
    level: float = 0.05
    method: str = FLAGSHIP
    by_method: bool = True
    family: Literal["headline", "further"] = "headline"

    @property
    def identity(self) -> str:
        """12 hex digits of everything that the claim says, whatever the method: a changed claim is another one."""
        said = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in NOT_SAID}
        if "parts" in said:
            said["parts"] = [part.identity for part in said["parts"]]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def written(self) -> str | None:
        """When it was written down as it is, ISO 8601; None if that is not known."""
        return _written().get(self.identity, {}).get("written")

    def subjects(self, study: Study) -> list[Any]:
        """What the claim is judged on, one verdict each: the study's tasks, unless it says otherwise."""
        return study.tasks

    def rows(self, task: Any) -> list[Row]:
        """What each tested arm says."""
        raise NotImplementedError

    def caps(self, task: Any, rows: tuple[Row, ...]) -> tuple[str, ...]:
        """Why a decided verdict is indicative only."""
        return _caps(self, task, rows)

    def reachable(self, task: Any) -> bool:
        """Whether some arm could have met the claim, by what it executes."""
        return True

    def region_for(self, task: Task) -> Region:
        """The region in the unit of a task."""
        return (task.metric == "loss" and self.loss_region) or self.region

    def evaluate(self, task: Any) -> Verdict:
        """The verdict of one task by itself, corrected for the number of arms only."""
        rows = tuple(self.rows(task))
        supported = [row.p_supported for row in rows if row.p_supported is not None]
        refuted = [row.p_refuted for row in rows if row.p_refuted is not None]
        p_supported = min(1.0, len(supported) * min(supported)) if supported else None
        p_refuted = max(refuted) if refuted else None
        statement = (self.loss_statement and task.metric == "loss" and self.loss_statement) or self.statement
        reachable = self.reachable(task)
        word = word_of(p_supported, p_refuted, self.level, rows, reachable)
        caps = self.caps(task, rows)
        return Verdict(self, task.name, statement, word, rows, p_supported, p_refuted, caps, reachable)


@cache
def _written() -> dict[str, dict[str, str]]:
    return json.loads(WRITTEN.read_text(encoding="utf-8")) if WRITTEN.exists() else {}


def word_of(
    p_supported: float | None, p_refuted: float | None, level: float, rows: tuple[Row, ...], reachable: bool
) -> str:
    """The verdict that p-values give."""
    if all(row.verdict == NOT_MEASURED for row in rows):
        return NOT_MEASURED
    if p_supported is not None and p_supported < level:
        return SUPPORTED
    if p_refuted is not None and p_refuted < level:
        return REFUTED if reachable else NOT_REACHABLE
    return INCONCLUSIVE


def make_row(
    arm: str,
    against: str,
    unit: str,
    pairs: Pairs,
    values: np.ndarray,
    region: Region,
    found: Sample | None = None,
) -> Row:
    """Decide one row; ratios are judged by their logarithms.

    Args:
        values: one figure per pair, larger is better for the claim.
        found: their mean and its error where that is not the one over seeds alone.
    """
    row = Row(arm, against, unit, misses=pairs.misses, runs=pairs.runs, refused=pairs.refused, evidence=pairs.evidence)
    if len(values) == 0:  # all diverged: the claim fails; otherwise nobody knows
        all_missed = 0 < pairs.misses == pairs.runs
        return replace(row, verdict=REFUTED, p_supported=1.0, p_refuted=0.0) if all_missed else row
    ratio = unit == "ratio"
    x = np.log(values) if ratio else np.asarray(values)
    low, high = (np.log(region.low), np.log(region.high)) if ratio else (region.low, region.high)
    sample = found or statistics.sample(x)
    decisive = sample.interval(statistics.DECIDED)
    verdict = statistics.decide(decisive, Region(low, high, region.strict))
    p_supported, p_refuted = _p_values(sample, low, high)
    if pairs.misses:  # a diverged run did not meet the claim
        verdict, p_supported = (INCONCLUSIVE if verdict == SUPPORTED else verdict), 1.0
    nearest = low if abs(sample.mean - low) <= abs(sample.mean - high) else high
    return replace(
        row,
        estimate=statistics.geometric_mean(values) if ratio else statistics.estimate(sample),
        decisive=decisive and Interval(*map(float, np.exp(decisive) if ratio else decisive)),
        verdict=verdict,
        p_supported=p_supported,
        p_refuted=p_refuted,
        sample=sample,
        bound=float(nearest),
        seed_correlation=statistics.correlation(pairs.arm, pairs.baseline),
    )


def _p_values(sample: Sample, low: float, high: float) -> tuple[float, float]:
    """One-sided p-values for lying inside and outside of the region; 1 where one figure proves nothing."""
    if sample.n < 2:
        return 1.0, 1.0
    inside, outside = [sample.p_above(low)], [sample.p_below(low)]
    if np.isfinite(high):
        inside.append(sample.p_below(high))
        outside.append(sample.p_above(high))
    return max(inside), min(1.0, len(outside) * min(outside))


def _caps(claim: Claim, task: Task, rows: tuple[Row, ...]) -> tuple[str, ...]:
    """Why a verdict is no more than indicative."""
    leaves = [part for row in rows for part in (row.parts or (row,))]
    measured = [row for row in leaves if row.verdict != NOT_MEASURED]
    caps = []
    fewest = min((row.estimate.n + row.misses for row in measured), default=0)
    if fewest < claim.minimum_seeds:
        caps.append(f"{fewest} {'seed' if fewest == 1 else 'seeds'}, {claim.minimum_seeds} needed")
    if claim.uses_energy:
        evidence = {row.evidence for row in measured if row.evidence}
        caps += [PROXY.get(e, f"energy is {e}") for e in sorted(evidence) if e != "measured"]
        caps += _control_problem(task) or _noise_problem(claim, task, measured)
        if measured and any(part.verdict == NOT_MEASURED and part.unit == "ratio" for r in rows for part in r.parts):
            caps.append("energy not measured")
    lost = {row.arm: row.runs - row.estimate.n - row.misses for row in measured}
    caps += [f"{n} runs of {arm} left out" for arm, n in lost.items() if n > ATTRITION * (n + fewest)]
    if any(row.no_spread for row in measured):
        caps.append("all seeds gave the same figure")
    caps += age_problem(claim, task.runs.started.min())
    if any(row.against.startswith(DENSE) for row in measured):
        caps += filter(None, [uncertified(task)])
    unmeasured = [row.arm for row in rows if row.verdict == NOT_MEASURED]
    if unmeasured and measured:
        caps.append(f"{', '.join(unmeasured)} not measured")
    return tuple(caps)


def age_problem(claim: Claim, first: str) -> list[str]:
    """Whether a claim is younger than the first run that it is judged by."""
    if claim.written is None:
        return ["nobody knows when the claim was written"]
    return [] if claim.written <= first else [f"the claim is of {claim.written[:10]}, the first run of {first[:10]}"]


def _noise_problem(claim: Claim, task: Task, rows: list[Row]) -> list[str]:
    """Whether the control leaves open an effect as large as the one that would decide: a test of equivalence.

    The 90 % interval of dense against dense has to lie within the distance of every decided arm from the border of the
    claim's region, upwards and downwards.
    """
    ratios = [row for row in rows if row.unit == "ratio" and row.sample and row.verdict in DECIDED]
    decided = [abs(row.sample.mean - row.bound) for row in ratios]
    noise = task.control.noise
    if not decided or noise is None or noise <= min(decided):
        return []
    return [f"dense against dense leaves {math.exp(noise):.3g}x open, more than the effect"]


def _control_problem(task: Task) -> list[str]:
    """What is wrong with the dense-against-dense control of a task; empty if it holds 1."""
    control = task.control
    if control.holds:
        return []
    if control.holds is False:
        return ["the dense-against-dense control excludes 1"]
    return ["the dense-against-dense control cannot be used"] if control.refused else ["no dense-against-dense control"]
