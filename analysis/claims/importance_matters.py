"""The text says that the importance of activations decides: the method against its random twin.

A twin has the same schedule, sizes and kernels, and draws every choice. Of several twins at a density the best on the
validation split is the opponent. Expected: supported, since random regrowth alone does harm.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from analysis import arms
from analysis.claims.base import Claim, Row
from analysis.claims.dynamic_beats_static import best_on_validation
from analysis.comparisons import quality_row
from analysis.statistics import Region


@dataclass(frozen=True)
class ImportanceMatters(Claim):
    """Difference to the random twin of the same density, for every arm of the method that has one."""

    def rows(self, runs: pd.DataFrame, task: str) -> list[Row]:
        chosen = arms.main_runs(runs, task)
        twins = chosen[chosen.twin_of == self.method].drop_duplicates("label")
        densities = {label: arms.density_of(o) for label, o in zip(twins.label, twins.options, strict=True)}
        rows = []
        for label, density in arms.of_method(runs, task, self.method).items():
            same = [twin for twin, other in densities.items() if arms.nearly(density, other)]
            twin = best_on_validation(runs, task, same)
            if twin:
                rows.append(quality_row(runs, task, label, twin, self.region_for(runs, task)))
        return rows


CLAIM = ImportanceMatters(
    name="importance_matters",
    title="Importance matters",
    order=70,
    statement="Choosing by importance is more accurate than choosing at random.",
    loss_statement="Choosing by importance gives a lower loss than choosing at random.",
    estimand="difference of test accuracy to the random twin of the same density, paired by seed",
    loss_estimand="difference of test loss to the random twin of the same density, paired by seed",
    region=Region(0.0, strict=True),
    uses_energy=False,
)
