"""A hundredfold where selection depends on the input: looked-up counts against dense networks of every size.

The arm is the one that is best on the validation text among those that look up. What decides is the dense network that
is best there among those that cost less than a hundred times the arm: its test loss less the arm's, over its seeds.
Where none of them reaches the loss and none was tried that costs a hundred times as much, nothing is decided.
Expected: supported on tiny Shakespeare, inconclusive where few networks were tried, and refuted on enough text.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hundredfold.analysis.arm import Pairs
from hundredfold.analysis.claims.base import PROXY, Claim, Row, age_problem, make_row
from hundredfold.analysis.frontier import HUNDRED, Frontier
from hundredfold.analysis.statistics import Region
from hundredfold.analysis.study import Study


@dataclass(frozen=True)
class AtEqualLoss(Claim):
    """A bound on the energy at which a dense network reaches the loss of the best arm that looks up."""

    def subjects(self, study: Study) -> list[Frontier]:
        return study.frontiers

    def rows(self, subject: Frontier) -> list[Row]:
        arm = subject.best_look_up
        if arm is None:
            return []
        rival, ratio = subject.deciding(arm, HUNDRED), subject.ratio(arm)
        if rival is None:
            tried = max(point.joules for point in subject.dense) / arm.joules
            return [Row(arm.name, "dense networks", "nats", refused=(f"no network of {tried:.0f}x or more was tried",))]
        values, refused = subject.gap(arm, rival)
        pairs = Pairs(values, values, 0, len(rival.runs), refused, arm.runs.evidence.iloc[0])
        row = make_row(arm.name, f"{rival.name}, {rival.joules / arm.joules:.0f}x", "nats", pairs, values, self.region)
        otherwise = "joules of the cheapest dense run of this loss over its own" + (
            ", more than" if ratio.bound else ""
        )
        return [replace(row, sensitivity={otherwise: (ratio.value, "ratio")}, seed_correlation=None)]

    def caps(self, subject: Frontier, rows: tuple[Row, ...]) -> tuple[str, ...]:
        measured = [row for row in rows if row.estimate.n]
        few = [
            f"{row.estimate.n} seeds, {self.minimum_seeds} needed"
            for row in measured
            if row.estimate.n < self.minimum_seeds
        ]
        if not subject.has_folds:
            few.append("one held-out part of the text")
        if subject.without_cache:
            few.append("no network keeps a cache of what it has just read, as the arm does")
        first = subject.runs.started.min()
        return (*few, *age_problem(self, first), *(PROXY[row.evidence] for row in measured if row.evidence in PROXY))


CLAIM = AtEqualLoss(
    name="hundredfold_at_equal_loss",
    title="A hundredfold at equal loss",
    order=5,
    statement="No dense network of any size reaches the loss of looked-up counts with under 100 times their energy.",
    estimand="test loss of the dense network that is best on validation among those that cost under 100 times the best "
    "look-up arm there, less that arm's, over its seeds",
    region=Region(0.0, strict=True),
    uses_energy=True,
    minimum_seeds=3,
    by_method=False,
)
