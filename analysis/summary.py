"""Puts the answer and the verdicts of a published study into the README, between their markers.

python -m hundredfold.analysis.summary [results/quick/verdicts.json] [README.md]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from hundredfold.analysis import formatting, markers
from hundredfold.analysis.claims.no_accuracy_lost import CLAIM
from hundredfold.analysis.statistics import Estimate, Interval
from hundredfold.analysis.study import Study
from hundredfold.analysis.task import SHORT


def answer(verdicts: list[dict[str, Any]]) -> str:
    """One sentence for the whole question: the least energy at no loss, its rival's, and what of the claim holds."""
    claims = {name: [v for v in verdicts if v["claim"] == name] for name in dict.fromkeys(v["claim"] for v in verdicts)}
    rows = [(v["task"], *row["parts"]) for v in claims.get("saves_and_keeps", []) for row in v["rows"]]
    rows = [row for row in rows if None not in (row[1]["estimate"], row[2]["estimate"])]
    if not rows:
        return "**Not measured yet.**"
    both, gains = claims.get("both_at_once", []), claims.get("accuracy_gain", [])
    word = "Yes" if any(v["verdict"] == "supported" for v in both) else "No"
    tasks = list(dict.fromkeys(task for task, *_ in rows))
    where = "this small task" if len(tasks) == 1 else f"these {len(tasks)} small tasks"
    head = f"**Yes, on at least one of {where}.**" if word == "Yes" else f"**No, not on {where}.**"
    kept = [row for row in rows if row[2]["estimate"] > LOSSES[row[2]["unit"]]]
    task, ratio, quality = max(kept or rows, key=lambda row: row[1]["estimate"])
    saving = f"{ratio['estimate']:.2g}x at {_better(quality)} ({ratio['arm']} on {task})"
    told = f"The least energy at no loss ({NO_LOSS}) was" if kept else "No arm was without loss; the most saved was"
    small = ""
    if ratio.get("rival") and quality.get("rival") and ratio["rival"]["estimate"] is not None:
        rival = quality | {"estimate": quality["rival"]["estimate"]}
        small = f"; the equally small dense network saves {ratio['rival']['estimate']:.2g}x at {_better(rival)}"
    held = sum(v["verdict"] == "supported" for v in gains)
    gained = f" 2 points more: supported on {held} of {len(gains)}." if gains else ""
    caps = "; ".join(dict.fromkeys(cap for v in both for cap in v["caps"]))
    return f"{head} {told} {saving}{small}.{gained}" + (f" Indicative: {caps}." if caps else "")


def dense_alone(study: Study) -> str:
    """What the best dense network of every task reached, and with how much energy; empty without one."""
    found = []
    for task in study.tasks:
        if task.dense is not None and task.dense.quality.n:
            quality = formatting.quantity(task.dense.quality.value, task.metric)
            unit = "%" if task.metric == "accuracy" else "nats"
            joules = task.dense.energy.value
            spent = "" if joules is None else f" with {formatting.number(joules)} J"
            found.append(f"{quality.removesuffix(' %')} {unit} on {task.name}{spent} ({task.dense.label})")
    if not found:
        return ""
    controls = [f"{_ratio(task.control.ratio)} on {task.name}" for task in study.tasks if task.control.ratio.n]
    lengths = [
        f"{_ratio(arm.energy_ratio)} for {arm.label} on {task.name}"
        for task in study.tasks
        for arm in task.of_method(SHORT)
        if arm.energy_ratio.n
    ]
    told = {"Energy of dense over the same runs once more": controls, "Energy of dense over shorter runs": lengths}
    return " ".join(
        [
            f"No method is judged here. The best dense networks reached {'; '.join(found)}.",
            *(f"{head}: {'; '.join(ratios)}." for head, ratios in told.items() if ratios),
        ]
    )


def _ratio(figure: Estimate) -> str:
    return formatting.estimate(figure, "ratio")


LOSSES = {"points": CLAIM.region.low, "nats": (CLAIM.loss_region or CLAIM.region).low}  # what counts as no loss
NO_LOSS = "under half a point, or 0.01 nats"


def _better(row: dict[str, Any]) -> str:
    """How much better an arm is: points of accuracy, or a loss that is lower by so many nats."""
    return formatting.quantity(row["estimate"], row["unit"]) + (" of loss" if row["unit"] == "nats" else "")


