"""Published figures as data, and what our records say of each: one file a paper, no code.

A figure is reproduced where the interval of the difference lies within the margin, not reproduced where it lies
outside, and not decided where it reaches over. The margin is twice the published spread, or where none is given twice
our own deviation over seeds; it is never more than half of what lies between the best and the worst row of its table,
since a wider one could not tell the rows apart. A figure from memory is shown and never judged.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy import stats

from hundredfold.analysis import statistics
from hundredfold.analysis.statistics import Estimate, Interval

Unit = Literal["accuracy %", "error %", "nats"]
State = Literal["reproduced", "not reproduced", "not decided", "not run", "not here", "shown only"]
LEAST_SEEDS = 3  # with fewer nothing is decided
RESAMPLES = 1000


class Block(BaseModel):
    """Fields that are all there, of these types, and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Figure(Block):
    """One published number; `task` and `arm` name ours, as the experiment's report does."""

    row: str
    value: float
    spread: Annotated[float, Field(gt=0)] | None = None
    n: Annotated[int, Field(ge=1)] | None = None
    task: str | None = None
    arm: str | None = None


class Table(Block):
    """Figures that the source prints side by side.

    Attributes:
        checked: against the source; else they come from a secondary page or from memory.
        differs: what ours does in another way.
        experiment: file of conf/experiment that replicates them.
        why_not: why none does.
    """

    name: str
    unit: Unit
    checked: bool
    conditions: str
    differs: str | None = None
    experiment: str | None = None
    why_not: str | None = None
    figures: tuple[Figure, ...]

    @model_validator(mode="after")
    def _agrees(self) -> Table:
        if (self.experiment is None) == (self.why_not is None):
            raise ValueError(f"{self.name}: expected an experiment or why_not, and not both")
        return self

    @property
    def margin(self) -> float:
        """Half of what lies between the best and the worst row; the most that two rows may be apart and be one."""
        values = [figure.value for figure in self.figures]
        return (max(values) - min(values)) / 2 if len(values) > 1 else np.inf


class Paper(Block):
    """A source and its tables."""

    name: str
    title: str
    authors: str
    address: Annotated[str, Field(pattern="^https?://")]
    tables: tuple[Table, ...]


class Outcome(NamedTuple):
    """What our records say of a figure.

    Attributes:
        values: ours by seed, in the unit of the table: at the last step, on the test split.
        validation: mean at the last step on the validation split; None where it is not known.
        best: mean of the best point of every run on the validation split, which flatters as a maximum on test does.
        interval: of the difference, ours less theirs, at the last step on the test split.
    """

    paper: Paper
    table: Table
    figure: Figure
    state: State
    values: tuple[float, ...] = ()
    validation: float | None = None
    best: float | None = None
    interval: Interval | None = None

    @property
    def ours(self) -> float | None:
        """Mean of the values; None without a record."""
        return float(np.mean(self.values)) if self.values else None

    @property
    def n(self) -> int:
        return len(self.values)


def load(folder: Path | None = None) -> list[Paper]:
    """Every paper, by name.

    Raises:
        ValueError: a file that is not of this form.
    """
    root = folder or Path(str(files("hundredfold.analysis.papers")))
    papers = []
    for path in sorted(root.glob("*.yaml")):
        try:
            papers.append(Paper.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) | {"name": path.stem}))
        except (ValueError, TypeError, yaml.YAMLError) as error:
            raise ValueError(f"{path}: no paper ({str(error).splitlines()[0]}); dst.yaml shows the form") from None
    return papers


def outcomes(papers: list[Paper], runs: pd.DataFrame) -> list[Outcome]:
    """What the records say of every figure.

    Args:
        runs: with the tasks and labels of their study's report; those of a figure have its experiment as their suite,
            or a budget of it. Where a budget has cut the steps, figures are shown and not judged.
    """
    return [_outcome(p, t, f, runs) for p in papers for t in p.tables for f in t.figures]


def of_study(papers: list[Paper], suite: str, runs: pd.DataFrame) -> list[Outcome]:
    """What the records of one study say of the figures that it is to replicate; none where it replicates none."""
    own = [
        paper.model_copy(update={"tables": tuple(table for table in paper.tables if _is_of(suite, table.experiment))})
        for paper in papers
    ]
    return outcomes(own, runs.assign(suite=suite))


