"""What executed FLOPs and bytes would cost alone: a calculation, never mixed with energy."""

from __future__ import annotations

import pandas as pd

from hundredfold.analysis import formatting
from hundredfold.analysis.task import Task

# Joules per multiply-add (two FLOPs) in float32, and per byte of HBM2: Horowitz, ISSCC 2014 (45 nm); Jouppi et al.,
# ISCA 2021 (7 nm; memory 31 to 56 pJ, the lower figure here).
ADD_45_NM_J, ADD_7_NM_J, BYTE_J = 4.6e-12, 1.69e-12, 31e-12


def ideal_hardware(task: Task) -> pd.DataFrame:
    """Joules of a run's arithmetic and of its modeled traffic, mean over seeds; physical arms only."""
    rows, dense_j = [], None
    for arm in task.physical:
        flops, size = arm.mean("executed_flops").value, arm.mean("modeled_bytes").value
        if flops is None or size is None:
            continue
        old, new, memory = flops / 2 * ADD_45_NM_J, flops / 2 * ADD_7_NM_J, size * BYTE_J
        dense_j = new + memory if arm is task.dense else dense_j
        rows.append((arm.label, old, new, memory, new + memory))
    shown = [
        [label, *map(formatting.number, parts), formatting.quantity(dense_j and dense_j / parts[-1], "ratio")]
        for label, *parts in rows
    ]
    titles = [f"{name} (J, ideal)" for name in ("Arithmetic, 45 nm", "Arithmetic, 7 nm", "Memory", "7 nm + memory")]
    return pd.DataFrame(shown, columns=["Arm", *titles, "Dense / arm"])
