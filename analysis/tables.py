"""One table per task: what every arm reached, what it cost, and what of that may be compared."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis import arms, formatting, statistics
from analysis.formatting import DASH, UNKNOWN
from analysis.statistics import NOTHING, Estimate

NOTES = (
    "Means with 95 % t intervals over seeds. Density: asked for / reached, of what can be pruned in the arm's own "
    "network. Difference (to dense; of a loss, less is better) and energy ratio are paired by seed. FLOP ratios are "
    "those of dense over the arm: ideal counts selected products only, executed is what the kernels computed. "
    f"Simulated arms compute what they say they skip, so their energy cells are a dash ({DASH})."
)


def table(runs: pd.DataFrame, task: str) -> pd.DataFrame:
    """Figures of every arm of a task, one row per arm, numbers in full precision.

    Returns:
        quality, difference, energy_j, energy_ratio and cpu_s each as <name>, <name>_low, <name>_high and <name>_n;
        energies of simulated arms are None.
    """
    return pd.DataFrame([_row(runs, task, label) for label in arms.labels(runs, task)])


def _row(runs: pd.DataFrame, task: str, label: str) -> dict:
    rows = arms.arm(runs, task, label)
    first, dense = rows.iloc[0], arms.dense_label(runs, task)
    metric, simulated = arms.metric(runs, task), arms.is_simulated(runs, task, label)
    row = {
        "arm": label,
        "method": first.method,
        "family": first.family,
        "simulated": simulated,
        "density_target": arms.density_of(first.options),
        "density_prunable": _mean(rows, "prunable_density"),
        "parameter_share": _parameter_share(runs, task, label, dense),
        "runs": len(rows),
        "diverged": int((rows.status == "diverged").sum()),
        "failed": int((rows.status == "failed").sum()),
        "metric": metric,
    }
    figures = {
        "quality": statistics.mean(arms.quality(rows, f"test_{metric}")),
        "difference": _difference(runs, task, label, dense, metric),
        "energy_j": NOTHING if simulated else _energy(rows),
        "energy_ratio": _ratio(runs, task, label, dense),
        "cpu_s": NOTHING if simulated else statistics.mean(arms.quality(rows, "training_cpu_s")),
    }
    for name, figure in figures.items():
        row |= _columns(name, figure)
    row["evidence"] = None if simulated else _evidence(rows)
    row["flop_ratio_ideal"] = _flop_ratio(runs, task, label, dense, "ideal_flops")
    row["flop_ratio_executed"] = _flop_ratio(runs, task, label, dense, "executed_flops")
    return row


def _mean(rows: pd.DataFrame, column: str) -> float | None:
    return statistics.mean(arms.quality(rows, column)).value


def _parameter_share(runs: pd.DataFrame, task: str, label: str, dense: str | None) -> float | None:
    """Parameters at the end over those of dense; a density that means the same for every arm."""
    if dense is None:
        return None
    pairs = arms.paired_figures(runs, task, label, dense, "active_parameters")
    return statistics.mean(pairs.arm / pairs.baseline).value


def _columns(name: str, figure: Estimate) -> dict:
    low, high = figure.interval or (None, None)
    return {name: figure.value, f"{name}_low": low, f"{name}_high": high, f"{name}_n": figure.n}


def _difference(runs: pd.DataFrame, task: str, label: str, dense: str | None, metric: str) -> Estimate:
    """Test figure of the arm less that of dense; a loss keeps its sign, so that less is better."""
    if dense in (None, label):
        return NOTHING
    pairs = arms.paired_figures(runs, task, label, dense, f"test_{metric}")
    return statistics.mean(pairs.arm - pairs.baseline)


def _evidence(rows: pd.DataFrame) -> str | None:
    classes = sorted(set(rows.evidence[rows.status == "finished"].dropna()))
    return classes[0] if len(classes) == 1 else None


def _energy(rows: pd.DataFrame) -> Estimate:
    """Mean joules of finished runs; nothing where evidence classes would be mixed."""
    return NOTHING if _evidence(rows) is None else statistics.mean(arms.quality(rows, "training_j"))


def _ratio(runs: pd.DataFrame, task: str, label: str, dense: str | None) -> Estimate:
    if dense in (None, label):
        return NOTHING
    pairs = arms.paired_energy(runs, task, label, dense)
    return statistics.geometric_mean(pairs.baseline / pairs.arm)


def _flop_ratio(runs: pd.DataFrame, task: str, label: str, dense: str | None, column: str) -> float | None:
    if dense in (None, label):
        return None
    pairs = arms.paired_figures(runs, task, label, dense, column)
    return statistics.geometric_mean(pairs.baseline / pairs.arm).value


def formatted(figures: pd.DataFrame) -> pd.DataFrame:
    """The table as pages print it: text only, one column per quantity."""
    metric = figures.metric.iloc[0]
    names = {"accuracy": ("Test accuracy (%)", "points"), "loss": ("Test loss (nats)", "nats")}
    title, unit = names[metric]
    classes = sorted(set(figures.evidence.dropna()))
    evidence = ", ".join(formatting.EVIDENCE.get(e, e) for e in classes) or UNKNOWN
    shown = {
        "Arm": [_name(row) for row in figures.itertuples()],
        "Density": [_density(row) for row in figures.itertuples()],
        "Parameters / dense": [formatting.number(row.parameter_share) for row in figures.itertuples()],
        title: [_quality(row, metric) for row in figures.itertuples()],
        f"Difference ({unit})": [_cell(row, "difference", unit, empty=row.arm) for row in figures.itertuples()],
        f"Energy (J; {evidence})": [_cost(row, "energy_j") for row in figures.itertuples()],
        "E dense / E": [_cost(row, "energy_ratio") for row in figures.itertuples()],
        "FLOPs dense / ideal": [_plain(row.flop_ratio_ideal, row) for row in figures.itertuples()],
        "FLOPs dense / executed": [_plain(row.flop_ratio_executed, row) for row in figures.itertuples()],
        "CPU (s)": [_cost(row, "cpu_s") for row in figures.itertuples()],
    }
    return pd.DataFrame(shown)


def _name(row) -> str:
    return f"{row.arm} (simulated)" if row.simulated else row.arm


def _density(row) -> str:
    if row.density_target == 1 and row.density_prunable in (None, 1):
        return "1"
    reached = UNKNOWN if formatting.unknown(row.density_prunable) else f"{row.density_prunable:.3g}"
    return f"{row.density_target:g} / {reached}"


def _is_dense(row) -> bool:
    return row.family == "dense"


def _quality(row, metric: str) -> str:
    figure = _figure(row, "quality")
    text = formatting.estimate(figure, metric).replace(" %", "")
    notes = [f"{count} of {row.runs} {word}" for word, count in (("diverged", row.diverged), ("failed", row.failed))
             if count]  # fmt: skip
    return "; ".join([text, *notes])


def _figure(row, name: str) -> Estimate:
    value, low, high = (getattr(row, name + end) for end in ("", "_low", "_high"))
    if formatting.unknown(value):
        return NOTHING
    bounds = None if formatting.unknown(low) else statistics.Interval(low, high)
    return Estimate(value, bounds, getattr(row, f"{name}_n"))


def _cell(row, name: str, unit: str, empty: str = "") -> str:
    if _is_dense(row):
        return DASH
    figure = _figure(row, name)
    text = formatting.quantity(figure.value, unit).removesuffix(f" {unit}")
    return f"{text} {formatting.interval(figure.interval, unit)}".strip()


def _cost(row, name: str) -> str:
    """A figure that a simulated arm does not have, and that dense has no ratio of."""
    if row.simulated or (_is_dense(row) and name == "energy_ratio"):
        return DASH
    figure = _figure(row, name)
    unit = "ratio" if name == "energy_ratio" else ""
    return f"{formatting.quantity(figure.value, unit)} {formatting.interval(figure.interval, unit)}".strip()


def _plain(value: float | None, row) -> str:
    return DASH if _is_dense(row) else formatting.quantity(value, "ratio")


def write(figures: pd.DataFrame, task: str, folder: Path) -> None:
    """Write one task's table as CSV (numbers), Markdown and LaTeX (text)."""
    stem, shown = file_stem(task), formatted(figures)
    figures.to_csv(folder / f"{stem}.csv", index=False)
    escaped = shown.map(lambda text: text.replace("|", "\\|").replace("<", "&lt;"))
    markdown = escaped.to_markdown(index=False, disable_numparse=True)
    (folder / f"{stem}.md").write_text(f"## {task}\n\n{markdown}\n\n{NOTES}\n", encoding="utf-8")
    (folder / f"{stem}.tex").write_text(latex(shown, task), encoding="utf-8")


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
