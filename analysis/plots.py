"""The plots of a task, each as PNG and SVG; `draw` makes them all."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pandas as pd
from matplotlib.lines import Line2D

from analysis import arms, plot_style, plots_of_energy, statistics
from analysis.claims import accuracy_gain, no_accuracy_lost
from analysis.formatting import EVIDENCE
from analysis.tables import file_stem


class Plot(NamedTuple):
    """A drawn plot: its name, where it lies (without suffix) and the sentence under it."""

    name: str
    stem: Path
    caption: str


class Scene(NamedTuple):
    """What every plot of a task needs.

    Attributes:
        figures: the task's table, as `tables.table` gives it.
        marks: method -> (colour, marker).
    """

    runs: pd.DataFrame
    task: str
    figures: pd.DataFrame
    marks: dict[str, tuple[str, str]]

    @property
    def metric(self) -> str:
        return self.figures.metric.iloc[0]

    @property
    def quality_title(self) -> str:
        return {"accuracy": "test accuracy (%)", "loss": "test loss (nats per token)"}[self.metric]

    @property
    def scale(self) -> float:
        return 100.0 if self.metric == "accuracy" else 1.0

    @property
    def physical(self) -> list[str]:
        """Arms that really compute less, in the table's order."""
        return list(self.figures.arm[~self.figures.simulated])

    @property
    def energy_title(self) -> str:
        classes = sorted(set(self.figures.evidence.dropna()))
        return f"training energy (J, {', '.join(EVIDENCE.get(e, e) for e in classes)})"

    def method(self, label: str) -> str:
        return self.figures.method[self.figures.arm == label].iloc[0]

    def mark(self, label: str) -> tuple[str, str]:
        return self.marks[self.method(label)]

    def short(self, label: str) -> str:
        """What tells an arm from its method's others."""
        return label.removeprefix(self.method(label)).strip()


def draw(runs: pd.DataFrame, task: str, figures: pd.DataFrame, marks: dict, folder: Path) -> list[Plot]:
    """Draw every plot that the records of a task allow.

    Args:
        figures: the task's table.
        folder: where PNG and SVG files go.
    """
    scene = Scene(runs, task, figures, marks)
    makers = {
        "quality-against-energy": quality_against_energy,
        "energy-ratios": plots_of_energy.energy_ratios,
        "quality-differences": quality_differences,
        "curves": plots_of_energy.curves,
        "saving-against-density": plots_of_energy.saving_against_density,
        "where-the-joules-go": plots_of_energy.phases,
    }
    drawn = []
    for name, make in makers.items():
        result = make(scene)
        if result is not None:
            figure, caption = result
            stem = folder / f"{file_stem(task)}-{name}"
            plot_style.save(figure, stem)
            drawn.append(Plot(name, stem, caption))
    return drawn


def quality_against_energy(scene: Scene):
    """Every seed and every arm's mean, the front of the physical arms, and the frontier of small dense networks."""
    table = scene.figures.set_index("arm")
    physical = [a for a in scene.physical if table.energy_j_n[a] and table.quality_n[a]]
    if not physical:
        return None
    simulated = [a for a in table.index if table.simulated[a] and table.quality_n[a]]
    widths = [7, max(0.3 * len(simulated), 0.6)]
    figure, axes = plot_style.new(9.5, 5, ncols=2, sharey=True, width_ratios=widths) if simulated else (
        plot_style.new(8.5, 5))  # fmt: skip
    ax, side = (axes[0], axes[1]) if simulated else (axes, None)
    ax.set_xscale("log")
    handles = _seeds_and_means(scene, ax, physical, table)
    lines = _reference_lines(scene, ax, table)
    lines += _front(scene, ax, table.loc[physical])
    plot_style.log_ticks(ax.xaxis)
    ax.set(xlabel=scene.energy_title, ylabel=scene.quality_title)
    points = [(table.energy_j[a], table.quality[a] * scene.scale, scene.short(a), scene.mark(a)[0]) for a in physical]
    if side is not None:
        _simulated_panel(scene, side, simulated, table)
    plot_style.legend_right(figure, [*handles.values(), *lines], [*handles, *[line.get_label() for line in lines]])
    plot_style.label_points(ax, [point for point in points if point[2]])
    caption = "Small dots are seeds, outlined marks are means with the arm's option beside (density, or duration)."
    return figure, caption + (" Simulated arms have no energy and stand apart on the right." if simulated else "")


