"""The text says that dynamic sparsity beats static pruning: the best dynamic arm against the best static one.

At each density that both have; which arm is best is picked on the validation split, the comparison is made on the test
set. Simulated arms take part, since only their accuracy counts. Expected: supported at low densities, if anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from analysis import arms
from analysis.claims.base import Claim, Row
from analysis.comparisons import quality_row
from analysis.statistics import Region


@dataclass(frozen=True)
class DynamicBeatsStatic(Claim):
    """Difference of two families at equal density; the method does not enter."""

    def rows(self, runs: pd.DataFrame, task: str) -> list[Row]:
        dynamic, static = (_by_density(runs, task, family) for family in ("dynamic", "static"))
        rows = []
        for density in sorted(set(dynamic) & set(static), reverse=True):
            ours, theirs = (best_on_validation(runs, task, found[density]) for found in (dynamic, static))
            if ours and theirs:
                rows.append(quality_row(runs, task, ours, theirs, self.region_for(runs, task)))
        return rows


def _by_density(runs: pd.DataFrame, task: str, family: str) -> dict[float, list[str]]:
    chosen = arms.main_runs(runs, task)
    chosen = chosen[chosen.family == family].drop_duplicates("label")
    found: dict[float, list[str]] = {}
    for label, options in zip(chosen.label, chosen.options, strict=True):
        found.setdefault(round(arms.density_of(options), 6), []).append(label)
    return found


def best_on_validation(runs: pd.DataFrame, task: str, labels: list[str]) -> str | None:
    """The arm with the best mean on the validation split, a diverged arm last; None if no arm finished."""
    accuracy = arms.metric(runs, task) == "accuracy"
    column = "validation_accuracy" if accuracy else "validation_loss"
    ranked = []
    for label in labels:
        rows = arms.arm(runs, task, label)
        figures = arms.quality(rows, column)
        if len(figures):
            mean = float(figures.mean())
            ranked.append(((rows.status == "diverged").sum(), -mean if accuracy else mean, label))
    return min(ranked)[2] if ranked else None


CLAIM = DynamicBeatsStatic(
    name="dynamic_beats_static",
    title="Dynamic beats static",
    order=60,
    statement="The best dynamic sparse arm is more accurate than the best static one of the same density.",
    loss_statement="The best dynamic sparse arm has a lower loss than the best static one of the same density.",
    estimand="difference of test accuracy, paired by seed, best arm of each family picked on validation",
    loss_estimand="difference of test loss, paired by seed, best arm of each family picked on validation",
    region=Region(0.0, strict=True),
    uses_energy=False,
)
