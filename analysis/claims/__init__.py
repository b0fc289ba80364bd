"""Claims, one per file, written before the runs; a new claim is a new file with one object named CLAIM."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from dataclasses import replace

from hundredfold.analysis.claims.base import FLAGSHIP, Claim, Verdict
from hundredfold.analysis.statistics import holm
from hundredfold.analysis.study import Study

FAMILIES = ("headline", "further")  # what the text is known for, and its other sentences
MACHINERY = ("base", "conjunction", "__main__")  # modules that hold no claim
NOT_JUDGED = ("dense", "dense_control", "control")  # families of arms that others are measured against


def discover() -> list[Claim]:
    """Every claim, in the order of the page."""
    names = [info.name for info in pkgutil.iter_modules(__path__) if info.name not in MACHINERY]
    found = [importlib.import_module(f"{__name__}.{name}").CLAIM for name in names]
    return sorted(found, key=lambda claim: claim.order)


def judged(study: Study) -> list[str]:
    """The methods that a study is about: the flagship where it has arms, else every method that selects something."""
    families = {arm.method: arm.family for arm in study.arms}
    found = [method for method, family in families.items() if family not in NOT_JUDGED]
    if FLAGSHIP in found or not (found or study.frontiers):
        return [FLAGSHIP]
    return found


def judge(study: Study, methods: Sequence[str] = ()) -> list[Verdict]:
    """Verdicts of every claim, after Holm's correction over each family of them in both directions.

    Args:
        methods: that are judged, each against dense, the equally small dense network and its twin; default `judged`.
    """
    names, verdicts = methods or judged(study), []
    for claim in discover():
        about = [replace(claim, method=name) for name in names] if claim.by_method else [claim]
        found = [each.evaluate(subject) for each in about for subject in each.subjects(study)]
        verdicts += found if names or any(verdict.rows for verdict in found) else []  # a study of models alone
    families = {family: [v for v in verdicts if v.claim.family == family] for family in FAMILIES}
    corrected = {family: iter(_corrected(found)) for family, found in families.items()}
    return [next(corrected[verdict.claim.family]) for verdict in verdicts]


def _corrected(verdicts: list[Verdict]) -> list[Verdict]:
    """Verdicts of one family after Holm's correction."""
    supported = _holm([verdict.p_supported for verdict in verdicts])
    refuted = _holm([verdict.p_refuted for verdict in verdicts])
    tests = sum(len(verdict.rows) for verdict in verdicts if verdict.p_supported is not None)
    return [v.corrected(s, r, tests) for v, s, r in zip(verdicts, supported, refuted, strict=True)]


def _holm(p_values: list[float | None]) -> list[float | None]:
    known = iter(holm([p for p in p_values if p is not None]))
    return [None if p is None else next(known) for p in p_values]


__all__ = ["Claim", "Verdict", "discover", "judge"]
