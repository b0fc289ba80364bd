"""Analyse records: verdicts in the terminal, everything else in a folder.

python -m analysis --results results --suite quick --output reports/quick [--plan plan.json]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from analysis import selection, terminal
from analysis.report import PAGE, build


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
        plan = None if options.plan is None else selection.read_plan(options.plan)
        study, verdicts = build(options.results, output, options.suite, plan)
    except ValueError as error:
        print(f"analysis: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    console = Console()
    for table in terminal.overview(study, verdicts):
        console.print(table)
    console.print(f"Report: {output / PAGE}", highlight=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
