"""Two claims that one and the same arm has to meet."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hundredfold.analysis.claims.base import Claim, Row
from hundredfold.analysis.statistics import INCONCLUSIVE, NOT_MEASURED, REFUTED, SUPPORTED
from hundredfold.analysis.task import Task


@dataclass(frozen=True)
class Conjunction(Claim):
    """Both of two claims, arm by arm: supported if both are, refuted if either is; its regions are theirs."""

    parts: tuple[Claim, ...] = ()

    def rows(self, task: Task) -> list[Row]:
        first, second = (replace(part, method=self.method).rows(task) for part in self.parts)
        return [conjunction(*pair) for pair in zip(first, second, strict=True)]

    def reachable(self, task: Task) -> bool:
        return all(replace(part, method=self.method).reachable(task) for part in self.parts)


def conjunction(first: Row, second: Row) -> Row:
    """Two rows of one arm as one: the larger p-value for, Bonferroni's for against."""
    parts = (first, second)
    words = [part.verdict for part in parts]
    refuted = [part.p_refuted for part in parts if part.p_refuted is not None]
    if REFUTED in words:
        word = REFUTED
    elif NOT_MEASURED in words:
        word = NOT_MEASURED
    else:
        word = SUPPORTED if set(words) == {SUPPORTED} else INCONCLUSIVE
    known = word != NOT_MEASURED
    both = None not in (first.p_supported, second.p_supported)
    return Row(
        first.arm,
        first.against,
        "both",
        verdict=word,
        p_supported=(max(first.p_supported, second.p_supported) if both else 1.0) if known else None,
        p_refuted=min(1.0, 2 * min(refuted)) if known else None,
        parts=parts,
    )
