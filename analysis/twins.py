"""Whether a random twin is a control: that it costs what its method costs."""

from __future__ import annotations

import numpy as np

from hundredfold.analysis.arm import Arm
from hundredfold.analysis.task import Task

CONTRACT = 0.01  # share by which the FLOPs of a twin's steps may differ from its method's


def broken(twin: Arm, task: Task) -> str | None:
    """Why an arm is no control of the method that it is the twin of; None if it is one, or no twin."""
    for arm in task.of_method(twin.twin_of) if twin.twin_of else ():
        if _options(arm) == _options(twin):
            for column in ("executed_flops", "ideal_flops"):
                ratio = _steps(twin, column) / _steps(arm, column)
                if abs(ratio - 1) > CONTRACT:
                    return f"computes {ratio:.3g} of what {arm.label} computes ({column.replace('_flops', '')} FLOPs)"
    return None


def _steps(arm: Arm, column: str) -> float:
    """Mean FLOPs of the training steps, without those of deciding."""
    return float(np.mean([getattr(run, column) - run.selection_flops for run in arm.finished.values()]))


def _options(arm: Arm) -> dict:
    """What decides about its schedule."""
    options = arm.first.options
    return {name: value for name, value in options.get("of", options).items() if name != "name"}
