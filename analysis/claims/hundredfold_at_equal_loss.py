"""A hundredfold where selection depends on the input: looked-up counts against dense networks of every size.

The rival is the dense run of least energy that reaches the arm's loss, whatever its model; where none does, the ratio is
more than the most energy tried, which can support the claim but never refute it. Expected: supported on tiny
Shakespeare; undecided where the networks tried cost less than a hundred times as much; refuted on enough text.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hundredfold.analysis import frontier
from hundredfold.analysis.arm import Pairs
from hundredfold.analysis.claims.base import Claim, Row, make_row
from hundredfold.analysis.frontier import Frontier
from hundredfold.analysis.statistics import INCONCLUSIVE, REFUTED, Region
from hundredfold.analysis.study import Study


@dataclass(frozen=True)
class AtEqualLoss(Claim):
    """A bound on the energy of the best dense run that reaches an arm's loss, for the look-up model as it is."""

    def subjects(self, study: Study) -> list[Frontier]:
        return study.frontiers

    def rows(self, subject: Frontier) -> list[Row]:
        arm = frontier.plain(subject)
        if arm is None:
            return []
        ratio = subject.ratio(arm)
        evidence = arm.runs.evidence.iloc[0]
        pairs = Pairs(ratio.values, ratio.values, 0, len(ratio.values), ratio.refused, evidence)
        row = make_row(arm.name, "the best dense run of its loss", "ratio", pairs, ratio.values, self.region)
        if ratio.bound and row.verdict == REFUTED:  # more than 50x may be more than 100x
            row = replace(row, verdict=INCONCLUSIVE, p_refuted=1.0)
        return [replace(row, bound=ratio.bound, seed_correlation=None)]

    def caps(self, subject: Frontier, rows: tuple[Row, ...]) -> tuple[str, ...]:
        measured = [row for row in rows if row.estimate.n]
        caps = [f"{row.estimate.n} seeds, {self.minimum_seeds} needed" for row in measured]
        caps = caps if any(row.estimate.n < self.minimum_seeds for row in measured) else []
        words = {"estimated": "energy is a CPU-time proxy", "modeled": "energy is modeled"}
        return (*caps, *(words[row.evidence] for row in measured if row.evidence in words))


CLAIM = AtEqualLoss(
    name="hundredfold_at_equal_loss",
    title="A hundredfold at equal loss",
    order=5,
    statement="No dense network of any size reaches the loss of looked-up counts with less than 100 times their energy.",
    estimand="joules of the cheapest dense run that reaches the arm's test loss, over the arm's, by seed of the networks",
    region=Region(100.0),
    uses_energy=True,
    by_method=False,
)
