"""Plots of what arms reach: quality against energy, and differences to dense."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from hundredfold.analysis.arm import Arm
from hundredfold.analysis.claims import accuracy_gain, no_accuracy_lost
from hundredfold.analysis.plots import style
from hundredfold.analysis.plots.scene import Drawn, Line, Scene, forest
from hundredfold.analysis.schema import DENSE
from hundredfold.analysis.task import SMALL


def against_energy(scene: Scene) -> Drawn | None:
    """Every seed and every arm's mean, the front of the physical arms, and the frontier of small dense networks."""
    physical = [arm for arm in scene.task.physical if arm.energy.n and arm.quality.n]
    simulated = [arm for arm in scene.task.simulated if arm.quality.n]
    if not physical:
        return None
    if simulated:
        widths = [7, max(0.3 * len(simulated), 0.6)]
        figure, (ax, side) = style.new(9.5, 5, ncols=2, sharey=True, width_ratios=widths)
    else:
        figure, ax = style.new(8.5, 5)
    ax.set_xscale("log")
    handles = _seeds_and_means(scene, ax, physical)
    lines = _reference_lines(scene, ax) + _front(scene, ax, physical) + _small_networks(scene, ax, physical)
    style.log_ticks(ax.xaxis)
    ax.set(xlabel=scene.energy_title, ylabel=scene.quality_title)
    points = [
        (arm.energy.value, arm.quality.value * scene.scale, short, scene.mark(arm)[0])
        for arm in physical
        if (short := _short(arm))
    ]
    if simulated:
        _simulated_panel(scene, side, simulated)
    style.legend_right(figure, [*handles.values(), *lines], [*handles, *[str(line.get_label()) for line in lines]])
    style.label_points(ax, points)
    caption = "Small dots are seeds, outlined marks are means with the arm's option beside (density, or duration)."
    return figure, caption + (" Simulated arms have no energy and stand apart on the right." if simulated else "")


def _short(arm: Arm) -> str:
    """What is written beside an arm's mark: its option, and its method too where many methods share the option."""
    short = arm.label.removeprefix(arm.method).strip()
    return arm.label if "(" in short else short


def _seeds_and_means(scene: Scene, ax: Axes, physical: list[Arm]) -> dict[str, Line2D]:
    handles: dict[str, Line2D] = {}
    for arm in physical:
        colour, marker = scene.mark(arm)
        done = list(arm.finished.values())
        y = [getattr(run, f"test_{arm.metric}") * scene.scale for run in done]
        ax.plot([run.training_j for run in done], y, ".", color=colour, alpha=0.4, markersize=5, zorder=3)
        (handle,) = ax.plot(
            arm.energy.value, arm.quality.value * scene.scale, marker, color=colour, zorder=5,
            markersize=style.size(marker, 8), markeredgecolor="white", markeredgewidth=0.6, linestyle="none",
        )  # fmt: skip
        handles.setdefault(arm.method, handle)
    return handles


def _reference_lines(scene: Scene, ax: Axes) -> list[Line2D]:
    dense = scene.task.dense
    if dense is None or not dense.energy.n:
        return []
    joules = dense.energy.value
    return [
        ax.axvline(joules, color="black", linewidth=1, label="energy of dense"),
        ax.axvline(joules / 100, color="black", linewidth=1, linestyle=":", label="1/100 of it: the claim"),
    ]


def _front(scene: Scene, ax: Axes, physical: list[Arm]) -> list[Line2D]:
    """The Pareto front as steps."""
    better = 1 if scene.task.metric == "accuracy" else -1
    front: list[Arm] = []
    for arm in sorted(physical, key=lambda arm: arm.energy.value):
        if not front or better * arm.quality.value >= better * front[-1].quality.value:
            front.append(arm)
    style_of_line = {"drawstyle": "steps-post", "color": "#888888", "label": "Pareto front"}
    return _path(scene, ax, front, style_of_line) if len(front) > 1 else []


def _small_networks(scene: Scene, ax: Axes, physical: list[Arm]) -> list[Line2D]:
    """The line through dense and the small dense networks."""
    small = sorted((arm for arm in physical if arm.method in (DENSE, SMALL)), key=lambda arm: arm.energy.value)
    colour = scene.marks[SMALL][0] if SMALL in scene.marks else "black"
    dashes = {"linestyle": "--", "color": colour, "label": "small dense networks"}
    return _path(scene, ax, small, dashes) if len(small) > 1 else []


def _path(scene: Scene, ax: Axes, arms: list[Arm], look: dict[str, Any]) -> list[Line2D]:
    x, y = [arm.energy.value for arm in arms], [arm.quality.value * scene.scale for arm in arms]
    return ax.plot(x, y, linewidth=1.2, zorder=2, **look)


def _simulated_panel(scene: Scene, ax: Axes, simulated: list[Arm]) -> None:
    for position, arm in enumerate(simulated):
        colour, marker = scene.mark(arm)
        values = np.array(list(arm.figures(f"test_{arm.metric}").values())) * scene.scale
        ax.plot([position] * len(values), values, ".", color=colour, alpha=0.4, markersize=5)
        ax.plot(position, arm.quality.value * scene.scale, marker, color=colour, markersize=style.size(marker, 8),
                markeredgecolor="white", markeredgewidth=0.6)  # fmt: skip
    ax.set_xticks(range(len(simulated)), [arm.label for arm in simulated], rotation=90, fontsize=7.5)
    ax.set_xlim(-0.7, len(simulated) - 0.3)
    ax.grid(axis="x", visible=False)
    ax.set_title("simulated:\nno energy", fontsize=8)


def differences(scene: Scene) -> Drawn | None:
    """Paired differences of every arm to dense, with the band within which nothing is lost."""
    arms = [arm for arm in scene.task.arms if arm.difference.n]
    if not arms:
        return None
    lines = [Line(arm.label, arm.difference.times(scene.scale), *scene.mark(arm)) for arm in arms]
    figure, ax = forest(lines, log=False)
    ax.axvline(0, color="black", linewidth=1)
    if scene.task.metric == "accuracy":
        band, goal = no_accuracy_lost.CLAIM.region.low, accuracy_gain.CLAIM.region.low
        ax.axvspan(100 * band, -100 * band, color="#0072B2", alpha=0.1, linewidth=0)
        ax.axvline(100 * goal, color="black", linewidth=1, linestyle=":")
        ax.set_xlabel("test accuracy less that of dense, paired by seed (points)")
        caption = f"Shaded: within {-100 * band:g} points of dense. Dotted: the claim's {100 * goal:+g} points."
    else:
        band = no_accuracy_lost.CLAIM.loss_region.low
        ax.axvspan(band, -band, color="#0072B2", alpha=0.1, linewidth=0)
        ax.set_xlabel("test loss less that of dense, paired by seed (nats per token; left is better)")
        caption = f"Shaded: within {-band:g} nats of dense."
    return figure, caption + " Bars are 95 % intervals; simulated arms take part, since only quality counts here."