def matrix(verdicts: list[dict[str, Any]]) -> str:
    """Arms in Markdown, each with its rival; below it what the claims come to, task by task.

    Args:
        verdicts: as in verdicts.json.
    """
    words: dict[str, dict[str, str]] = {}
    caps = dict.fromkeys(cap for v in verdicts if v["text"] != v["verdict"] for cap in v["caps"])
    for verdict in verdicts:
        mark = "" if verdict["text"] == verdict["verdict"] else "*"
        words.setdefault(verdict["title"], {})[verdict["task"]] = f"{verdict['verdict']}{mark}"
    table = pd.DataFrame(words).T.fillna("").rename_axis("claim").to_markdown()
    indicative = f"\n\n\\* indicative: {'; '.join(caps)}." if caps else ""
    return f"{_arms(verdicts)}\n\n{table}{indicative}"


COLUMNS = {  # of the table of arms -> the claim whose rows it shows
    "E dense / E": "any_saving",
    "better than dense by": "no_accuracy_lost",
    "better than dense networks of its energy by": "above_small_dense",
}


def _arms(verdicts: list[dict[str, Any]]) -> str:
    """One arm a row: its figures with intervals and numbers of seeds, and those of the equally small dense network."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for title, claim in COLUMNS.items():
        for verdict in (v for v in verdicts if v["claim"] == claim):
            for row in verdict["rows"]:
                cells = found.setdefault((verdict["task"], row["arm"]), {})
                cells[title] = _figure(row)
                if row.get("rival"):
                    cells["equally small dense network"] = "; ".join(
                        filter(None, [cells.get("equally small dense network"), _figure(row["rival"])])
                    )
    rows = [{"task": task, "arm": arm} | cells for (task, arm), cells in found.items()]
    columns = ["task", "arm", "E dense / E", "better than dense by", "equally small dense network", list(COLUMNS)[-1]]
    table = pd.DataFrame(rows).reindex(columns=columns).fillna("not measured")
    return table.to_markdown(index=False, disable_numparse=True)


def _figure(row: dict[str, Any]) -> str:
    """Estimate, 95 % interval and number of seeds."""
    interval = row.get("interval_95") and Interval(*row["interval_95"])
    return formatting.estimate(Estimate(row["estimate"], interval, row["n"]), row["unit"])


def page(source: Path) -> str:
    """The answer and the verdicts of verdicts.json."""
    verdicts = json.loads(source.read_text(encoding="utf-8"))
    return f"{answer(verdicts)}\n\n{matrix(verdicts)}"


def look_up(source: Path) -> str:
    """What five held-out parts of a text say of a hundredfold by looking up, and what the usual one says by itself.

    Args:
        source: answer.md of the study with folds; beside it lie that of the usual split, in frontier_text, and that of
            tables joined to a network, in folds_average.
    """
    usual, average = (source.parent.with_name(study) / source.name for study in ("frontier_text", "folds_average"))
    (folds, verdict), (split, alone), (both, _) = _found(source), _found(usual), _found(average)
    joined = both.split("Joined to a network, ")[1].split(". ")[0]
    told = {"supported": "Yes", "refuted": "No"}.get(verdict["verdict"], "Not decided")
    return (
        f"**{told}, where selection depends on the input.** {folds} {verdict['title']}: {verdict['text']}.\n\n"
        f"Its usual held-out part alone: {split.split('. ')[0].removesuffix('.')}. {alone['title']}: {alone['text']}."
        f"\n\nOver the folds and joined to a network, {joined}."
    )


def _found(source: Path) -> tuple[str, dict[str, Any]]:
    """The first finding of an answer.md, and the verdict that verdicts.json gives it."""
    verdicts = json.loads(source.with_name("verdicts.json").read_text(encoding="utf-8"))
    first = source.read_text(encoding="utf-8").split("\n\n")[0].strip()
    return first, next(v for v in verdicts if v["claim"] == "hundredfold_at_equal_loss")


def main(arguments: list[str]) -> int:
    """Exit code."""
    defaults = ("results/folds_text/answer.md", "README.md")
    return markers.fill(arguments, "answer", ("results/quick/verdicts.json", "README.md"), page) or markers.fill(
        [], "look_up", defaults, look_up
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