def _seeds_and_means(scene: Scene, ax, physical: list[str], table: pd.DataFrame) -> dict[str, Line2D]:
    handles = {}
    for label in physical:
        colour, marker = scene.mark(label)
        rows = arms.arm(scene.runs, scene.task, label)
        rows = rows[rows.status == "finished"]
        y = rows[f"test_{scene.metric}"] * scene.scale
        ax.plot(rows.training_j, y, ".", color=colour, alpha=0.4, markersize=5, zorder=3)
        (handle,) = ax.plot(
            table.energy_j[label], table.quality[label] * scene.scale, marker, color=colour, zorder=5,
            markersize=plot_style.size(marker, 8), markeredgecolor="white", markeredgewidth=0.6, linestyle="none",
        )  # fmt: skip
        handles.setdefault(scene.method(label), handle)
    return handles


def _reference_lines(scene: Scene, ax, table: pd.DataFrame) -> list[Line2D]:
    dense = arms.dense_label(scene.runs, scene.task)
    if dense not in table.index or not table.energy_j_n[dense]:
        return []
    joules = table.energy_j[dense]
    return [
        ax.axvline(joules, color="black", linewidth=1, label="energy of dense"),
        ax.axvline(joules / 100, color="black", linewidth=1, linestyle=":", label="1/100 of it: the claim"),
    ]


def _front(scene: Scene, ax, table: pd.DataFrame) -> list[Line2D]:
    """The Pareto front as steps, and the line through dense and the small dense networks."""
    lines = []
    better = 1 if scene.metric == "accuracy" else -1
    ordered = table.sort_values("energy_j")
    best = (better * ordered.quality).cummax()
    front = ordered[(better * ordered.quality) == best]
    if len(front) > 1:
        lines += ax.plot(
            front.energy_j, front.quality * scene.scale, drawstyle="steps-post", color="#888888", linewidth=1.2,
            label="Pareto front", zorder=2,
        )  # fmt: skip
    small = [a for a in table.index if scene.method(a) in (arms.DENSE, "dense_small")]
    if len(small) > 1:
        frontier = table.loc[small].sort_values("energy_j")
        colour = scene.marks["dense_small"][0] if "dense_small" in scene.marks else "black"
        lines += ax.plot(
            frontier.energy_j, frontier.quality * scene.scale, "--", color=colour, linewidth=1.2,
            label="small dense networks", zorder=2,
        )  # fmt: skip
    return lines


def _simulated_panel(scene: Scene, ax, simulated: list[str], table: pd.DataFrame) -> None:
    for position, label in enumerate(simulated):
        colour, marker = scene.mark(label)
        values = arms.quality(arms.arm(scene.runs, scene.task, label), f"test_{scene.metric}") * scene.scale
        ax.plot([position] * len(values), values, ".", color=colour, alpha=0.4, markersize=5)
        ax.plot(position, table.quality[label] * scene.scale, marker, color=colour,
                markersize=plot_style.size(marker, 8), markeredgecolor="white", markeredgewidth=0.6)  # fmt: skip
    ax.set_xticks(range(len(simulated)), simulated, rotation=90, fontsize=7.5)
    ax.set_xlim(-0.7, len(simulated) - 0.3)
    ax.grid(axis="x", visible=False)
    ax.set_title("simulated:\nno energy", fontsize=8)


def forest(rows: list[tuple[str, statistics.Estimate, str, str]], log: bool):
    """Estimates with intervals, one line each: (text, estimate, colour, marker); a figure and its axes."""
    figure, ax = plot_style.new(7.5, 1.1 + 0.27 * len(rows))
    if log:
        ax.set_xscale("log")
    for position, (_, shown, colour, marker) in enumerate(rows):
        if shown.interval:
            ax.plot(shown.interval, [position, position], "|-", color=colour, linewidth=1.6, markersize=9)
        ax.plot(shown.value, position, marker, color=colour, markersize=plot_style.size(marker, 5))
    ax.set_yticks(range(len(rows)), [row[0] for row in rows])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.grid(axis="y", visible=False)
    return figure, ax


def quality_differences(scene: Scene):
    """Paired differences of every arm to dense, with the band within which nothing is lost."""
    rows = []
    for row in scene.figures.itertuples():
        if row.difference_n:
            interval = None if pd.isna(row.difference_low) else statistics.Interval(
                row.difference_low * scene.scale, row.difference_high * scene.scale)  # fmt: skip
            figure = statistics.Estimate(row.difference * scene.scale, interval, row.difference_n)
            rows.append((row.arm, figure, *scene.mark(row.arm)))
    if not rows:
        return None
    figure, ax = forest(rows, log=False)
    ax.axvline(0, color="black", linewidth=1)
    if scene.metric == "accuracy":
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
