"""The whole claim of the text: 100 times less energy and 2 points more accuracy, in one and the same arm.

An intersection: supported if both halves are, refuted if either is. Expected: refuted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hundredfold.analysis.claims import accuracy_gain, energy_100x
from hundredfold.analysis.claims.base import Claim, Row
from hundredfold.analysis.statistics import INCONCLUSIVE, NOT_MEASURED, REFUTED, SUPPORTED, Region
from hundredfold.analysis.task import Task


@dataclass(frozen=True)
class BothAtOnce(Claim):
    """The conjunction of two claims, arm by arm; its regions are theirs."""

    def rows(self, task: Task) -> list[Row]:
        energy, gain = (replace(c.CLAIM, method=self.method).rows(task) for c in (energy_100x, accuracy_gain))
        return [conjunction(*parts) for parts in zip(energy, gain, strict=True)]

    def reachable(self, task: Task) -> bool:
        return replace(energy_100x.CLAIM, method=self.method).reachable(task)


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


CLAIM = BothAtOnce(
    name="both_at_once",
    title="Both at once",
    order=10,
    statement="One arm takes at most a hundredth of dense training's energy and is at least 2 points more accurate.",
    loss_statement="One arm takes at most a hundredth of dense training's energy and its loss is at least 2 % lower.",
    estimand="both of the two estimands below, in one arm",
    region=Region(100.0),
    uses_energy=True,
)
