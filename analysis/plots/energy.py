"""Plots of what training costs: ratios, curves over joules, savings against density, and the phases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D

from hundredfold.analysis.arm import Arm
from hundredfold.analysis.plots import style
from hundredfold.analysis.plots.scene import Drawn, Line, Scene, forest
from hundredfold.analysis.records import Point


def ratios(scene: Scene) -> Drawn | None:
    """Forest plot of E_dense / E, the dense-against-dense control first."""
    control = scene.task.control.ratio
    lines = [Line("dense against dense", control, "#000000", "o")] if control.n else []
    for arm in scene.task.arms:
        if arm.energy_ratio.n:
            lines.append(Line(arm.label, arm.energy_ratio, *scene.mark(arm)))
    if not lines:
        return None
    figure, ax = forest(lines, log=True)
    ax.axvline(1, color="black", linewidth=1)
    ax.axvline(100, color="black", linewidth=1, linestyle=":")
    ax.set_xlim(right=max(150.0, ax.get_xlim()[1]))
    style.log_ticks(ax.xaxis)
    ax.set_xlabel(scene.energy_title.replace("training energy (J, ", "energy of dense / energy (ratio, "))
    return figure, "Bars are 95 % intervals of the geometric mean, paired by seed. Dotted: the claim's 100x."


MOST_FAINT = 20  # seeds of an arm that are drawn; more could not be told apart


def curves(scene: Scene) -> Drawn | None:
    """Validation quality over cumulative training joules: means in bold, seeds faint."""
    paths = {arm: [path for points in arm.figures("curve").values() if (path := _path(scene, points)) is not None]
             for arm in scene.task.physical}  # fmt: skip
    paths = {arm: seeds for arm, seeds in paths.items() if seeds}
    if not paths:
        return None
    figure, ax = style.new(8.5, 5)
    ax.set_xscale("log")
    handles: dict[str, Line2D] = {}
    drawn: Counter[str] = Counter()
    for arm, seeds in paths.items():
        colour, dashes = scene.mark(arm)[0], style.LINES[drawn[arm.method] % len(style.LINES)]
        drawn[arm.method] += 1
        faint = [np.column_stack(path) for path in seeds[:MOST_FAINT]]
        ax.add_collection(LineCollection(faint, colors=colour, linestyles=dashes, alpha=0.18, linewidths=0.7))
        shared = min(len(joules) for joules, _ in seeds)
        mean = np.mean([[joules[:shared], quality[:shared]] for joules, quality in seeds], axis=0)
        (handles[arm.label],) = ax.plot(*mean, dashes, color=colour, linewidth=1.7)
    ax.autoscale_view()
    style.log_ticks(ax.xaxis)
    title = scene.quality_title.replace("test", "validation")
    ax.set(xlabel=scene.energy_title.replace("training", "cumulative training"), ylabel=title)
    style.legend_right(figure, list(handles.values()), list(handles))
    caption = f"Bold lines are means over seeds at the same step, faint ones up to {MOST_FAINT} seeds"
    return figure, f"{caption}; simulated arms are left out."


def _path(scene: Scene, points: list[Point]) -> tuple[np.ndarray, np.ndarray] | None:
    """Joules and validation quality of a run's evaluations; None with fewer than two of them."""
    known = [point for point in points if point.training_j]
    if len(known) < 2:
        return None
    quality = [point.validation(scene.task.metric) * scene.scale for point in known]
    return np.array([point.training_j for point in known]), np.array(quality)


def saving_against_density(scene: Scene) -> Drawn | None:
    """Three readings of a saving: ideal FLOPs, executed FLOPs, energy; each beside one over the density."""
    arms = [arm for arm in scene.task.arms if arm.parameter_share is not None and arm.parameter_share < 1]
    if not arms:
        return None
    panels: dict[str, Callable[[Arm], float | None]] = {
        "ideal FLOPs": lambda arm: arm.ideal_ratio,
        "executed FLOPs": lambda arm: arm.executed_ratio,
        scene.energy_title.removeprefix("training ").replace("(J, ", "("): lambda arm: arm.energy_ratio.value,
    }
    figure, axes = style.new(10, 4, ncols=3, sharex=True, sharey=True)
    handles: dict[str, Line2D] = {}
    for ax, (title, reading) in zip(axes, panels.items(), strict=True):
        ax.set(xscale="log", yscale="log", title=title, xlabel="parameters / those of dense")
        ax.title.set_fontsize(9)
        for method, line in _savings(scene, ax, arms, reading).items():
            handles.setdefault(method, line)
        ends = np.array([min(arm.parameter_share for arm in arms) * 0.8, 1.0])
        (handles["1 / parameters left"],) = ax.plot(ends, 1 / ends, color="#888888", linestyle=":", zorder=1)
        ax.axhline(1, color="black", linewidth=0.8)
    axes[0].set_ylabel("dense / arm (ratio)")
    style.log_ticks(axes[0].xaxis, widest=60.0)
    style.log_ticks(axes[0].yaxis)
    axes[0].invert_xaxis()
    style.legend_right(figure, list(handles.values()), list(handles))
    return figure, "Counted, executed and paid: simulated arms are missing in the last panel, since they save nothing."


def _savings(scene: Scene, ax: Axes, arms: list[Arm], reading: Callable[[Arm], float | None]) -> dict[str, Line2D]:
    """One line per method; equal figures stay visible as rings around each other."""
    lines = {}
    methods = list(dict.fromkeys(arm.method for arm in arms))
    for place, method in enumerate(methods):
        chosen = sorted((arm for arm in arms if arm.method == method), key=lambda arm: arm.parameter_share)
        points = [(arm.parameter_share, saving) for arm in chosen if (saving := reading(arm)) is not None]
        colour, marker = scene.marks[method]
        size = style.size(marker, 8.5 - 4 * place / len(methods))
        x, y = [share for share, _ in points], [saving for _, saving in points]
        (lines[method],) = ax.plot(x, y, marker + "-", color=colour, linewidth=1.2, markersize=size)
    return lines


def phases(scene: Scene) -> Drawn | None:
    """Mean joules of each exclusive phase, physical arms only."""
    rows = {arm.label: means for arm in scene.task.physical if (means := _phase_means(arm))}
    if not rows:
        return None
    colours = style.PHASES | {"other": style.OTHER_PHASES}
    figure, ax = style.new(7.5, 1.3 + 0.27 * len(rows))
    for position, means in enumerate(rows.values()):
        start = 0.0
        for name, colour in colours.items():
            width = means.get(name, 0.0)
            ax.barh(position, width, left=start, color=colour, height=0.7)
            start += width
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel(scene.energy_title.replace("training energy", "energy of the whole run"))
    used = [name for name in colours if any(means.get(name) for means in rows.values())]
    style.legend_right(figure, [Line2D([], [], color=colours[name], linewidth=6) for name in used], used)
    caption = "Training is train + select + warmup; evaluation, checkpoints and counting stand beside it."
    short = dict.fromkeys(name for arm in scene.task.physical for each in arm.figures("by_seconds").values()
                          for name in each)  # fmt: skip
    told = f" Too short for the counter, so shared out by seconds: {', '.join(short)}." if short else ""
    return figure, caption + told


def _phase_means(arm: Arm) -> dict[str, float]:
    """Phase -> mean joules over finished runs; what has no colour of its own is `other`."""
    runs = list(arm.figures("phases_j").values())
    sums: dict[str, float] = {}
    for phases_j in runs:
        for phase, joules in phases_j.items():
            name = phase if phase in style.PHASES else "other"
            sums[name] = sums.get(name, 0.0) + joules / len(runs)
    return sums
