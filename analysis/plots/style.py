"""One look for every plot: colours that colour-blind readers can tell apart, a marker per method, labels that avoid
each other."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

# Okabe and Ito's eight colours, then four of Paul Tol's muted set.
COLOURS = (
    "#000000", "#56B4E9", "#0072B2", "#D55E00", "#CC79A7", "#E69F00", "#009E73", "#44AA99", "#882255", "#999933",
    "#AA4499", "#F0E442",
)  # fmt: skip
MARKERS = "osDv^P*X<>hp"
LINES = ("-", "--", ":", "-.")
PHASES = {"train": "#0072B2", "select": "#D55E00", "warmup": "#E69F00", "eval": "#009E73"}
OTHER_PHASES = "#999999"
SETTINGS: Any = {
    "figure.dpi": 150,
    "savefig.dpi": 150,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.hashsalt": "analysis",
}
OFFSETS = [(6, 5), (6, -11), (-6, 5), (-6, -11), (0, 9), (0, -15), (10, -3), (-10, -3), (14, 12), (-14, 12), (14, -18),
           (-14, -18)]  # fmt: skip


def marks(methods: list[str]) -> dict[str, tuple[str, str]]:
    """Method -> (colour, marker), the same on every plot of a report; pairs differ for as many methods as possible."""
    count = len(COLOURS)
    return {m: (COLOURS[i % count], MARKERS[(i + i // count) % len(MARKERS)]) for i, m in enumerate(methods)}


def size(marker: str, points: float) -> float:
    """Size at which a marker looks as large as a disc of so many points; thin shapes need more."""
    return points * {"*": 1.5, "P": 1.2, "X": 1.2}.get(marker, 1.0)


def new(width: float, height: float, **layout: Any) -> tuple[Figure, Any]:
    """A figure in the common style and its axes, one or an array as `plt.subplots` gives them; sizes in inches."""
    with plt.rc_context(SETTINGS):
        return plt.subplots(figsize=(width, height), layout="constrained", **layout)


def save(figure: Figure, stem: Path) -> None:
    """Write PNG and SVG, byte for byte the same for the same records."""
    place(figure)
    with plt.rc_context(SETTINGS):
        figure.savefig(stem.with_suffix(".png"), metadata={"Software": None})
    stem.with_suffix(".svg").write_bytes(svg(figure))


def place(figure: Figure) -> None:
    """Find the places of axes and legends, once: to find them again takes longer than to draw."""
    engine = figure.get_layout_engine()
    if engine is not None:
        with plt.rc_context(SETTINGS):
            engine.execute(figure)
        figure.set_layout_engine(None)


def svg(figure: Figure) -> bytes:
    """The figure as SVG; it is closed."""
    file = io.BytesIO()
    with plt.rc_context(SETTINGS):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    return file.getvalue()


def log_ticks(axis: Axis, widest: float = 500.0) -> None:
    """Plain numbers at 1, 2 and 5 of every decade, or at the decades alone where the ends are `widest` times apart."""
    low, high = axis.get_view_interval()
    many = max(high / low, low / high) > widest
    axis.set_major_locator(LogLocator(subs=(1.0,) if many else (1.0, 2.0, 5.0), numticks=20))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def label_points(ax: Axes, points: list[tuple[float, float, str, str]]) -> None:
    """Write a short text beside each point (x, y, text, colour), where it covers neither a point nor another text."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    place(figure)
    renderer: Any = figure.canvas.get_renderer()  # type: ignore[attr-defined]  # of Agg
    centres = [ax.transData.transform((x, y)) for x, y, _, _ in points]
    taken: list[Any] = []
    for x, y, text, colour in points:
        best, least = None, float("inf")
        for dx, dy in OFFSETS:
            side = "left" if dx > 0 else "right" if dx < 0 else "center"
            note = ax.annotate(
                text, (x, y), (dx, dy), textcoords="offset points", ha=side, fontsize=7.5, color=colour, zorder=6,
                path_effects=[patheffects.withStroke(linewidth=2.5, foreground="white")],
            )  # fmt: skip
            box = note.get_window_extent(renderer).padded(2)
            hits = sum(box.overlaps(other) for other in taken) * 3
            hits += sum(box.x0 - 4 < cx < box.x1 + 4 and box.y0 - 4 < cy < box.y1 + 4 for cx, cy in centres)
            hits += 2 * (box.x0 < ax.bbox.x0 or box.x1 > ax.bbox.x1 or box.y0 < ax.bbox.y0 or box.y1 > ax.bbox.y1)
            if hits < least:
                if best:
                    best.remove()
                best, least, kept = note, hits, box
            else:
                note.remove()
        taken.append(kept)


def legend_right(figure: Figure, handles: list, titles: list[str], **options) -> None:
    """A legend outside of the axes, so that it covers nothing."""
    figure.legend(handles, titles, loc="outside right upper", **{"fontsize": 8, "frameon": False} | options)
