"""Puts the verdicts of a published study into the README, between its two markers.

python -m hundredfold.analysis.summary [results/quick/verdicts.json] [README.md]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from hundredfold.analysis import markers


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


def main(arguments: list[str]) -> int:
    """Exit code 2 if the verdicts or the markers are missing."""
    source, target = (Path(a) for a in (arguments + ["results/quick/verdicts.json", "README.md"][len(arguments) :]))
    try:
        markers.rewrite(target, "verdicts", matrix(json.loads(source.read_text(encoding="utf-8"))))
    except (OSError, ValueError) as error:
        print(f"summary: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
