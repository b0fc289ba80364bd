"""Arms of a task and the pairs that two of them form, seed by seed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

DENSE = "dense"
FLAGSHIP = "dsc"  # the method that the verdict is about, fixed before any run
FAMILIES = ("dense", "dense_control", "neurons", "selective", "control", "dynamic", "static")  # order in tables
UNMETERED = 0.02  # a run with a larger share outside the meter is compared with nothing


class Pairs(NamedTuple):
    """One figure per seed that two arms share.

    Attributes:
        arm, baseline: [n] figures of the two.
        misses: runs of the arm that diverged, which no figure stands for.
        runs: runs of the arm that have a record.
        refused: why runs were left out, each reason once.
        evidence: class of the figures, if they are joules.
    """

    arm: np.ndarray
    baseline: np.ndarray
    misses: int
    runs: int
    refused: tuple[str, ...]
    evidence: str | None = None


def main_runs(runs: pd.DataFrame, task: str) -> pd.DataFrame:
    """Runs of a task without repetitions of the same configuration."""
    return runs[(runs.task == task) & (runs.replicate == 0)]


def labels(runs: pd.DataFrame, task: str) -> list[str]:
    """Arms of a task in the order in which tables show them: by family, method, and falling density."""
    first = main_runs(runs, task).groupby("label", sort=False).first()
    first["density"] = [density_of(options) for options in first.options]
    first["rank"] = [FAMILIES.index(f) if f in FAMILIES else len(FAMILIES) for f in first.family]
    # a control stands beside its method, a simulated arm behind the physical ones
    order = first.sort_values(["simulated", "rank", "method", "density"], ascending=[True, True, True, False])
    return list(order.index)


def density_of(options: dict) -> float:
    """Density that an arm was asked for; 1 for an arm without one."""
    density = options.get("density")
    return 1.0 if density is None else float(density)


def arm(runs: pd.DataFrame, task: str, label: str) -> pd.DataFrame:
    """Runs of one arm, by seed."""
    chosen = main_runs(runs, task)
    return chosen[chosen.label == label].set_index("seed").sort_index()


def of_method(runs: pd.DataFrame, task: str, method: str) -> dict[str, float]:
    """Arms of one method, label -> density, largest first."""
    chosen = main_runs(runs, task)
    chosen = chosen[chosen.method == method].drop_duplicates("label")
    found = {label: density_of(options) for label, options in zip(chosen.label, chosen.options, strict=True)}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def dense_label(runs: pd.DataFrame, task: str) -> str | None:
    """The dense arm of a task; None if it has no record."""
    found = of_method(runs, task, DENSE)
    return next(iter(found), None)


def metric(runs: pd.DataFrame, task: str) -> str:
    """What a task is judged by: accuracy (a fraction) or loss (nats per token)."""
    known = runs[(runs.task == task)].metric.dropna()
    return "accuracy" if known.empty else known.iloc[0]


def is_simulated(runs: pd.DataFrame, task: str, label: str) -> bool:
    """Whether any run of an arm computed what it says it skips."""
    return bool(arm(runs, task, label).simulated.any())


def quality(rows: pd.DataFrame, column: str) -> pd.Series:
    """Finished figures of one arm, by seed."""
    return rows.loc[rows.status == "finished", column].dropna()


def paired_figures(runs: pd.DataFrame, task: str, label: str, baseline: str, column: str) -> Pairs:
    """Figures of two arms at the seeds that both finished; `column` as in the table of records."""
    one, other = arm(runs, task, label), arm(runs, task, baseline)
    figures = pd.concat([quality(one, column), quality(other, column)], axis=1, join="inner")
    refused = _lost(one, label) + _lost(other, baseline)
    if (other.status == "diverged").any():
        refused += (f"{baseline} diverged in {(other.status == 'diverged').sum()} of {len(other)} runs",)
    values = figures.to_numpy(dtype=float)
    return Pairs(values[:, 0], values[:, 1], int((one.status == "diverged").sum()), len(one), refused)


def _lost(rows: pd.DataFrame, label: str) -> tuple[str, ...]:
    failed = int((rows.status == "failed").sum())
    return (f"{label}: {failed} of {len(rows)} runs failed",) if failed else ()


def paired_energy(runs: pd.DataFrame, task: str, label: str, baseline: str) -> Pairs:
    """Training joules of two arms at the seeds where a ratio of them means something."""
    one, other = arm(runs, task, label), arm(runs, task, baseline)
    pairs, refused, evidence = [], list(_lost(one, label) + _lost(other, baseline)), set()
    for seed in one.index.intersection(other.index):
        reason = incomparable(one.loc[seed], other.loc[seed])
        if reason is None:
            pairs.append((one.loc[seed].training_j, other.loc[seed].training_j))
            evidence.add(one.loc[seed].evidence)
        elif reason not in refused:
            refused.append(reason)
    values = np.array(pairs, dtype=float).reshape(-1, 2)
    misses = int((one.status == "diverged").sum())
    if len(evidence) > 1:  # each pair agrees within itself, but their mean would mix classes
        mixed = f"evidence differs between seeds ({', '.join(sorted(evidence))})"
        return Pairs(values[:0, 0], values[:0, 1], misses, len(one), (*refused, mixed))
    return Pairs(values[:, 0], values[:, 1], misses, len(one), tuple(refused), next(iter(evidence), None))


def incomparable(one: pd.Series, other: pd.Series) -> str | None:
    """Why the energies of two runs must not be divided; None if they may."""
    for run in (one, other):
        if run.simulated:
            return f"{run.label} is simulated: it computes what it says it skips"
        if run.status != "finished":
            return f"{run.label} {run.status}"
        if pd.isna(run.training_j):
            return "energy was not measured"
        if run.unmetered_fraction > UNMETERED:
            return f"{run.label}: {run.unmetered_fraction:.1%} of the run was outside the meter"
    for name in ("evidence", "source", "domains", "device_key"):
        if one[name] != other[name]:
            return f"{name.replace('_', ' ')} differs ({_plain(one[name])} against {_plain(other[name])})"
    return None


def _plain(value: object) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)


def repeated_energy(runs: pd.DataFrame, task: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """The A/A control: joules of dense over joules of dense once more, seed by seed, and why pairs were refused."""
    dense = runs[(runs.task == task) & (runs.method == DENSE)]
    again = dense[dense.replicate == 1].set_index("seed")
    first = dense[dense.replicate == 0].set_index("seed")
    ratios, refused = [], {}
    for seed in first.index.intersection(again.index):
        reason = incomparable(first.loc[seed], again.loc[seed])
        if reason is None:
            ratios.append(first.loc[seed].training_j / again.loc[seed].training_j)
        else:
            refused[reason] = None
    return np.array(ratios), tuple(refused)


def rival(runs: pd.DataFrame, task: str, density: float) -> str | None:
    """The equally small dense network: the arm of dense_small with the nearest density."""
    small = of_method(runs, task, "dense_small")
    return min(small, key=lambda label: abs(np.log(small[label] / density)), default=None)


def nearly(first: float, second: float) -> bool:
    """Whether two densities are the same but for rounding."""
    return bool(np.isclose(first, second, rtol=1e-3))
