"""Energy to a loss on one text, whatever the model: arms that look up, against dense networks of every size and family.

The rival of a loss is the dense run of least energy that reaches it; between two runs nothing is interpolated. Where no
run reaches it, the ratio is more than the most energy tried. Losses are those of the test text read on from beginning
to end (`quality.read_on`), so that every model has all the context that it can use.

    python -m hundredfold.analysis.frontier
"""

from __future__ import annotations

import sys
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from hundredfold.analysis import formatting, markers, records, statistics
from hundredfold.analysis.contract import MEASURED_ALIKE, UNMETERED, differing

HUNDRED = 100.0
PARTS = ("characters=", "fold=")  # of a text, which are no part of an arm's name
LOOK_UP_METHODS = ("memory",)
DENSE_FAMILIES = ("dense", "dense_control")
# Of runs on one text that are compared; such a study takes days, in which a machine may start anew.
ALIKE = ("data_fingerprint", "precision", "budget", *(name for name in MEASURED_ALIKE if name != "boot"))


class Ratio(NamedTuple):
    """Joules of the cheapest dense network that reaches an arm's loss, over those of the arm; means over seeds.

    Attributes:
        value: None where no network may stand beside the arm.
        bound: no network reaches it, so that the ratio is more than the value.
        refused: why networks were left out.
    """

    value: float | None
    bound: bool
    refused: tuple[str, ...]

    @property
    def text(self) -> str:
        """The ratio in words."""
        return ("more than " if self.bound else "") + formatting.quantity(self.value, "ratio")


class Point:
    """One configuration on a text, over its seeds.

    Attributes:
        runs: those that finished with a known energy, by seed, or where the text has folds by the one held out.
    """

    def __init__(self, name: str, runs: pd.DataFrame):
        first = runs.iloc[0]
        self.name, self.model = name, str(first.model)
        learns_by_itself = first.text_context == "whole"  # no network has all of the text before
        self.looks_up = learns_by_itself or first.method in LOOK_UP_METHODS
        self.dense = first.family in DENSE_FAMILIES and not self.looks_up
        self.deterministic = learns_by_itself  # one seed stands for all
        self.has_window = int(first.config.get("model", {}).get("window", 0)) > 0
        self.has_cache = bool(runs.text_without_cache_loss.notna().all())
        self.runs = runs.set_index("seed").sort_index()

    def mean(self, column: str) -> float:
        """Mean over its runs."""
        return float(self.runs[column].mean())

    @property
    def joules(self) -> float:
        return self.mean("training_j")

    @property
    def loss(self) -> float:
        return self.mean("text_loss")

    @cached_property
    def by_seed(self) -> dict[int, Any]:
        """seed -> the run."""
        return {run.Index: run for run in self.runs.itertuples()}

    def at(self, seed: int) -> Any | None:
        """The run that stands for a seed, or that has the same fold."""
        if self.deterministic and len(self.by_seed) == 1:
            return next(iter(self.by_seed.values()))
        return self.by_seed.get(seed)


