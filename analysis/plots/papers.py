"""The plot of a published table: theirs and ours row by row, and both along the diagonal."""

from __future__ import annotations

import numpy as np

from hundredfold.analysis.papers import Outcome
from hundredfold.analysis.plots import style
from hundredfold.analysis.plots.scene import Drawn
from hundredfold.analysis.statistics import mean

THEIRS, OURS = "#D55E00", "#0072B2"


def draw(found: list[Outcome]) -> Drawn | None:
    """The rows of one table that have records; None where none has."""
    rows = [one for one in found if one.values]
    if not rows:
        return None
    figure, (dots, diagonal) = style.new(10, max(3.2, 1.2 + 0.26 * len(rows)), ncols=2, width_ratios=[3, 2])
    places = np.arange(len(rows))[::-1]
    handles = {}
    for place, one in zip(places, rows, strict=True):
        dots.plot([one.figure.value, one.ours], [place, place], color="#bbbbbb", linewidth=1, zorder=1)
        dots.plot(one.values, [place] * one.n, ".", color=OURS, alpha=0.35, markersize=5, zorder=2)
        handles["ours: mean, and each seed"] = dots.plot(one.ours, place, "o", color=OURS, markersize=6, zorder=4)[0]
        handles["theirs, with its spread"] = dots.errorbar(
            one.figure.value, place, xerr=one.figure.spread, fmt="D", color=THEIRS, markerfacecolor="white",
            markersize=6, elinewidth=1.2, zorder=3,
        )  # fmt: skip
        bounds = mean(np.array(one.values)).interval
        spread = [[0], [0]] if bounds is None else [[one.ours - bounds.low], [bounds.high - one.ours]]
        diagonal.errorbar(one.figure.value, one.ours, yerr=spread, fmt="o", color=OURS, markersize=5, elinewidth=1)
    unit = rows[0].table.unit
    ends = [value for one in rows for value in (one.figure.value, *one.values)]
    low, high = min(ends), max(ends)
    margin = 0.05 * (high - low) or 0.5
    handles["theirs = ours"] = diagonal.plot([low, high], [low, high], color="#888888", linewidth=1)[0]
    dots.set(yticks=places, yticklabels=[one.figure.row for one in rows], xlabel=unit)
    dots.set(xlim=(low - margin, high + margin), ylim=(-0.7, len(rows) - 0.3))
    diagonal.set(xlabel=f"theirs, {unit}", ylabel=f"ours, {unit}")
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=3)
    count = len(found) - len(rows)
    absent = f" {count} rows have no record." if count else ""
    return figure, f"Theirs beside ours; bars along the diagonal are 95 % intervals over seeds.{absent}"
