"""Analyse records: verdicts in the terminal, everything else in a folder.

python -m analysis --results results --suite quick --output reports/quick [--plan plan.json]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd
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
    for table in [*arm_tables(output), verdict_table(verdicts)]:
        console.print(table)
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


def arm_tables(output: Path) -> list[Table]:
    """One table per task of a written report: every arm's quality, energy, and FLOPs as dense over its own."""
    tables = []
    for path in sorted((output / "tables").glob("*.csv")):
        figures = pd.read_csv(path)
        unit = "accuracy %" if figures.metric[0] == "accuracy" else "loss, nats"
        titles = ("Arm", unit, "Energy", "E dense / E", "FLOPs dense / ideal", "FLOPs dense / executed")
        table = Table(*titles, title=path.stem.replace("-", "/"), title_justify="left")
        for row in figures.itertuples():
            quality = 100 * row.quality if row.metric == "accuracy" else row.quality
            cost = ("-", "-") if row.simulated else (f"{row.energy_j:.3g} J", f"{row.energy_ratio:.2f}x")
            flops = [f"{value:.3g}x" for value in (row.flop_ratio_ideal, row.flop_ratio_executed)]
            cells = [row.arm, f"{quality:.2f}" if unit[0] == "a" else f"{quality:.4f}", *cost, *flops]
            table.add_row(*(Text(cell.replace("nanx", "").replace("nan J", "not measured")) for cell in cells))
        table.caption, table.caption_justify = "- stands for simulated: nothing is saved by multiplying zeros", "left"
        tables.append(table)
    return tables


if __name__ == "__main__":
    sys.exit(main())
