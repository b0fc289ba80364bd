"""What every plot of a task needs: its arms, their marks, its axes' titles, and the forest that two plots share."""

from __future__ import annotations

from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hundredfold.analysis.arm import Arm
from hundredfold.analysis.formatting import EVIDENCE
from hundredfold.analysis.plots import style
from hundredfold.analysis.statistics import Estimate
from hundredfold.analysis.task import Task

Drawn = tuple[Figure, str]  # a figure and the sentence under it


class Scene(NamedTuple):
    """A task as it is drawn.

    Attributes:
        marks: method -> (colour, marker).
    """

    task: Task
    marks: dict[str, tuple[str, str]]

    @property
    def quality_title(self) -> str:
        return {"accuracy": "test accuracy (%)", "loss": "test loss (nats per token)"}[self.task.metric]

    @property
    def scale(self) -> float:
        """From the records' unit of quality to that of the axis."""
        return 100.0 if self.task.metric == "accuracy" else 1.0

    @property
    def energy_title(self) -> str:
        return f"training energy (J, {', '.join(EVIDENCE[one] for one in self.task.evidence)})"

    def mark(self, arm: Arm) -> tuple[str, str]:
        return self.marks[arm.method]


class Line(NamedTuple):
    """One line of a forest plot."""

    text: str
    estimate: Estimate
    colour: str
    marker: str


def forest(lines: list[Line], log: bool) -> tuple[Figure, Axes]:
    """Estimates with their intervals, one below the other."""
    figure, ax = style.new(7.5, 1.1 + 0.27 * len(lines))
    if log:
        ax.set_xscale("log")
    for position, line in enumerate(lines):
        if line.estimate.interval:
            ax.plot(line.estimate.interval, [position, position], "|-", color=line.colour, linewidth=1.6, markersize=9)
        size = style.size(line.marker, 5)
        ax.plot(line.estimate.value, position, line.marker, color=line.colour, markersize=size)
    ax.set_yticks(range(len(lines)), [line.text for line in lines])
    ax.set_ylim(len(lines) - 0.4, -0.6)
    ax.grid(axis="y", visible=False)
    return figure, ax
