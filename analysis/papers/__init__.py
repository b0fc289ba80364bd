"""Published figures as data, and what our records say of each: one file a paper, no code.

A figure is reproduced where the interval of the difference lies within the margin, not reproduced where it lies
outside, and not decided where it reaches over. The margin is twice the published spread, or where none is given twice
our own deviation over seeds; it is never more than half of what lies between the best and the worst row of its table,
since a wider one could not tell the rows apart. A figure from memory is shown and never judged.
"""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy import stats

from hundredfold.analysis import records, statistics
from hundredfold.analysis.formatting import UNKNOWN
from hundredfold.analysis.statistics import Interval

Unit = Literal["accuracy %", "error %", "nats"]
State = Literal["reproduced", "not reproduced", "not decided", "not run", "not here", "shown only"]
LEAST_SEEDS = 3  # with fewer nothing is decided


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
        experiment: file of conf/experiment that replicates them.
        why_not: why none does.
    """

    name: str
    unit: Unit
    checked: bool
    conditions: str
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
        ours: mean in the unit of the table, by the last step on the test split; None without a record.
        interval: of the difference, ours less theirs.
    """

    paper: Paper
    table: Table
    figure: Figure
    state: State
    ours: float | None = None
    n: int = 0
    interval: Interval | None = None


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
        runs: as `records.load` gives them; those of a figure have its experiment as their suite.
    """
    return [_outcome(p, t, f, runs) for p in papers for t in p.tables for f in t.figures]


def _outcome(paper: Paper, table: Table, figure: Figure, runs: pd.DataFrame) -> Outcome:
    if table.experiment is None:
        return Outcome(paper, table, figure, "not here")
    own = _values(table, figure, runs)
    if not len(own):
        return Outcome(paper, table, figure, "not run")
    ours, n = float(own.mean()), len(own)
    interval = _difference(own, figure)
    if not table.checked:
        return Outcome(paper, table, figure, "shown only", ours, n, interval)
    state = "not decided" if interval is None or n < LEAST_SEEDS else _decided(interval, _margin(table, figure, own))
    return Outcome(paper, table, figure, state, ours, n, interval)


def _values(table: Table, figure: Figure, runs: pd.DataFrame) -> np.ndarray:
    """Our figures, one a seed, in the unit of the table."""
    if figure.arm is None or runs.empty:
        return np.array([])
    own = runs[(runs.suite == table.experiment) & (runs.task == figure.task) & (runs.replicate == 0)]
    own = own[(own.status == "finished") & (own.label == figure.arm)]
    if table.unit == "nats":
        return own.test_loss.to_numpy(dtype=float)
    accuracy = 100 * own.test_accuracy.to_numpy(dtype=float)
    return accuracy if table.unit == "accuracy %" else 100 - accuracy


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


def order(found: list[Outcome]) -> tuple[float, int] | None:
    """Kendall's tau between their rows and ours, and how many there are; None with fewer than three."""
    pairs = [(one.figure.value, one.ours) for one in found if one.ours is not None]
    if len(pairs) < 3:
        return None
    tau = stats.kendalltau(*zip(*pairs, strict=True)).statistic
    return (float(tau), len(pairs)) if np.isfinite(tau) else None


def published(root: Path) -> pd.DataFrame:
    """Runs of every study that lies in a folder of published results."""
    tables = [records.read(path) for path in sorted(Path(root).glob("*/records.parquet"))]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(records.COLUMNS))


def page(found: list[Outcome]) -> str:
    """All papers in Markdown: theirs beside ours, with what each rests on."""
    counts = pd.Series([one.state for one in found]).value_counts()
    lines = ["# Published figures", "", ", ".join(f"{count} {state}" for state, count in counts.items()) + ".", ""]
    for paper in dict.fromkeys(one.paper.name for one in found):
        own = [one for one in found if one.paper.name == paper]
        lines += [f"## {own[0].paper.title}", "", f"{own[0].paper.authors}, <{own[0].paper.address}>", ""]
        for name in dict.fromkeys(one.table.name for one in own):
            lines += _table([one for one in own if one.table.name == name])
    return "\n".join(lines)


def _table(found: list[Outcome]) -> list[str]:
    table, ranks = found[0].table, order(found)
    rows = [
        {
            "row": one.figure.row,
            f"theirs, {table.unit}": f"{one.figure.value:g}"
            + (f" ± {one.figure.spread:g}" if one.figure.spread else ""),
            "ours": UNKNOWN if one.ours is None else f"{one.ours:.3f}, n = {one.n}",
            "ours less theirs": UNKNOWN
            if one.interval is None
            else f"[{one.interval.low:+.2f}, {one.interval.high:+.2f}]",
            "state": one.state,
        }
        for one in found
    ]
    does = f"`make reproduce SUITE={table.experiment}`" if table.experiment else f"None here: {table.why_not}"
    told = f" Kendall's tau of {ranks[1]} rows: {ranks[0]:.2f}." if ranks else ""
    checked = "" if table.checked else " Not checked against the source, so it is shown and not judged."
    head = f"{re.sub(r'[.]$', '', table.conditions)}. {does}.{told}{checked}"
    return [f"### {table.name}", "", head, "", pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True), ""]
