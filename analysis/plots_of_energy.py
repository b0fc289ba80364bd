"""Plots of what training costs: ratios, curves over joules, savings against density, and the phases."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from analysis import arms, plot_style, plots, statistics


def energy_ratios(scene: plots.Scene):
    """Forest plot of E_dense / E, the dense-against-dense control first."""
    rows = []
    control, _ = arms.repeated_energy(scene.runs, scene.task)
    if len(control):
        rows.append(("dense against dense", statistics.geometric_mean(control), "#000000", "o"))
    for row in scene.figures.itertuples():
        if row.energy_ratio_n:
            interval = None if pd.isna(row.energy_ratio_low) else statistics.Interval(
                row.energy_ratio_low, row.energy_ratio_high)  # fmt: skip
            figure = statistics.Estimate(row.energy_ratio, interval, row.energy_ratio_n)
            rows.append((row.arm, figure, *scene.mark(row.arm)))
    if not rows:
        return None
    figure, ax = plots.forest(rows, log=True)
    ax.axvline(1, color="black", linewidth=1)
    ax.axvline(100, color="black", linewidth=1, linestyle=":")
    ax.set_xlim(right=max(150.0, ax.get_xlim()[1]))
    plot_style.log_ticks(ax.xaxis)
    ax.set_xlabel(scene.energy_title.replace("training energy (J, ", "energy of dense / energy (ratio, "))
    return figure, "Bars are 95 % intervals of the geometric mean, paired by seed. Dotted: the claim's 100x."


def curves(scene: plots.Scene):
    """Validation quality over cumulative training joules: means in bold, seeds faint."""
    figure, ax = plot_style.new(8.5, 5)
    ax.set_xscale("log")
    handles = {}
    styles: dict[str, int] = {}
    for label in scene.physical:
        seeds = [_curve(scene, points) for points in arms.quality(arms.arm(scene.runs, scene.task, label), "curve")]
        seeds = [seed for seed in seeds if seed is not None]
        if not seeds:
            continue
        colour = scene.mark(label)[0]
        rank = styles[scene.method(label)] = styles.get(scene.method(label), -1) + 1
        style = plot_style.LINES[rank % len(plot_style.LINES)]
        for joules, quality in seeds:
            ax.plot(joules, quality, style, color=colour, alpha=0.18, linewidth=0.7)
        shared = min(len(joules) for joules, _ in seeds)
        mean = np.mean([[joules[:shared], quality[:shared]] for joules, quality in seeds], axis=0)
        (handles[label],) = ax.plot(*mean, style, color=colour, linewidth=1.7)
    if not handles:
        plot_style.plt.close(figure)
        return None
    plot_style.log_ticks(ax.xaxis)
    title = scene.quality_title.replace("test", "validation")
    ax.set(xlabel=scene.energy_title.replace("training", "cumulative training"), ylabel=title)
    plot_style.legend_right(figure, list(handles.values()), list(handles))
    return (
        figure,
        "Bold lines are means over seeds at the same step, faint ones seeds; simulated arms are left out.",
    )


def _curve(scene: plots.Scene, points: list[dict]):
    known = [p for p in points if p.get("training_j") and p.get(f"validation_{scene.metric}") is not None]
    if len(known) < 2:
        return None
    quality = [p[f"validation_{scene.metric}"] * scene.scale for p in known]
    return np.array([p["training_j"] for p in known]), np.array(quality)


def saving_against_density(scene: plots.Scene):
    """Three readings of a saving: ideal FLOPs, executed FLOPs, energy; each beside one over the density."""
    table = scene.figures[scene.figures.parameter_share.notna() & (scene.figures.parameter_share < 1)]
    panels = {
        "ideal FLOPs": "flop_ratio_ideal",
        "executed FLOPs": "flop_ratio_executed",
        scene.energy_title.removeprefix("training ").replace("(J, ", "("): "energy_ratio",
    }
    if table.empty:
        return None
    figure, axes = plot_style.new(10, 4, ncols=3, sharex=True, sharey=True)
    handles: dict[str, Line2D] = {}
    methods = list(dict.fromkeys(scene.method(label) for label in table.arm))
    for ax, (title, column) in zip(axes, panels.items(), strict=True):
        ax.set(xscale="log", yscale="log", title=title, xlabel="parameters / those of dense")
        ax.title.set_fontsize(9)
        for place, method in enumerate(methods):  # equal figures stay visible as rings around each other
            rows = table[[scene.method(label) == method for label in table.arm]].dropna(subset=[column])
            rows = rows.sort_values("parameter_share")
            colour, marker = scene.marks[method]
            (handle,) = ax.plot(
                rows.parameter_share, rows[column].astype(float), marker + "-", color=colour, linewidth=1.2,
                markersize=plot_style.size(marker, 8.5 - 4 * place / len(methods)),
            )  # fmt: skip
            handles.setdefault(method, handle)
        ends = np.array([table.parameter_share.min() * 0.8, 1.0])
        (handles["1 / parameters left"],) = ax.plot(ends, 1 / ends, color="#888888", linestyle=":", zorder=1)
        ax.axhline(1, color="black", linewidth=0.8)
    axes[0].set_ylabel("dense / arm (ratio)")
    plot_style.log_ticks(axes[0].xaxis, widest=60.0)
    plot_style.log_ticks(axes[0].yaxis)
    axes[0].invert_xaxis()
    plot_style.legend_right(figure, list(handles.values()), list(handles))
    return figure, "Counted, executed and paid: simulated arms are missing in the last panel, since they save nothing."


def phases(scene: plots.Scene):
    """Mean joules of each exclusive phase, physical arms only."""
    rows = {label: _phase_means(scene, label) for label in scene.physical}
    rows = {label: means for label, means in rows.items() if means}
    if not rows:
        return None
    names = list(plot_style.PHASES) + ["other"]
    figure, ax = plot_style.new(7.5, 1.3 + 0.27 * len(rows))
    for position, means in enumerate(rows.values()):
        start = 0.0
        for name in names:
            width = means.get(name, 0.0)
            ax.barh(position, width, left=start, color=plot_style.PHASES.get(name, plot_style.OTHER_PHASES), height=0.7)
            start += width
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel(scene.energy_title.replace("training energy", "energy of the whole run"))
    used = [name for name in names if any(means.get(name) for means in rows.values())]
    patches = [Line2D([], [], color=plot_style.PHASES.get(n, plot_style.OTHER_PHASES), linewidth=6) for n in used]
    plot_style.legend_right(figure, patches, used)
    return figure, "Training is train + select + warmup; evaluation, checkpoints and counting stand beside it."


def _phase_means(scene: plots.Scene, label: str) -> dict[str, float]:
    """Phase -> mean joules over finished runs; what has no colour of its own is `other`."""
    runs = list(arms.quality(arms.arm(scene.runs, scene.task, label), "phases_j"))
    sums: dict[str, float] = {}
    for phases_j in runs:
        for phase, joules in phases_j.items():
            name = phase if phase in plot_style.PHASES else "other"
            sums[name] = sums.get(name, 0.0) + joules / len(runs)
    return sums
