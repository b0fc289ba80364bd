"""Tables of the benchmarks in results/benchmark/, for the documentation.

python -m hundredfold.analysis.benchmarks [results/benchmark] [docs/benchmarks.md]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from hundredfold.analysis import markers

SIZE, TOKENS = 2048, 128  # of the layer that is shown


def tables(folder: Path) -> str:
    """Every benchmark that was made, as sections of Markdown."""
    paths = [*sorted(folder.glob("*.json")), *folder.parent.glob("gpu/card.json")]
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}
    parts = [section(found[name]) for name, section in SECTIONS.items() if name in found]
    return "\n\n".join(parts)


def overhead(data: dict[str, Any]) -> str:
    ratios = data["ratios"]
    return (
        "## What the framework costs\n\nA step of the suite over one of a plain loop, CPU seconds, the smallest model "
        f"(two layers of 32 units), Lightning and meter included: {median(ratios):.2f} (from {min(ratios):.2f} to "
        f"{max(ratios):.2f} over {len(ratios)} blocks).{_metering(data)}"
    )


def _metering(data: dict[str, Any]) -> str:
    if "metering" not in data:
        return ""
    ratios = data["metering"]
    return (
        f" Metering alone, with its thread and its ledger: {median(ratios):.3f} (from {min(ratios):.3f} to "
        f"{max(ratios):.3f})."
    )


def layers(data: dict[str, Any]) -> str:
    rows = pd.DataFrame(data["rows"])
    rows = rows[(rows["size"] == SIZE) & (rows.tokens == TOKENS) & (rows.name != "dense")]
    table = rows.pivot(index="name", columns="density", values="speedup").sort_index(axis=1, ascending=False)
    ideal = pd.DataFrame([{d: 1 / d for d in table.columns}], index=["1 / density"])
    return (
        f"## One layer\n\nTime of dense over that of the back end: a linear layer of {SIZE} x {SIZE}, forward and "
        f"backward, {TOKENS} tokens, {data['environment']['threads']} threads, by density.\n\n"
        + _markdown(pd.concat([ideal, table]), "back end")
    )


def steps(data: dict[str, Any]) -> str:
    rows = pd.DataFrame(data["rows"])
    rows = rows[rows.step.str.startswith(("compact", "csr"))]
    columns = {"model": rows.model, "step": rows.step, "time": rows.speedup, "CPU time": rows.cpu_speedup,
               "FLOPs": rows.ideal, "parameters and moments": 1 / rows.state}  # fmt: skip
    return (
        "## Whole training steps\n\nDense over the back end: half of the units in `compact`, a sixteenth in the MLP; a "
        "density of the weights in `csr`.\n\n" + _markdown(pd.DataFrame(columns), None)
    )


def methods(data: dict[str, Any]) -> str:
    share = {f"`{name}`": f"{100 * row['share']:.1f}" for name, row in data["methods"].items()}
    table = pd.DataFrame({"method": share.keys(), "share (%)": share.values()})
    table = table.sort_values("share (%)", key=lambda column: column.astype(float), kind="stable")
    return (
        f"## What deciding costs\n\nOf a method's own CPU seconds, {data['steps']} steps of two layers of 1024 units "
        "with default intervals.\n\n" + table.to_markdown(index=False, disable_numparse=True)
    )


def curve(data: dict[str, Any]) -> str:
    ours = [100 * point["validation_accuracy"] for point in data["curve"]]
    theirs = data["published"]["accuracy"][: len(ours)]
    table = pd.DataFrame({"epoch": range(1, len(ours) + 1), "validation (%)": ours, "published (%)": theirs})
    seconds = data["curve"][-1]["training_cpu_s"]
    return (
        f"## First epochs of a long recipe\n\nResNet-18 on CIFAR-10 beside {data['published']['source']} "
        f"({data['published']['recipe']}); {seconds / 60:.0f} minutes of one core. The networks differ.\n\n"
        + _markdown(table, None)
    )


def card(data: dict[str, Any]) -> str:
    rows = pd.DataFrame(data["rows"]).fillna({"code": -1})
    table = pd.DataFrame({"block": rows.block, "step": rows.step, "seconds": rows.seconds.round(1),
                          "exit code": rows.code.astype(int).astype(str).replace("-1", "–"),
                          "said last": rows.said})  # fmt: skip
    return f"## First minutes on {data['environment']['device']}\n\n" + _markdown(table, None)


SECTIONS = {"card": card, "overhead": overhead, "layers": layers, "steps": steps, "methods": methods, "curve": curve}


def _markdown(table: pd.DataFrame, index: str | None) -> str:
    """Numbers with three digits; a dash for what was not measured."""
    text = table.map(lambda cell: ("–" if pd.isna(cell) else f"{cell:.3g}") if isinstance(cell, float) else str(cell))
    text = text.rename(columns=lambda name: f"{name:g}" if isinstance(name, float) else name)
    if index is None:
        return text.to_markdown(index=False, disable_numparse=True)
    return text.rename_axis(index).to_markdown(disable_numparse=True)


def main(arguments: list[str]) -> int:
    """Exit code."""
    return markers.fill(arguments, "benchmarks", ("results/benchmark", "docs/benchmarks.md"), tables)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
