"""What may be compared with what: the one place that decides it, for quality and for energy.

Two runs are compared if they share their data, test set, precision, code and every setting that the label of neither
names: what differs is declared, or it is refused by name. Their joules are divided only if the meter, the boot of the
machine and the threads are the same too, and nobody else held the machine. Which learning rate and decay an arm has is
its own affair, since every arm is tuned alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pandas as pd

from hundredfold.analysis import apart

UNMETERED = 0.02  # a run with a larger share outside the meter has no energy that could be compared
CROWD = 2.0  # waiting processes per core, above which others have held the machine for more than half of the time
ALIKE = ("data_fingerprint", "test_examples", "precision", "budget")  # of runs that are compared in whatever
MEASURED_ALIKE = ("evidence", "source", "domains", "device_key", "boot", "threads")  # where joules are divided
SHARED_CODE = ("data", "model", "execution", "loop")  # components of the code that every arm runs
LENGTHS = ("duration", "rounds")  # options by which a method says that it takes more or fewer steps


def incomparable(one: Any, other: Any) -> str | None:
    """Why the energies of two runs must not be divided; None if they may."""
    return (
        next(filter(None, map(unmeasured, (one, other))), None)
        or unlike(one, other)
        or differing(one, other, MEASURED_ALIKE)
    )


def unmeasured(run: Any) -> str | None:
    """Why the energy of a run is none that could be compared; None if it is."""
    if run.simulated:
        return f"{run.label} is simulated: it computes what it says it skips"
    if run.status != "finished":
        return f"{run.label} {run.status}"
    if pd.isna(run.training_j):
        return f"{run.label}: energy was not measured ({run.energy_reason.rstrip('.')})"
    if run.unmetered_fraction > UNMETERED:
        return f"{run.label}: {run.unmetered_fraction:.1%} of the run was outside the meter"
    if run.cores and run.load_average > CROWD * run.cores:
        return f"{run.label}: {run.load_average:.1f} processes held its {run.cores:.0f} cores"
    return None


def unlike(one: Any, other: Any) -> str | None:
    """Why nothing of two runs must be compared; None if something may."""
    return differing(one, other, ALIKE) or _other_code(one, other) or _undeclared(one, other)


def differing(one: Any, other: Any, names: Iterable[str]) -> str | None:
    """The first of these that two runs do not share; unknown in both is shared."""
    for name in names:
        mine, theirs = getattr(one, name), getattr(other, name)
        if mine != theirs and not (_unknown(mine) and _unknown(theirs)):
            return _differs(name.replace("_", " "), mine, theirs)
    return None


def _other_code(one: Any, other: Any) -> str | None:
    """Which part of the code that both run is not the same; by the commit where its parts are not known."""
    if not one.code and not other.code:
        return differing(one, other, ("commit", "dirty"))
    if not one.code or not other.code:
        return "the code of one of them is not known"
    for name in SHARED_CODE:
        if one.code.get(name) != other.code.get(name):
            return _differs(f"code of {name}", one.code.get(name), other.code.get(name))
    if one.method == other.method and one.code.get("method") != other.code.get("method"):
        return _differs("code of the method", one.code.get("method"), other.code.get("method"))
    return None


def _undeclared(one: Any, other: Any) -> str | None:
    """A setting in which two runs differ and that no label names."""
    found = apart.undeclared(one.given, other.given, (one.label, other.label))
    if found:
        name, (mine, theirs) = next(iter(found.items()))
        return _differs(name, mine, theirs)
    if one.steps != other.steps and not any(_says_its_length(run) for run in (one, other)):
        return _differs("number of steps", one.steps, other.steps)
    return None


def _says_its_length(run: Any) -> bool:
    options = {name.rpartition(".")[2] for name in apart.flat(run.options or {})}
    return bool(options.intersection(LENGTHS)) or any(name in run.label for name in ("steps=", "budget="))


def _differs(name: str, mine: Any, theirs: Any) -> str:
    return f"{name} differs ({_plain(mine)} against {_plain(theirs)})"


def _unknown(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _plain(value: object) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)
