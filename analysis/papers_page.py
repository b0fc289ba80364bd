"""Published figures beside ours, as Markdown and as a page with a plot for every table that has records.

    python -m hundredfold.analysis.papers_page results docs/papers.md

writes results/papers.html and results/papers.md, and puts a summary into docs/papers.md.
"""

from __future__ import annotations

import base64
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from hundredfold.analysis import markers, pages, papers, records
from hundredfold.analysis.formatting import MINUS, UNKNOWN
from hundredfold.analysis.papers import Outcome
from hundredfold.analysis.plots import papers as plot
from hundredfold.analysis.plots import style

READINGS = (
    "Ours is the mean over seeds at the last step, on the test split. Papers differ in what they print, so the last "
    "step on the validation split and the best point of each run on it stand beside it; the best one flatters as a "
    "maximum on the test split does. A figure is reproduced where the 90 % interval of the difference lies within "
    "twice the published spread, or, where none is printed, within twice our own deviation over seeds."
)


class Beside(NamedTuple):
    """One published table with what our records say of it."""

    found: list[Outcome]

    @property
    def title(self) -> str:
        return f"{self.found[0].paper.title}: {self.found[0].table.name}"

    @property
    def order(self) -> str:
        """Kendall's tau with its interval; "" where it is not known."""
        ranks = papers.order(self.found)
        if ranks is None:
            return ""
        bounds = f" [{ranks.interval.low:.2f}, {ranks.interval.high:.2f}]" if ranks.interval else ""
        return f"{ranks.value:.2f}{bounds}"

    @property
    def told(self) -> str:
        """Conditions, command and order, in sentences."""
        table, order = self.found[0].table, self.order
        does = f"`make reproduce SUITE={table.experiment}`" if table.experiment else f"None here: {table.why_not}"
        parts = [table.conditions[:1].upper() + table.conditions[1:], does]
        if table.differs:
            parts.append(f"Ours differs: {table.differs}")
        if order:
            parts.append(f"Kendall's tau of {self.run} rows: {order}")
        if table.checked and any(one.state == "shown only" for one in self.found):
            parts.append("A budget has cut our steps, so that figures are shown and not judged")
        if not table.checked:
            parts.append("Not checked against the source, so it is shown and not judged")
        return " ".join(f"{re.sub('[.]$', '', part)}." for part in parts if part)

    @property
    def run(self) -> int:
        """Rows that have records."""
        return sum(bool(one.values) for one in self.found)

    @property
    def states(self) -> str:
        return counted(self.found)

    @property
    def frame(self) -> pd.DataFrame:
        """A row for every figure."""
        return pd.DataFrame([_row(one) for one in self.found])


def _row(one: Outcome) -> dict[str, str]:
    spread = f" ± {one.figure.spread:g}" if one.figure.spread else ""
    difference = "" if one.interval is None else f" [{_signed(one.interval.low)}, {_signed(one.interval.high)}]"
    return {
        "row": one.figure.row,
        f"theirs, {one.table.unit}": f"{one.figure.value:g}{spread}",
        "ours, last step, test": UNKNOWN if one.ours is None else f"{one.ours:.2f}, n = {one.n}",
        "ours less theirs": UNKNOWN if one.ours is None else _signed(one.ours - one.figure.value) + difference,
        "last step, validation": UNKNOWN if one.validation is None else f"{one.validation:.2f}",
        "best, validation": UNKNOWN if one.best is None else f"{one.best:.2f}",
        "state": one.state,
    }


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", MINUS)


def counted(found: list[Outcome]) -> str:
    """How many figures are in each state."""
    return ", ".join(f"{count} {state}" for state, count in Counter(one.state for one in found).most_common())


def answer(found: list[Outcome]) -> str:
    """One sentence: how many of the published figures stand."""
    judged = [one for one in found if one.state in ("reproduced", "not reproduced", "not decided")]
    if judged:
        reproduced = sum(one.state == "reproduced" for one in judged)
        return f"{reproduced} of {len(judged)} published figures are reproduced ({counted(found)})."
    return f"Of {len(found)} published figures none is judged ({counted(found)})."


def tables(found: list[Outcome]) -> Iterator[Beside]:
    """The outcomes table by table."""
    for key in dict.fromkeys((one.paper.name, one.table.name) for one in found):
        yield Beside([one for one in found if (one.paper.name, one.table.name) == key])


def markdown(found: list[Outcome]) -> str:
    """All papers, table by table."""
    lines = ["# Published figures beside ours", "", answer(found), "", READINGS, ""]
    for name in dict.fromkeys(one.paper.name for one in found):
        own = [one for one in found if one.paper.name == name]
        lines += [f"## {own[0].paper.title}", "", f"{own[0].paper.authors}, <{own[0].paper.address}>", ""]
        for beside in tables(own):
            grid = beside.frame.to_markdown(index=False, disable_numparse=True)
            lines += [f"### {beside.found[0].table.name}", "", beside.told, "", grid, ""]
    return "\n".join(lines)


def html(found: list[Outcome]) -> str:
    """All papers on one page, those with records first."""
    seen = Counter(one.paper.name for one in found if one.values)
    besides = sorted(tables(found), key=lambda beside: -seen[beside.found[0].paper.name])
    context = {"answer": answer(found), "readings": READINGS, "tables": [section(beside) for beside in besides]}
    return pages.render("papers.html.j2", context)


def section(beside: Beside) -> dict[str, Any]:
    """A table as the templates take it, with its plot as SVG; None where nothing has a record."""
    drawn, svg, caption = plot.draw(beside.found), None, ""
    if drawn is not None:
        figure, caption = drawn
        svg = base64.b64encode(style.svg(figure)).decode()
    paper = beside.found[0].paper
    return {
        "title": beside.title,
        "source": f"{paper.authors}, {paper.address}",
        "told": beside.told.replace("`", ""),
        "states": beside.states,
        "grid": pages.grid(beside.frame),
        "svg": svg,
        "caption": caption,
    }


WRITERS = {".md": lambda found: markdown(found) + "\n", ".html": html}


def write(found: list[Outcome], path: Path) -> None:
    """Write the page that a path's ending asks for.

    Raises:
        ValueError: another ending, or the file cannot be written.
    """
    if path.suffix not in WRITERS:
        raise ValueError(f"--output {path}: expected a name that ends in {' or '.join(WRITERS)}")
    try:
        path.write_text(WRITERS[path.suffix](found), encoding="utf-8")
    except OSError as error:
        raise ValueError(f"--output {path}: cannot be written ({error.strerror})") from None


def summary(results: Path) -> str:
    """What stands of every table of which something was run; writes both pages beside the studies."""
    found = papers.outcomes(papers.load(), records.studies(results))
    for suffix in WRITERS:
        write(found, results / f"papers{suffix}")
    rows = [
        {"table": beside.title, "figures": beside.states, "Kendall's tau": beside.order}
        for beside in tables(found)
        if beside.run
    ]
    if not rows:
        return answer(found)
    return f"{answer(found)}\n\n{pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)}"


if __name__ == "__main__":
    sys.exit(markers.fill(sys.argv[1:], "papers", ("results", "docs/papers.md"), summary))