def _is_of(suite: str, experiment: str | None) -> bool:
    return experiment is not None and (suite == experiment or suite.startswith(f"{experiment}-"))


def _outcome(paper: Paper, table: Table, figure: Figure, runs: pd.DataFrame) -> Outcome:
    if table.experiment is None:
        return Outcome(paper, table, figure, "not here")
    own = _own(table, figure, runs)
    if not len(own):
        return Outcome(paper, table, figure, "not run")
    last, validation, best = (np.array([readings[i] for readings in own.readings]) for i in range(3))
    interval = _difference(last, figure)
    state: State = "shown only"
    if table.checked and (own.budget == 1).all():
        few = interval is None or len(last) < LEAST_SEEDS
        state = "not decided" if few else _decided(interval, _margin(table, figure, last))
    return Outcome(paper, table, figure, state, tuple(last.tolist()), _mean(validation), _mean(best), interval)


def _mean(values: np.ndarray) -> float | None:
    """None where one is not known."""
    return None if np.isnan(values).any() else float(values.mean())


def _own(table: Table, figure: Figure, runs: pd.DataFrame) -> pd.DataFrame:
    """Our runs of a figure, one a seed, with their readings; those of all steps where there are any."""
    if figure.arm is None or runs.empty:
        return runs.iloc[:0]
    own = runs[(runs.task == figure.task) & (runs.label == figure.arm) & (runs.replicate == 0)]
    replicates = own.suite.map(lambda suite: _is_of(str(suite), table.experiment)).astype(bool)
    own = own[(own.status == "finished") & replicates]
    whole = own[own.budget == 1]
    own = (whole if len(whole) else own).drop_duplicates("seed")
    return own.assign(readings=[_readings(run, table.unit) for run in own.itertuples()])


def _readings(run: Any, unit: Unit) -> tuple[float, float, float]:
    """The last step on test, the last on validation, and the best on validation, in a table's unit; NaN if unknown."""
    points = run.curve or []
    if unit == "nats":
        losses = [point.validation_loss for point in points] or [np.nan]
        return run.test_loss, losses[-1], min(losses)
    accuracies = [100 * point.validation_accuracy for point in points] or [np.nan]
    found = (100 * run.test_accuracy, accuracies[-1], max(accuracies))
    return found if unit == "accuracy %" else tuple(100 - accuracy for accuracy in found)


def _difference(own: np.ndarray, figure: Figure) -> Interval | None:
    """The 90 % interval of ours less theirs; their spread counts where it is printed with its n."""
    if len(own) < 2:
        return None
    variance = own.var(ddof=1) / len(own)
    if figure.spread is not None and figure.n is not None:
        variance += figure.spread**2 / figure.n
    half = stats.t.ppf((1 + statistics.DECIDED) / 2, len(own) - 1) * np.sqrt(variance)
    difference = float(own.mean()) - figure.value
    return Interval(difference - half, difference + half)


def _margin(table: Table, figure: Figure, own: np.ndarray) -> float:
    return min(2 * (figure.spread or float(own.std(ddof=1))), table.margin)


def _decided(interval: Interval, margin: float) -> State:
    if -margin <= interval.low and interval.high <= margin:
        return "reproduced"
    return "not reproduced" if interval.low > margin or interval.high < -margin else "not decided"


def order(found: list[Outcome]) -> Estimate | None:
    """Kendall's tau between their rows and ours, its 90 % interval over resampled seeds; None with fewer than three."""
    rows = [one for one in found if one.values]
    if len(rows) < 3:
        return None
    theirs = [one.figure.value for one in rows]
    tau = _tau(theirs, [one.ours for one in rows])
    if tau is None:
        return None
    random = np.random.default_rng(0)
    drawn = [_tau(theirs, [random.choice(one.values, one.n).mean() for one in rows]) for _ in range(RESAMPLES)]
    taus = [value for value in drawn if value is not None]
    several = all(one.n > 1 for one in rows)
    return Estimate(tau, Interval(*np.quantile(taus, [0.05, 0.95]).tolist()) if several else None, len(rows))


def _tau(theirs: list[float], ours: list[float]) -> float | None:
    tau = float(stats.kendalltau(theirs, ours).statistic)
    return tau if np.isfinite(tau) else None
