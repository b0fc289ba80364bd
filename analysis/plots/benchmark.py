"""How much of the ideal every back end realises, from the benchmark of layers (results/benchmark/layers.json)."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from hundredfold.analysis.plots import style

NAMES = ("compact", "csr", "block_sparse", "sparseprop", "torch csr", "scipy", "torch bsr (forward only)")
OURS = ("compact", "csr", "block_sparse")


def load(path: Path) -> pd.DataFrame | None:
    """One row per size, tokens, density and back end; None where nothing was measured.

    Raises:
        ValueError: the file is not such a benchmark.
    """
    try:
        rows = pd.DataFrame(json.loads(path.read_text(encoding="utf-8"))["rows"])
        return rows[rows.name.isin(NAMES)][["size", "tokens", "density", "name", "ideal", "speedup"]]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"{path}: not a benchmark of layers ({error!r}); make it again by `make benchmark`") from None


def draw(rows: pd.DataFrame, stem: Path) -> str:
    """Write the plot as PNG and SVG; returns its caption."""
    cases = list(rows[["size", "tokens"]].drop_duplicates().itertuples(index=False))
    marks = style.marks(list(NAMES))
    figure, axes = style.new(3.1 * len(cases) + 1.6, 3.4, ncols=len(cases), sharey=True, squeeze=False)
    handles = {}
    for ax, (size, tokens) in zip(axes[0], cases, strict=True):
        here = rows[(rows["size"] == size) & (rows.tokens == tokens)]
        for name in [name for name in NAMES if (here.name == name).any()]:
            line = here[here.name == name].sort_values("density")
            colour, marker = marks[name]
            look = {"lw": 1.6, "ls": "-"} if name in OURS else {"lw": 1.0, "ls": "--"}
            (handles[name],) = ax.plot(
                line.density, line.speedup / line.ideal, color=colour, marker=marker, ms=style.size(marker, 4.5),
                **look,
            )  # fmt: skip
        ax.set_xscale("log")
        style.log_ticks(ax.xaxis)
        ax.invert_xaxis()
        ax.axhline(1, color="#999999", lw=0.8)
        ax.set_title(f"{size} x {size}, {tokens} tokens")
        ax.set_xlabel("density")
    axes[0][0].set_ylabel("fraction of the ideal saving of time")
    axes[0][0].set_ylim(bottom=0)
    style.legend_right(figure, list(handles.values()), list(handles))
    style.save(figure, stem)
    return (
        "One linear layer, forward and backward pass: speed-up over dense divided by 1 / density; medians of "
        "interleaved repetitions. Solid lines are back ends of this suite, dashed ones other libraries."
    )
