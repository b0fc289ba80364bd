"""Analyse records: verdicts in the terminal, everything else in a folder.

python -m analysis --results results --suite quick --output reports/quick [--plan plan.json]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis import records, wording
from analysis.claims import Verdict
from analysis.report import PAGE, build

COLOURS = {"supported": "green", "refuted": "red", "inconclusive": "yellow", "not measured": "dim"}


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 done, 2 a mistake in what was asked."""
    parser = argparse.ArgumentParser(prog="analysis", description=__doc__.split("\n")[0])
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the records")
    parser.add_argument("--suite", default="quick", help="name of the suite whose records are read")
    parser.add_argument("--output", type=Path, help="folder of the report (default reports/SUITE)")
    parser.add_argument("--plan", type=Path, help="JSON list of the planned runs; only their records are read then")
    options = parser.parse_args(arguments)
    output = options.output or Path("reports") / options.suite
    try:
        plan = None if options.plan is None else records.read_plan(options.plan)
        verdicts = build(options.results, output, options.suite, plan)
    except ValueError as error:
        print(f"analysis: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    console = Console()
    console.print(verdict_table(verdicts))
    console.print(f"Report: {output / PAGE}", highlight=False, soft_wrap=True)
    return 0


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


if __name__ == "__main__":
    sys.exit(main())
