"""Claims, one per file, written before the runs; a new claim is a new file with one object named CLAIM."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from dataclasses import replace

from hundredfold.analysis.claims.base import FLAGSHIP, Claim, Verdict
from hundredfold.analysis.statistics import holm
from hundredfold.analysis.study import Study

NOT_JUDGED = ("dense", "dense_control", "control")  # families of arms that others are measured against


def discover() -> list[Claim]:
    """Every claim, in the order of the page."""
    names = [info.name for info in pkgutil.iter_modules(__path__) if info.name != "base"]
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
    """Verdicts of every claim, after Holm's correction over all of them in both directions.

    Args:
        methods: that are judged, each against dense, the equally small dense network and its twin; default `judged`.
    """
    names, verdicts = methods or judged(study), []
    for claim in discover():
        about = [replace(claim, method=name) for name in names] if claim.by_method else [claim]
        found = [each.evaluate(subject) for each in about for subject in each.subjects(study)]
        verdicts += found if names or any(verdict.rows for verdict in found) else []  # a study of models alone
    supported = _corrected([verdict.p_supported for verdict in verdicts])
    refuted = _corrected([verdict.p_refuted for verdict in verdicts])
    return [v.corrected(s, r) for v, s, r in zip(verdicts, supported, refuted, strict=True)]


def _corrected(p_values: list[float | None]) -> list[float | None]:
    known = iter(holm([p for p in p_values if p is not None]))
    return [None if p is None else next(known) for p in p_values]


__all__ = ["Claim", "Verdict", "discover", "judge"]
