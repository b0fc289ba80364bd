"""One table per task: what every arm reached, what it cost, and what of that may be compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from hundredfold.analysis import formatting
from hundredfold.analysis.arm import Arm
from hundredfold.analysis.formatting import DASH, UNKNOWN
from hundredfold.analysis.inert import inert
from hundredfold.analysis.statistics import Estimate
from hundredfold.analysis.task import Task

QUALITY = {"accuracy": ("Test accuracy (%)", "points"), "loss": ("Test loss (nats)", "nats")}  # and of differences

NOTES = (
    "Means with 95 % t intervals over seeds. Density: asked for / reached, of what can be pruned in the arm's own "
    "network. Difference (to dense; of a loss, less is better) and energy ratio are paired by seed. FLOP ratios are "
    "those of dense over the arm: ideal counts selected products only, executed is what the kernels computed. "
    f"Simulated arms compute what they say they skip, so their energy cells are a dash ({DASH}). An inert arm's "
    "selection never acted; the exclusions say why."
)


def table(task: Task) -> pd.DataFrame:
    """Figures of every arm of a task, one row per arm, numbers in full precision.

    Returns:
        quality, difference, energy_j, energy_ratio and cpu_s each as <name>, <name>_low, <name>_high and <name>_n;
        energies of simulated arms are None.
    """
    return pd.DataFrame([_numbers(arm, task) for arm in task.arms])


def _numbers(arm: Arm, task: Task) -> dict[str, Any]:
    row: dict[str, Any] = {
        "arm": arm.label,
        "method": arm.method,
        "family": arm.family,
        "simulated": arm.simulated,
        "inert": inert(arm, task),
        "density_target": arm.density,
        "density_prunable": arm.mean("prunable_density").value,
        "parameter_share": arm.parameter_share,
        "runs": len(arm.runs),
        "diverged": arm.count("diverged"),
        "failed": arm.count("failed"),
        "metric": arm.metric,
    }
    figures = {
        "quality": arm.quality,
        "difference": arm.difference,
        "energy_j": arm.energy,
        "energy_ratio": arm.energy_ratio,
        "cpu_s": arm.cpu,
    }
    for name, figure in figures.items():
        low, high = figure.interval or (None, None)
        row |= {name: figure.value, f"{name}_low": low, f"{name}_high": high, f"{name}_n": figure.n}
    ratios = {"flop_ratio_ideal": arm.ideal_ratio, "flop_ratio_executed": arm.executed_ratio}
    return row | {"evidence": arm.evidence} | ratios


def formatted(task: Task) -> pd.DataFrame:
    """The table as pages print it: text only, one column per quantity."""
    quality, unit = QUALITY[task.metric]
    evidence = ", ".join(formatting.EVIDENCE[one] for one in task.evidence) or UNKNOWN
    columns: dict[str, Callable[[Arm], str]] = {
        "Arm": lambda arm: _label(arm, task),
        "Density": _density,
        "Parameters / dense": lambda arm: formatting.number(arm.parameter_share),
        quality: _quality,
        f"Difference ({unit})": lambda arm: _beside_dense(arm, _cell(arm.difference, unit)),
        f"Energy (J; {evidence})": lambda arm: _physical(arm, _cell(arm.energy)),
        "E dense / E": lambda arm: _physical(arm, _beside_dense(arm, _cell(arm.energy_ratio, "ratio"))),
        "FLOPs dense / ideal": lambda arm: _beside_dense(arm, formatting.quantity(arm.ideal_ratio, "ratio")),
        "FLOPs dense / executed": lambda arm: _beside_dense(arm, formatting.quantity(arm.executed_ratio, "ratio")),
        "CPU (s)": lambda arm: _physical(arm, _cell(arm.cpu)),
    }
    return pd.DataFrame({title: [cell(arm) for arm in task.arms] for title, cell in columns.items()})


def _label(arm: Arm, task: Task) -> str:
    marks = (["simulated"] if arm.simulated else []) + (["inert"] if inert(arm, task) else [])
    return f"{arm.label} ({', '.join(marks)})" if marks else arm.label


def _density(arm: Arm) -> str:
    reached = arm.mean("prunable_density").value
    if arm.density == 1 and reached in (None, 1):
        return "1"
    return f"{arm.density:g} / {UNKNOWN if reached is None else f'{reached:.3g}'}"


def _quality(arm: Arm) -> str:
    text = formatting.estimate(arm.quality, arm.metric).replace(" %", "")
    counts = {word: arm.count(word) for word in ("diverged", "failed")}
    return "; ".join([text, *(f"{count} of {len(arm.runs)} {word}" for word, count in counts.items() if count)])


def _cell(figure: Estimate, unit: str = "") -> str:
    """A mean and its interval; the table's head has the unit of a difference."""
    text = formatting.quantity(figure.value, unit).removesuffix(f" {unit}")
    return f"{text} {formatting.interval(figure.interval, unit)}".strip()


def _beside_dense(arm: Arm, text: str) -> str:
    """A figure that compares with dense, which dense itself does not have."""
    return DASH if arm.family == "dense" else text


def _physical(arm: Arm, text: str) -> str:
    """A figure that a simulated arm does not have."""
    return DASH if arm.simulated else text


def write(task: Task, folder: Path) -> None:
    """Write one task's table as CSV (numbers), Markdown and LaTeX (text)."""
    stem, shown = file_stem(task.name), formatted(task)
    table(task).to_csv(folder / f"{stem}.csv", index=False)
    escaped = shown.map(lambda text: text.replace("|", "\\|").replace("<", "&lt;"))
    markdown = escaped.to_markdown(index=False, disable_numparse=True)
    (folder / f"{stem}.md").write_text(f"## {task.name}\n\n{markdown}\n\n{NOTES}\n", encoding="utf-8")
    (folder / f"{stem}.tex").write_text(latex(shown, task.name), encoding="utf-8")


def latex(shown: pd.DataFrame, task: str) -> str:
    """A table for booktabs and graphicx, every character of the text escaped."""
    safe = shown.map(latex_escape)
    safe.columns = [latex_escape(name) for name in shown.columns]
    text = safe.style.hide(axis="index").to_latex(
        hrules=True, column_format="l" * safe.shape[1], caption=latex_escape(f"{task}. {NOTES}"), position="htbp"
    )
    return "% Needs \\usepackage{booktabs,graphicx}\n" + text.replace(
        "\\begin{tabular}", "\\resizebox{\\textwidth}{!}{%\n\\begin{tabular}"
    ).replace("\\end{tabular}", "\\end{tabular}}")


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    DASH: "--", "−": "$-$", "[": "{[}", "]": "{]}",
}  # fmt: skip


def latex_escape(text: str) -> str:
    """Text as LaTeX prints it literally."""
    return "".join(_LATEX.get(character, character) for character in text)


def file_stem(task: str) -> str:
    """A task's name as part of a file name."""
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in task)
