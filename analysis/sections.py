"""Facts of the report that are neither a claim nor a task's main table; each function is one section's content."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from analysis import arms, formatting, statistics
from analysis.formatting import EVIDENCE, UNKNOWN
from analysis.records import Selected

# Joules per multiply-add (two FLOPs) in float32, and per byte of HBM2: Horowitz, ISSCC 2014 (45 nm); Jouppi et al.,
# ISCA 2021 (7 nm; memory 31 to 56 pJ, the lower figure here).
ADD_45_NM_J, ADD_7_NM_J, BYTE_J = 4.6e-12, 1.69e-12, 31e-12
TARGETS = (0.0, 0.01, 0.02)  # below the dense median: points of accuracy, or shares of the loss
DISAGREE = 1.10  # ratios of CPU and of wall seconds further apart than this are flagged


def first_line(runs: pd.DataFrame) -> str:
    """What the joules on the page are, before anything else is said."""
    classes = sorted(set(runs.evidence.dropna()))
    sources = ", ".join(sorted(set(runs.source.dropna())))
    if classes == ["measured"]:
        return f"Energy on this page was measured ({sources})."
    if classes == ["estimated"]:
        return "Energy on this page is a CPU-time proxy; energy was not measured."
    if classes == ["modeled"]:
        return f"Energy on this page is modeled ({sources}); energy was not measured."
    if classes in ([], ["none"]):
        return "Energy was not measured, and nothing stands in for it."
    return f"Energy on this page is of several kinds ({', '.join(classes)}), which are never compared with each other."


def control(runs: pd.DataFrame, task: str) -> str:
    """The dense-against-dense control of a task in words."""
    ratios, refused = arms.repeated_energy(runs, task)
    figure = statistics.geometric_mean(ratios)
    if figure.interval is None:
        return f"{UNKNOWN}{': ' + '; '.join(refused) if refused else ''}; without it a verdict on energy is indicative"
    holds = figure.interval.low <= 1 <= figure.interval.high
    least = max(figure.interval.high, 1 / figure.interval.low)
    word = "holds 1" if holds else "does not hold 1, so that verdicts on energy are indicative"
    smallest = f"effects below {formatting.quantity(least, 'ratio')} prove nothing"
    return f"{formatting.estimate(figure, 'ratio')}: {word}; {smallest}"


def repeats(runs: pd.DataFrame, task: str) -> str:
    """Whether the repeated dense runs ended with the same test quality."""
    dense = runs[(runs.task == task) & (runs.method == arms.DENSE) & (runs.status == "finished")]
    column = f"test_{arms.metric(runs, task)}"
    pairs = dense.pivot_table(index="seed", columns="replicate", values=column).dropna()
    if 1 not in pairs.columns or pairs.empty:
        return UNKNOWN
    return f"{int((pairs[0] == pairs[1]).sum())} of {len(pairs)} repeated dense runs gave exactly the same test figure"


def ceiling(figures: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """How far energy can fall on this machine, from the tables of all tasks."""
    rows = []
    for task, table in figures.items():
        physical = table[~table.simulated.astype(bool)]
        rows.append([task, *(_largest(physical, c) for c in ("flop_ratio_executed", "energy_ratio")),
                     formatting.quantity(fixed_cost_bound(table), "ratio")])  # fmt: skip
    titles = ("Fewest executed FLOPs of any arm", "Least energy of any arm", "Ceiling by the fixed cost of a run")
    return pd.DataFrame(rows, columns=["Task", *titles])


def _largest(table: pd.DataFrame, column: str) -> str:
    known = table.dropna(subset=[column])
    if known.empty:
        return UNKNOWN
    best = known.loc[known[column].astype(float).idxmax()]
    return f"{formatting.quantity(best[column], 'ratio')} ({best.arm})"


def fixed_cost_bound(figures: pd.DataFrame) -> float | None:
    """E_dense over the joules that a run of as many steps would take without any FLOP.

    Returns:
        None with fewer than three dense networks, or where the line does not show a fixed cost.
    """
    dense = figures[figures.method.isin([arms.DENSE, "dense_small"]) & (figures.energy_j_n > 0)]
    if len(dense) < 3 or dense.flop_ratio_executed.isna().sum() > 1:
        return None
    work = 1 / dense.flop_ratio_executed.astype(float).fillna(1.0)
    line = stats.linregress(work, dense.energy_j.astype(float))
    joules = dense.energy_j[dense.method == arms.DENSE]
    return float(joules.iloc[0] / line.intercept) if len(joules) and line.intercept > 0 else None


def energy_to_target(runs: pd.DataFrame, task: str, labels: list[str]) -> pd.DataFrame:
    """Median training joules at the first confirmed crossing of a target that dense sets; a miss is infinite.

    A crossing is confirmed by the next evaluation, the last one by itself. Quality is that of the validation split.
    """
    metric, dense = arms.metric(runs, task), arms.dense_label(runs, task)
    sign = 1 if metric == "accuracy" else -1
    last = arms.quality(arms.arm(runs, task, dense), f"validation_{metric}") if dense else []
    if not len(last):
        return pd.DataFrame()
    middle = float(np.median(last))
    goals = [middle - t if metric == "accuracy" else middle * (1 + t) for t in TARGETS]
    rows = []
    for label in labels:
        runs_of_arm = arms.arm(runs, task, label)
        curves = [c for c in runs_of_arm.curve[runs_of_arm.status != "failed"] if c is not None]
        spent = [[first_crossing(curve, metric, goal, sign) for curve in curves] for goal in goals]
        rows.append([label, *map(_median_of_reached, spent)])
    unit = "accuracy" if metric == "accuracy" else "loss"
    classes = " ".join(sorted({EVIDENCE.get(e, e) for e in runs[runs.task == task].evidence.dropna()}))
    titles = [f"J to validation {metric} {formatting.quantity(goal, unit)} ({classes})" for goal in goals]
    return pd.DataFrame(rows, columns=["Arm", *titles])


def first_crossing(curve: list[dict], metric: str, goal: float, sign: int) -> float | None:
    """Joules at the first evaluation that reaches a goal together with the one after it; None for a miss."""
    reached = [
        p.get(f"validation_{metric}") is not None and sign * p[f"validation_{metric}"] >= sign * goal for p in curve
    ]
    for i, point in enumerate(curve):
        if reached[i] and all(reached[i : i + 2]):
            return point.get("training_j")
    return None


def _median_of_reached(spent: list[float | None]) -> str:
    known = [joules for joules in spent if joules is not None]
    median = float(np.median([float("inf") if joules is None else joules for joules in spent])) if spent else np.inf
    text = formatting.number(median) if np.isfinite(median) else "not reached"
    return f"{text} ({len(known)} of {len(spent)})"


def ideal_hardware(runs: pd.DataFrame, task: str, labels: list[str]) -> pd.DataFrame:
    """Joules that executed FLOPs and modeled bytes would cost alone; a calculation, never mixed with energy."""
    rows, dense_j = [], None
    for label in labels:
        chosen = arms.arm(runs, task, label)
        flops, size = (statistics.mean(arms.quality(chosen, c)).value for c in ("executed_flops", "modeled_bytes"))
        if flops is None:
            continue
        total = flops / 2 * ADD_7_NM_J + size * BYTE_J
        dense_j = total if label == arms.dense_label(runs, task) else dense_j
        rows.append((label, flops / 2 * ADD_45_NM_J, flops / 2 * ADD_7_NM_J, size * BYTE_J, total))
    shown = [
        [label, *map(formatting.number, parts), formatting.quantity(dense_j and dense_j / parts[-1], "ratio")]
        for label, *parts in rows
    ]
    titles = [f"{name} (J, ideal)" for name in ("Arithmetic, 45 nm", "Arithmetic, 7 nm", "Memory", "7 nm + memory")]
    return pd.DataFrame(shown, columns=["Arm", *titles, "Dense / arm"])


def machine(runs: pd.DataFrame) -> list[tuple[str, str]]:
    """What the records say about where they come from."""
    versions = sorted({f"{name} {v}" for held in runs.versions.dropna() for name, v in held.items() if v})
    load = runs.load_average.dropna()
    unmetered = runs.unmetered_fraction.dropna()
    commits = _values(runs.commit.dropna().str[:12])
    changed = " with uncommitted changes" if runs.dirty.fillna(False).astype(bool).any() else ""
    return [
        ("Processor", _values(runs.cpu)),
        ("Device", _values(runs.device)),
        ("Cores, threads, precision", f"{_values(runs.cores)}, {_values(runs.threads)}, {_values(runs.precision)}"),
        ("Energy source", f"{_values(runs.source)} ({_values(runs.evidence)}), domains {_domains(runs)}"),
        ("Why this source", " ".join(sorted(set(runs.energy_reason.dropna()))) or UNKNOWN),
        ("Time outside the meter", f"at most {formatting.percent(unmetered.max(), 1)}" if len(unmetered) else UNKNOWN),
        ("Load of the machine", f"{load.min():.2f} to {load.max():.2f}" if len(load) else UNKNOWN),
        ("Platform", f"{_values(runs.platform)}, Python {_values(runs.python)}"),
        ("Versions", ", ".join(versions) or UNKNOWN),
        ("Code", f"commit {commits}{changed}" if commits != UNKNOWN else UNKNOWN),
        ("Time of the runs", f"{runs.started.min()} to {runs.started.max()}"),
    ]


def _values(column: pd.Series) -> str:
    return ", ".join(sorted({str(value) for value in column.dropna()})) or UNKNOWN


def _domains(runs: pd.DataFrame) -> str:
    return ", ".join(sorted({"+".join(d) for d in runs.domains if d})) or UNKNOWN


def totals(runs: pd.DataFrame, tuning: str | None) -> list[tuple[str, str]]:
    """What the study itself has cost, replayed work included, and what its tuning has, where that is known."""
    lines = []
    for evidence, group in runs.dropna(subset=["spent_j"]).groupby("evidence"):
        everything = sum(sum(p.values()) for p in group.phases_j.dropna())
        lines.append((f"Training, {EVIDENCE.get(evidence, evidence)}", formatting.quantity(group.spent_j.sum(), "j")))
        lines.append((f"All phases, {EVIDENCE.get(evidence, evidence)}", formatting.quantity(everything, "j")))
    seconds = sum(sum(p.values()) for p in runs.phases_s.dropna())
    return [*lines, ("Wall time", f"{seconds / 60:.1f} min"), ("Tuning", tuning or f"{UNKNOWN} in these records")]


def exclusions(selected: Selected, verdicts: list) -> list[str]:
    """What is not in the comparisons, and why."""
    runs, lines = selected.runs, list(selected.excluded)
    for task, group in runs[runs.simulated.astype(bool)].groupby("task"):
        names = ", ".join(dict.fromkeys(group.label))
        lines.append(f"{task}: {names} simulated; their quality counts, their energy does not")
    for run in selected.missing:
        repeat = " (the dense-against-dense control)" if run["replicate"] else ""
        lines.append(f"{run['task']}: {run['label']}, seed {run['seed']}{repeat} was planned and has no record")
    if selected.planned is None:
        lines.append("No plan was given, so runs that are missing cannot be named")
    rows = [(v.task, part) for v in verdicts for row in v.rows for part in (row.parts or (row,))]
    lines += [f"{task}: {reason}" for task, row in rows for reason in row.refused]
    return list(dict.fromkeys(lines))


def flagged(runs: pd.DataFrame, task: str, labels: list[str]) -> list[str]:
    """Arms whose ratio of CPU seconds and ratio of wall seconds to dense tell different stories."""
    dense, lines = arms.dense_label(runs, task), []
    for label in labels if dense else ():
        cpu, wall = (
            statistics.geometric_mean(p.baseline / p.arm).value
            for p in (arms.paired_figures(runs, task, label, dense, c) for c in ("training_cpu_s", "training_s"))
        )
        if cpu and wall and max(cpu / wall, wall / cpu) > DISAGREE:
            by_cpu, by_clock = formatting.quantity(cpu, "ratio"), formatting.quantity(wall, "ratio")
            lines.append(f"{task}: {label} saves {by_cpu} by CPU seconds and {by_clock} by the clock")
    return lines