class Frontier:
    """All that was run on one text.

    Attributes:
        points: configurations, by rising energy.
    """

    def __init__(self, name: str, runs: pd.DataFrame):
        self.name, self.runs = name, runs
        names = [_named(model, label) for model, label in zip(runs.model, runs.label, strict=True)]
        groups = runs.assign(seed=runs.fold.fillna(runs.seed).astype(int)).groupby(names, sort=True)
        self.points = sorted((Point(name, group) for name, group in groups), key=lambda point: point.joules)

    @property
    def look_ups(self) -> list[Point]:
        """Arms that look up."""
        return [point for point in self.points if point.looks_up]

    @property
    def dense(self) -> list[Point]:
        """Dense networks of every size."""
        return [point for point in self.points if point.dense]

    @property
    def envelope(self) -> list[Point]:
        """Dense networks that no cheaper one equals, by rising energy."""
        best: list[Point] = []
        for point in self.dense:
            if not best or point.loss < best[-1].loss:
                best.append(point)
        return best

    @property
    def best_dense(self) -> Point | None:
        """The dense network of least loss, at whatever energy."""
        return self._best(self.dense)

    @property
    def best_look_up(self) -> Point | None:
        """The arm with the least loss that looks up and does nothing else, which the claim and the finding are about.

        Where none does so alone, the best of those that do it beside a network.
        """
        return self._best([point for point in self.look_ups if point.deterministic] or self.look_ups)

    @property
    def best_joined(self) -> Point | None:
        """The best arm that looks up beside a network."""
        return self._best([point for point in self.look_ups if not point.deterministic])

    @property
    def without_cache(self) -> bool:
        """Whether the best look-up arm counts what it has just read and no network keeps anything like it."""
        arm = self.best_look_up
        return arm is not None and arm.has_window and not any(point.has_cache for point in self.dense)

    @property
    def has_folds(self) -> bool:
        """Whether several parts of the text were held out in turn."""
        return bool(self.runs.fold.notna().any())

    def _whole(self, points: list[Point]) -> list[Point]:
        """Those that have all folds, if there are any: what was tried on one of them says nothing of the others."""
        most = max((len(point.runs) for point in points), default=0) if self.has_folds else 0
        return [point for point in points if len(point.runs) >= most]

    def _best(self, points: list[Point]) -> Point | None:
        """By the validation text."""
        return min(self._whole(points), key=lambda point: point.mean("text_validation_loss"), default=None)

    def ratio(self, arm: Point) -> Ratio:
        """Energy of the cheapest dense network that reaches the arm's loss, over the arm's energy."""
        own = next(iter(arm.by_seed.values()))
        reasons = {point.name: differing(own, next(iter(point.by_seed.values())), ALIKE) for point in self.dense}
        rivals = [point for point in self.dense if reasons[point.name] is None]
        refused = tuple(dict.fromkeys(reason for reason in reasons.values() if reason))
        if not rivals:
            return Ratio(None, False, refused)
        reached = [point.joules for point in rivals if self._behind(arm, point) <= 0]
        joules = min(reached) if reached else max(point.joules for point in self._whole(rivals))
        return Ratio(joules / arm.joules, not reached, refused)

    def deciding(self, arm: Point, multiple: float) -> Point | None:
        """The dense network that a multiple of an arm's energy is about: the best one that costs less.

        Best on the validation text. None where no network was tried that costs so much, unless it reaches the arm's
        loss: a dearer one might have been made to reach it more cheaply.
        """
        tried = self._whole(self.dense)
        best = self._best([point for point in tried if point.joules < multiple * arm.joules])
        dearer = any(point.joules >= multiple * arm.joules for point in tried)
        return best if dearer or (best is not None and self._behind(arm, best) <= 0) else None

    def gap(self, arm: Point, other: Point) -> tuple[np.ndarray, tuple[str, ...]]:
        """Test loss of a network less that of an arm, seed by seed, and why seeds were left out."""
        values, refused = [], []
        for seed, run in other.by_seed.items():
            own = arm.at(seed)
            reason = None if own is None else differing(own, run, ALIKE)
            refused += [reason] if reason else []
            if own is not None and reason is None:
                values.append(run.text_loss - own.text_loss)
        return np.array(values, dtype=float), tuple(dict.fromkeys(refused))

    def _behind(self, arm: Point, other: Point) -> float:
        """Mean loss of a network less an arm's, at the seeds or folds that both have; of all where they share none."""
        shared, _ = self.gap(arm, other)
        return float(np.mean(shared)) if len(shared) else other.loss - arm.loss


def frontiers(runs: pd.DataFrame) -> list[Frontier]:
    """One for every text and size of it where an arm that looks up stands beside a dense network, most tried first."""
    known = runs[(runs.status == "finished") & runs.text_loss.notna() & runs.training_j.notna() & (runs.replicate == 0)]
    known = known[(known.unmetered_fraction <= UNMETERED) & ~known.simulated.astype(bool)]
    groups = known.assign(size=known.characters.fillna(np.inf)).groupby(["dataset", "size"], sort=True)
    found = [Frontier(_text_name(dataset, size), group) for (dataset, size), group in groups]
    there = [frontier for frontier in found if frontier.look_ups and frontier.dense]
    return sorted(there, key=lambda frontier: -len(frontier.dense))  # the one that was tried most comes first


def _text_name(dataset: str, characters: float) -> str:
    return dataset if np.isinf(characters) else f"{dataset}, {characters / 1e6:g} MB"


def _named(model: str, label: str) -> str:
    """Model and what sets the arm apart, without the groups of its options."""
    words = [word.rpartition(".")[2] if "=" not in word else _option(word) for word in label.split(" ")]
    kept = [word for word in words if word and word != "dense" and not word.startswith(PARTS)]
    return " ".join([model, *kept])


def _option(word: str) -> str:
    name, _, value = word.partition("=")
    return f"{name.rpartition('.')[2]}={value}"


def table(frontier: Frontier) -> pd.DataFrame:
    """Every configuration: energy, losses, what a prediction costs, and the ratio of those that look up."""
    best, rows = frontier.best_dense, []
    caches = any(point.has_cache for point in frontier.points)
    for point in sorted(frontier.points, key=lambda point: point.loss):
        cpu = point.mean("text_cpu_s") / point.mean("text_predictions")
        rows.append(
            {
                "Arm": point.name + ("" if point.dense else " *"),
                "n": str(len(point.runs)),
                "Training, J": formatting.number(point.joules),
                "CPU s": formatting.number(point.mean("training_cpu_s")),
                "Test loss read on, nats": formatting.quantity(point.loss, "loss"),
                "Validation": formatting.quantity(point.mean("text_validation_loss"), "loss"),
                **({"Without its cache": _without(point)} if caches else {}),
                "In windows": formatting.quantity(point.mean("test_loss"), "loss"),
                "CPU µs a prediction": formatting.number(1e6 * cpu),
                "Parameters": formatting.number(point.mean("total_parameters")),
                "Best dense run of this loss": frontier.ratio(point).text if point.looks_up else formatting.DASH,
                "Loss less that of the best dense": formatting.quantity(point.loss / best.loss - 1, "relative")
                if point.looks_up and best is not None
                else formatting.DASH,
            }
        )
    return pd.DataFrame(rows)


