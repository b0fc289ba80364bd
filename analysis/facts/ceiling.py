"""How far energy can fall on this machine, whatever an arm skips."""

from __future__ import annotations

import pandas as pd
from scipy import stats

from hundredfold.analysis import formatting
from hundredfold.analysis.claims.no_accuracy_lost import keeps
from hundredfold.analysis.formatting import UNKNOWN
from hundredfold.analysis.schema import DENSE
from hundredfold.analysis.study import Study
from hundredfold.analysis.task import SMALL, Task


def ceiling(study: Study) -> pd.DataFrame:
    """One row per task: the fewest FLOPs and the least energy of any arm, and the bound by a run's fixed cost."""
    titles = ("Fewest executed FLOPs of any arm", "Least energy of any arm", "Ceiling by the fixed cost of a run",
              "Smallest dense network at no loss")  # fmt: skip
    rows = []
    for task in study.tasks:
        flops = {arm.label: arm.executed_ratio for arm in task.physical}
        energy = {arm.label: arm.energy_ratio.value for arm in task.physical}
        bound = formatting.quantity(fixed_cost_bound(task), "ratio")
        rows.append([task.name, _largest(flops), _largest(energy), bound, _smallest_dense(task)])
    return pd.DataFrame(rows, columns=["Task", *titles])


def _largest(ratios: dict[str, float | None]) -> str:
    """The largest ratio and the arm that has it."""
    known = {label: ratio for label, ratio in ratios.items() if ratio is not None}
    if not known:
        return UNKNOWN
    best = max(known, key=lambda label: known[label])
    return f"{formatting.quantity(known[best], 'ratio')} ({best})"


def _smallest_dense(task: Task) -> str:
    """How much smaller a dense network may be before it loses half a point or 0.01 nats, and what that alone saves."""
    kept = list(filter(keeps, task.of_method(SMALL)))
    if not kept:
        return "all that were tried lose more"
    best = min(kept, key=lambda arm: arm.parameter_share or 1.0)
    saved = formatting.quantity(best.energy_ratio.value, "ratio")
    return f"{formatting.percent(best.parameter_share, 1)} of the parameters, {saved}"


def fixed_cost_bound(task: Task) -> float | None:
    """E_dense over the joules that a run of as many steps would take without any FLOP.

    Returns:
        None with fewer than three dense networks, or where the line does not show a fixed cost.
    """
    networks = [arm for arm in task.arms if arm.method in (DENSE, SMALL) and arm.energy.n]
    unknown = sum(arm.executed_ratio is None for arm in networks)  # dense itself is one
    if len(networks) < 3 or unknown > 1:
        return None
    work = [1 / (arm.executed_ratio or 1.0) for arm in networks]
    line = stats.linregress(work, [arm.energy.value for arm in networks])
    dense = next((arm for arm in networks if arm.method == DENSE), None)
    if dense is None or line.intercept <= 0:
        return None
    bound, most = dense.energy.value / line.intercept, dense.energy.value / min(arm.energy.value for arm in networks)
    return float(bound) if bound > most else None  # a network below the line shows that it is none
