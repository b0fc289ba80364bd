"""The plot of a text: energy against loss, dense networks of every size, and arms that look up."""

from __future__ import annotations

from typing import Any

from hundredfold.analysis.formatting import EVIDENCE
from hundredfold.analysis.frontier import Frontier, finding
from hundredfold.analysis.plots import style
from hundredfold.analysis.plots.scene import Drawn

LOOK_UP = "#009E73"


def draw(frontier: Frontier) -> Drawn:
    """Every configuration as a mark, the front of the dense networks as steps, and the loss that has to be reached."""
    models = list(dict.fromkeys(point.model for point in frontier.dense))
    marks = style.marks(models)
    figure, ax = style.new(8.5, 5)
    ax.set_xscale("log")
    handles: dict[str, Any] = {}
    for point in frontier.points:
        colour, marker = (LOOK_UP, "*") if point.looks_up else marks.get(point.model, ("#888888", "."))
        ax.plot(point.runs.training_j, point.runs.text_loss, ".", color=colour, alpha=0.4, markersize=5, zorder=3)
        (handle,) = ax.plot(
            point.joules, point.loss, marker, color=colour, markersize=style.size(marker, 9), linestyle="none",
            markeredgecolor="white", markeredgewidth=0.6, zorder=5,
        )  # fmt: skip
        handles.setdefault("looked up" if point.looks_up else point.model, handle)
    steps = [(point.joules, point.loss) for point in frontier.envelope]
    if len(steps) > 1:
        (handles["front of the dense networks"],) = ax.plot(
            *zip(*steps, strict=True), drawstyle="steps-post", color="#888888", linewidth=1.2, zorder=2
        )
    arm = frontier.best_look_up
    if arm is not None:
        handles["loss to be reached"] = ax.axhline(arm.loss, color=LOOK_UP, linewidth=0.8, linestyle=":")
        hundred = ax.axvline(100 * arm.joules, color="black", linewidth=1, linestyle=":")
        handles["100 times its energy: the claim"] = hundred
    style.log_ticks(ax.xaxis)
    evidence = ", ".join(sorted({EVIDENCE[one] for one in frontier.runs.evidence.dropna()}))
    ax.set(xlabel=f"training energy (J, {evidence})", ylabel="test loss, read on (nats per token)")
    style.legend_right(figure, list(handles.values()), list(handles))
    best = min(frontier.look_ups, key=lambda point: point.loss)
    few = [point for point in frontier.points if point in (arm, best) or point in frontier.envelope]
    colours = {point.name: LOOK_UP if point.looks_up else marks[point.model][0] for point in few}
    style.label_points(ax, [(p.joules, p.loss, _short(p.name), colours[p.name]) for p in few])
    return figure, f"{finding(frontier)} Marks are configurations, named on the front and where they look up best."


def _short(name: str) -> str:
    """A name that fits beside a mark: the model and its first two settings."""
    words = name.replace("hidden=", "").split(" ")
    return " ".join(words[:3]).replace("steps=", "× ")
