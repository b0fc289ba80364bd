"""Claims, one per file, written before the runs; a new claim is a new file with one object named CLAIM."""

from __future__ import annotations

import importlib
import pkgutil

from hundredfold.analysis.claims.base import Claim, Verdict
from hundredfold.analysis.statistics import holm
from hundredfold.analysis.study import Study


def discover() -> list[Claim]:
    """Every claim, in the order of the page."""
    names = [info.name for info in pkgutil.iter_modules(__path__) if info.name != "base"]
    found = [importlib.import_module(f"{__name__}.{name}").CLAIM for name in names]
    return sorted(found, key=lambda claim: claim.order)


def judge(study: Study) -> list[Verdict]:
    """Verdicts of every claim on every task, after Holm's correction over claims x tasks in both directions."""
    verdicts = [claim.evaluate(task) for claim in discover() for task in study.tasks]
    supported = _corrected([verdict.p_supported for verdict in verdicts])
    refuted = _corrected([verdict.p_refuted for verdict in verdicts])
    return [v.corrected(s, r) for v, s, r in zip(verdicts, supported, refuted, strict=True)]


def _corrected(p_values: list[float | None]) -> list[float | None]:
    known = iter(holm([p for p in p_values if p is not None]))
    return [None if p is None else next(known) for p in p_values]


__all__ = ["Claim", "Verdict", "discover", "judge"]
