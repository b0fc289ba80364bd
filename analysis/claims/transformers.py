"""The text says that it works from vision transformers to Llama and GPT: a saving at no loss on each of the three.

On every kind of model one arm has to take less energy than dense and lose nothing; one kind that fails refutes the
sentence. Expected: refuted or inconclusive for selection that is the same for every input.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from hundredfold.analysis.claims import any_saving, no_accuracy_lost
from hundredfold.analysis.claims.base import Claim, Row, Verdict, word_of
from hundredfold.analysis.claims.conjunction import Conjunction
from hundredfold.analysis.statistics import NOT_MEASURED, Region
from hundredfold.analysis.task import Task

if TYPE_CHECKING:
    from hundredfold.analysis.study import Study

KINDS = ("vit", "gpt", "llama")


class Transformers(NamedTuple):
    """Tasks of a study by kind of transformer."""

    name: str
    tasks: dict[str, list[Task]]


@dataclass(frozen=True)
class OnEveryKind(Claim):
    """A conjunction of two claims by arm, and of the kinds of models by their best arms."""

    parts: tuple[Claim, ...] = ()

    def subjects(self, study: Study) -> list[Transformers]:
        kinds = {kind: [task for task in study.tasks if (task.runs.model == kind).any()] for kind in KINDS}
        return [Transformers(", ".join(KINDS), kinds)] if any(kinds.values()) else []

    def rows(self, subject: Transformers) -> list[Row]:
        return [verdict.best for verdict in self._found(subject) if verdict.best is not None]

    def evaluate(self, subject: Transformers) -> Verdict:
        found = [verdict for verdict in self._found(subject) if verdict.word != NOT_MEASURED]
        rows = tuple(replace(v.best, arm=f"{v.best.arm} on {v.task}") for v in found if v.best is not None)
        missing = [kind for kind, tasks in subject.tasks.items() if not tasks]
        supported = [v.p_supported for v in found if v.p_supported is not None]
        refuted = [v.p_refuted for v in found if v.p_refuted is not None]
        p_supported = (1.0 if missing else max(supported)) if supported else None
        p_refuted = min(1.0, len(refuted) * min(refuted)) if refuted else None
        caps = dict.fromkeys(cap for verdict in found for cap in verdict.caps)
        word = word_of(p_supported, p_refuted, self.level, rows, reachable=True)
        gaps = (f"{', '.join(missing)} not measured",) if missing and rows else ()
        return Verdict(self, subject.name, self.statement, word, rows, p_supported, p_refuted, (*caps, *gaps))

    def _found(self, subject: Transformers) -> list[Verdict]:
        """The verdict of every task by itself."""
        each = Conjunction(**{name: getattr(self, name) for name in Conjunction.__dataclass_fields__})
        return [each.evaluate(task) for tasks in subject.tasks.values() for task in tasks]


CLAIM = OnEveryKind(
    name="transformers",
    title="From vision transformers to Llama and GPT",
    order=55,
    statement="On a vision transformer, a GPT and a Llama alike, one arm saves energy and loses nothing.",
    estimand="E_dense / E_arm above 1 and less than half a point or 0.01 nats lost, in one arm, on every kind of model",
    region=Region(1.0, strict=True),
    uses_energy=True,
    family="further",
    parts=(any_saving.CLAIM, no_accuracy_lost.CLAIM),
)
