"""The ways in which savings get inflated, and what the records of this study answer to each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from hundredfold.analysis import formatting
from hundredfold.analysis.arm import Arm
from hundredfold.analysis.baseline import uncertified
from hundredfold.analysis.claims import NOT_JUDGED
from hundredfold.analysis.contract import UNMETERED
from hundredfold.analysis.facts.profiles import LEAST_TASKS
from hundredfold.analysis.formatting import UNKNOWN
from hundredfold.analysis.schema import TRAINING
from hundredfold.analysis.study import Study


class Answer(NamedTuple):
    """One way to inflate a saving, and whether it was taken here: "no", "yes" or "not known", with the reason."""

    inflation: str
    word: str
    reason: str


def checklist(study: Study, tuning: str | None) -> list[Answer]:
    """An answer to each inflation, from the records alone.

    Args:
        tuning: what choosing the recipes has cost; None if it is not known.
    """
    runs = study.runs[study.runs.status == "finished"]
    return [Answer(*answer) for answer in _answers(study, runs, tuning)]


def _answers(study: Study, runs: pd.DataFrame, tuning: str | None) -> Iterator[tuple[str, str, str]]:
    physical = [arm for task in study.tasks for arm in task.physical]
    weak = {task.name: reason for task in study.tasks if (reason := uncertified(task))}
    yield "A weak dense baseline", _word(weak), _list(weak) or "every dense baseline is certified"
    cut = [arm.label for arm in physical if arm is arm.dense and _ends_early(arm)]
    yield "Dense compared in mid-schedule", _word(cut), _list(cut) or "every dense run decays its rate to the end"
    classes = ", ".join(sorted(set(runs.evidence.dropna()))) or UNKNOWN
    told = f"joules are {classes}; FLOPs stand in columns of their own"
    yield "FLOPs told as energy", _word("modeled" in classes), told
    yield "Multiplying by zero told as a saving", "no", f"{sum(study.runs.simulated)} simulated runs have no energy"
    share = runs.phases_j.dropna().map(_training_share)
    told = f"training is {formatting.percent(share.median())} of what a run draws; the rest stands beside it"
    told = f"a step is metered whole, with all decisions; {told}" if len(share) else UNKNOWN
    yield "Only a part of the step counted", "no", told
    outside = int((runs.unmetered_fraction > UNMETERED).sum())
    told = f"{outside} of {len(runs)} runs have over {formatting.percent(UNMETERED)} of it and no ratio"
    yield "Work outside of the meter", _word(outside), told
    found = _list(runs[runs.method == "dsc_frozen"].label)
    told = f"{found} starts from units found by another run" if found else "every arm starts from nothing"
    yield "Search or pre-training left out", _word(found), told
    yield "Inference told as training", "no", "predicting the test set is a phase of its own"
    for name, column in (("Other hardware", "device_key"), ("Other precision", "precision"), ("Other code", "commit")):
        kinds = runs[column].dropna().nunique()
        yield name, _word(kinds > 1), f"{kinds} in these records; what differs is not compared"
    seeds = [len(arm.finished) for arm in physical]
    told = f"all seeds count, {min(seeds)} to {max(seeds)} an arm" if seeds else UNKNOWN
    told += "; the test set is read once, at the end"
    yield "Best seed, best epoch", "no", told
    yield "Easy tasks only", _word(len(study.tasks) < LEAST_TASKS), f"{len(study.tasks)} tasks, all of them small"
    points: dict[str, set[float]] = {}
    for arm in physical:
        if arm.family not in NOT_JUDGED:
            points.setdefault(arm.method, set()).add(arm.density)
    few = [name for name, densities in points.items() if len(densities) < 2]
    yield "One operating point", _word(few), _list(few) and f"{_list(few)} at one density" or "several densities each"
    gaps = {task.name: task.dense.mean("gap").value for task in study.tasks if task.dense is not None}
    large = [f"{name} {gap:.2g}" for name, gap in gaps.items() if gap is not None]
    told = f"test loss less training loss of dense, nats: {', '.join(large)}" if large else UNKNOWN
    yield "Mere regularisation of a small data set", "not known", f"{told}; small dense networks stand beside"
    longer = [arm.label for arm in physical if _steps(arm) > 1.001 * _steps(arm.dense)]
    yield "Cheaper steps, but more of them", _word(longer), _list(longer) or "no arm takes more steps than dense"
    told = tuning or "the recipes were chosen by other runs, which the header of the suite names"
    yield "Tuning left out", "no" if tuning else "not known", told


def _word(found: object) -> str:
    return "yes" if found else "no"


def _list(names: object) -> str:
    if isinstance(names, dict):
        return "; ".join(f"{name}: {reason}" for name, reason in names.items())
    return ", ".join(dict.fromkeys(map(str, names)))  # type: ignore[call-overload]


def _ends_early(arm: Arm) -> bool:
    return any(run.curve and run.curve[-1].fraction < 1 for run in arm.finished.values())


def _steps(arm: Arm | None) -> float:
    return (None if arm is None else arm.mean("steps").value) or np.nan


def _training_share(phases: dict[str, float]) -> float:
    total = sum(phases.values())
    return sum(phases.get(name, 0.0) for name in TRAINING) / total if total else np.nan
