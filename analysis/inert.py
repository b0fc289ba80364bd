"""Arms whose selection never acted: what they show is that their setting was too short, not what their method does."""

from __future__ import annotations

from hundredfold.analysis.arm import Arm
from hundredfold.analysis.task import Task

LEAST_UPDATES = 5  # decisions of a gradual method, below which a run says little of it
LEFT_OUT = 0.001  # a smaller share of dense's FLOPs is nothing
DENSITY = 0.1  # share by which a density may miss the one that was asked for
BY_WEIGHTS = ("static", "dynamic")  # families whose density is that of their weights, unless units leave


def inert(arm: Arm, task: Task) -> str | None:
    """Why an arm tells little of its method; None if it acted."""
    if arm.family in ("dense", "dense_control") or not len(arm.finished):
        return None
    if (twin := _same_weights(arm, task)) is not None:
        return f"ends with the weights of {twin}"
    scheduled = arm.figures("scheduled_updates")
    if len(scheduled) and min(scheduled.values()) < LEAST_UPDATES:
        return f"decides {int(min(scheduled.values()))} times in a run, {LEAST_UPDATES} are the least"
    if _leaves_nothing_out(arm):
        return "leaves nothing out"
    reached = arm.mean("prunable_density").value
    by_weights = arm.family in BY_WEIGHTS and not any(arm.figures("unit_groups").values())
    if by_weights and abs(reached / arm.density - 1) > DENSITY and arm.density < 1:
        return f"ends at density {reached:.3g} where {arm.density:g} was asked for"
    return None


def _same_weights(arm: Arm, task: Task) -> str | None:
    """An arm that ends with the same weights at every seed that both finished."""
    for other in task.arms:
        if other is not arm and other.method != arm.twin_of:
            mine, theirs = arm.figures("weights_sha256"), other.figures("weights_sha256")
            shared = mine.keys() & theirs.keys()
            if shared and all(mine[seed] == theirs[seed] for seed in shared):
                return other.label
    return None


def _leaves_nothing_out(arm: Arm) -> bool:
    """Whether it has computed and selected what dense training does."""
    ratios = arm.executed_ratio, arm.ideal_ratio
    return arm.family != "control" and all(ratio and abs(ratio - 1) < LEFT_OUT for ratio in ratios)
