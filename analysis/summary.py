"""Puts the answer and the verdicts of a published study into the README, between their markers.

python -m hundredfold.analysis.summary [results/quick/verdicts.json] [README.md]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from hundredfold.analysis import markers


def answer(verdicts: list[dict[str, Any]]) -> str:
    """One sentence for the whole question: the largest saving, what it cost, and the rival's."""
    both = [v for v in verdicts if v["claim"] == "both_at_once" and v["best"]]
    tasks = list(dict.fromkeys(v["task"] for v in both))
    rows = [(v["task"], row) for v in both for row in v["rows"] if row["parts"][0]["estimate"] is not None]
    if not rows:
        return "**Not measured yet.**"
    task, row = max(rows, key=lambda pair: pair[1]["parts"][0]["estimate"])
    ratio, quality = row["parts"]
    word = "Yes" if any(v["verdict"] == "supported" for v in both) else "No"
    rival, lost = (part.get("rival") or {} for part in (ratio, quality))
    small = ""
    if rival and lost:
        small = f"; the equally small dense network {rival['estimate']:.2g}x at {_points(lost)}"
    gains = [v for v in verdicts if v["claim"] == "accuracy_gain"]
    no_gain = " No task gained 2 points." if gains and all(v["verdict"] != "supported" for v in gains) else ""
    caps = "; ".join(dict.fromkeys(cap for v in both for cap in v["caps"]))
    where = f"these {len(tasks)} small tasks" if len(tasks) > 1 else "this small task"
    head = f"**Yes, on at least one of {where}.**" if word == "Yes" else f"**No, not on {where}.**"
    saving = f"The flagship's largest saving was {ratio['estimate']:.2g}x at {_points(quality)}"
    return f"{head} {saving} ({row['arm']} on {task}){small}.{no_gain}" + (f" Indicative: {caps}." if caps else "")


def _points(row: dict[str, Any]) -> str:
    """A difference in quality: points of accuracy, or the loss."""
    estimate = row["estimate"]
    return f"{100 * estimate:+.1f} points" if row.get("unit", "points") == "points" else f"{estimate:+.2g}"


def matrix(verdicts: list[dict[str, Any]]) -> str:
    """Claims by tasks in Markdown: the verdict, the figure of the arm closest to the claim, its small dense rival's.

    Args:
        verdicts: as in verdicts.json.
    """
    cells: dict[str, dict[str, str]] = {}
    caps = dict.fromkeys(cap for v in verdicts if v["text"] != v["verdict"] for cap in v["caps"])
    for verdict in verdicts:
        mark = "" if verdict["text"] == verdict["verdict"] else "*"
        cells.setdefault(verdict["title"], {})[verdict["task"]] = f"{verdict['verdict']}{mark}{_figure(verdict)}"
    table = pd.DataFrame(cells).T.rename_axis("claim").to_markdown()
    return f"{table}\n\n\\* indicative: {'; '.join(caps)}." if caps else table


def _figure(verdict: dict[str, Any]) -> str:
    """The estimate of a ratio or of points, with the rival's behind it; nothing where several figures decide."""
    best = verdict["best"]
    if not best or best["estimate"] is None or best["unit"] not in ("ratio", "points"):
        return ""
    rival = (best.get("rival") or {}).get("estimate")
    form = "{:.2g}x" if best["unit"] == "ratio" else "{:+.1f}"
    scale = 1 if best["unit"] == "ratio" else 100
    figure = form.format(scale * best["estimate"])
    return f" {figure}" + (f" (small dense {form.format(scale * rival)})" if rival is not None else "")


def page(source: Path) -> str:
    """The answer and the verdicts of verdicts.json."""
    verdicts = json.loads(source.read_text(encoding="utf-8"))
    return f"{answer(verdicts)}\n\n{matrix(verdicts)}"


def look_up(source: Path) -> str:
    """The first finding of answer.md, with its conditions, and the verdict that verdicts.json gives it."""
    first = source.read_text(encoding="utf-8").split("\n\n")[0].strip()
    verdicts = json.loads(source.with_name("verdicts.json").read_text(encoding="utf-8"))
    verdict = next(v for v in verdicts if v["claim"] == "hundredfold_at_equal_loss")
    told = {"supported": "Yes", "refuted": "No"}.get(verdict["verdict"], "Not decided")
    return f"**{told}, where selection depends on the input.** {first} {verdict['title']}: {verdict['text']}."


def main(arguments: list[str]) -> int:
    """Exit code."""
    defaults = ("results/frontier_text/answer.md", "README.md")
    return markers.fill(arguments, "answer", ("results/quick/verdicts.json", "README.md"), page) or markers.fill(
        [], "look_up", defaults, look_up
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
