"""A report as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from hundredfold.analysis import wording
from hundredfold.analysis.arm import Arm
from hundredfold.analysis.claims import Verdict
from hundredfold.analysis.formatting import UNKNOWN
from hundredfold.analysis.study import Study
from hundredfold.analysis.task import Task

COLOURS = {
    "supported": "green",
    "refuted": "red",
    "not reachable here": "red",
    "inconclusive": "yellow",
    "not measured": "dim",
}


def overview(study: Study, verdicts: list[Verdict]) -> Iterator[Table]:
    """The arms of every task, then the verdicts."""
    yield from map(arm_table, study.tasks)
    yield verdict_table(verdicts)


def arm_table(task: Task) -> Table:
    """Every arm's quality, energy, and FLOPs as dense over its own."""
    quality = "accuracy %" if task.metric == "accuracy" else "loss, nats"
    titles = ("Arm", quality, "Energy", "E dense / E", "FLOPs dense / ideal", "FLOPs dense / executed")
    table = Table(*titles, title=task.name, title_justify="left")
    for arm in task.arms:
        table.add_row(*(Text(cell) for cell in _cells(arm)))
    table.caption, table.caption_justify = "- stands for simulated: nothing is saved by multiplying zeros", "left"
    return table


def _cells(arm: Arm) -> tuple[str, ...]:
    scale, form = (100, "{:.2f}") if arm.metric == "accuracy" else (1, "{:.4f}")
    quality = UNKNOWN if arm.quality.value is None else form.format(scale * arm.quality.value)
    energy = UNKNOWN if arm.energy.value is None else f"{arm.energy.value:.3g} J"
    cost = ("-", "-") if arm.simulated else (energy, _ratio(arm.energy_ratio.value, "{:.2f}x"))
    return arm.label, quality, *cost, _ratio(arm.ideal_ratio), _ratio(arm.executed_ratio)


def _ratio(value: float | None, form: str = "{:.3g}x") -> str:
    return "" if value is None else form.format(value)


def verdict_table(verdicts: list[Verdict]) -> Table:
    """One line per claim and task; what caps a verdict stands below."""
    caps = dict.fromkeys(cap for verdict in verdicts if verdict.text != verdict.word for cap in verdict.caps)
    caption = f"* indicative: {'; '.join(caps)}" if caps else None
    table = Table("Claim", "Task", "Verdict", "Closest arm", title="Verdicts", title_justify="left")
    table.caption, table.caption_justify = caption and Text(caption), "left"
    for verdict in verdicts:
        word = Text(verdict.word + ("" if verdict.text == verdict.word else " *"), style=COLOURS[verdict.word])
        table.add_row(Text(verdict.claim.title), Text(verdict.task), word, Text(wording.figure(verdict.best)))
    return table