def _without(point: Point) -> str:
    return formatting.quantity(point.mean("text_without_cache_loss"), "loss") if point.has_cache else formatting.DASH


def by_fold(frontier: Frontier) -> pd.DataFrame | None:
    """Test loss of every configuration on each held-out part of the text; None where there is one alone."""
    if not frontier.has_folds:
        return None
    folds = sorted({fold for point in frontier.points for fold in point.by_seed})
    rows = [
        {"Arm": point.name + ("" if point.dense else " *"), "Training, J": formatting.number(point.joules)}
        | {f"Fold {fold}, nats": _loss_at(point, fold) for fold in folds}
        for point in sorted(frontier.points, key=lambda point: point.loss)
    ]
    return pd.DataFrame(rows)


def _loss_at(point: Point, fold: int) -> str:
    run = point.by_seed.get(fold)
    return formatting.DASH if run is None else formatting.quantity(run.text_loss, "loss")


def finding(frontier: Frontier) -> str:
    """A sentence on the best look-up arm beside dense networks, and one on the best that is joined to a network."""
    arm, joined = frontier.best_look_up, frontier.best_joined
    if arm is None or frontier.best_dense is None:
        return ""
    told = [f"On {frontier.name}, {_reached(frontier, arm)}{_spread(frontier, arm)}."]
    if joined is not None and joined is not arm:
        told.append(f"Joined to a network, {_reached(frontier, joined)}.")
    return " ".join(told)


def _reached(frontier: Frontier, arm: Point) -> str:
    """An arm's loss and energy, and what dense networks need for it."""
    ratio, best = frontier.ratio(arm), frontier.best_dense
    loss, joules = formatting.quantity(arm.loss, "loss"), formatting.number(arm.joules, 2)
    head = f"{arm.name} reached {loss} nats a token with {joules} J"
    if best is None or not ratio.bound:
        return f"{head}; the cheapest dense network that reached it took {ratio.text} as much"
    most = formatting.number((ratio.value or 0.0) * arm.joules)
    size = formatting.number(best.mean("total_parameters"), 2)
    return (
        f"{head}, which no dense network reached with up to {most} J ({ratio.text}): the best of them, a "
        f"{best.model} of {size} parameters, ended at {formatting.quantity(best.loss, 'loss')}"
    )


def _spread(frontier: Frontier, arm: Point) -> str:
    """Loss of the best network below a hundredfold less the arm's, where several parts of a text were held out."""
    rival = frontier.deciding(arm, HUNDRED) if frontier.has_folds else None
    if rival is None:
        return ""
    gap, _ = frontier.gap(arm, rival)
    difference = formatting.estimate(statistics.mean(gap), "nats")
    multiple = f"{rival.joules / arm.joules:.0f}x"
    return f"; over the held-out parts of the text, the loss of the network of {multiple} less its own is {difference}"


def conditions(frontier: Frontier) -> str:
    """One sentence: what the finding of a text rests on."""
    models = ", ".join(dict.fromkeys(point.model for point in frontier.dense))
    sizes = sorted(point.mean("total_parameters") for point in frontier.dense)
    size = " to ".join(dict.fromkeys(formatting.number(each, 2) for each in (sizes[0], sizes[-1])))
    runs = frontier.runs
    evidence = ", ".join(sorted({formatting.EVIDENCE[one] for one in runs.evidence.dropna()}))
    caches = sum(point.has_cache for point in frontier.dense)
    kept = f", {caches} of them with a cache of their last states" if caches else ""
    return (
        f"Weights are frozen and the test text is read from beginning to end; {len(frontier.dense)} dense networks "
        f"({models}) of {size} parameters were tried{kept}, "
        f"on {runs.cpu.iloc[0]}, {int(runs.threads.iloc[0])} thread; energy is {evidence}."
    )


def tables(runs: pd.DataFrame) -> str:
    """The finding and the table of every text, for the documentation."""
    parts = []
    for found in frontiers(runs):
        parts += [f"### {found.name}", finding(found)]
        parts += [
            shown.to_markdown(index=False, disable_numparse=True)
            for shown in (table(found), by_fold(found))
            if shown is not None
        ]
    return "\n\n".join(parts)


PAGE = "docs/lookup.md"
# Markers of the page -> the study between them.
STUDIES = {"frontier": "frontier_text", "folds": "folds_text", "average": "folds_average"}


def main() -> int:
    """Exit code."""
    codes = [
        markers.fill([], name, (f"results/{study}/records.parquet", PAGE), lambda source: tables(records.read(source)))
        for name, study in STUDIES.items()
    ]
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
