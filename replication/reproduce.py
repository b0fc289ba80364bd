"""`make reproduce`: plan a suite, run what is missing, and write its report.

    python -m replication.reproduce quick [--results DIR] [--reports DIR] [--plan]
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path

from rich.console import Console

from analysis.__main__ import arm_tables, verdict_table
from analysis.report import build
from replication.energy.sources import choose
from replication.suite import Suite, load_suite
from replication.sweep import identify, run_all

console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    """Exit code: 0 done, 1 some runs failed, 2 a mistake in what was asked, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="replication.reproduce", description=__doc__.split("\n")[0])
    parser.add_argument("suite", nargs="?", default="quick", help="a file of conf/suite")
    parser.add_argument("--results", default="results", help="folder of the records")
    parser.add_argument("--reports", default="reports", help="folder of the reports")
    parser.add_argument("--plan", action="store_true", help="say what would run, and stop")
    options = parser.parse_args()
    try:
        return reproduce(options)
    except ValueError as error:
        print(f"hundredfold: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        console.print("\nInterrupted. The same command goes on where it stopped.")
        return 130


def reproduce(options: argparse.Namespace) -> int:
    """Plan, run and analyse one suite."""
    suite = load_suite(options.suite, options.results)
    runs = identify([job.overrides for job in suite.jobs])
    seconds = expected_seconds(suite, runs)
    announce(suite, runs, seconds, Path(options.reports) / suite.name)
    if options.plan:
        return 0
    todo = [i for i, run in enumerate(runs) if run["status"] in (None, "failed")]
    outcomes = []
    if todo:
        jobs = [suite.jobs[i].overrides for i in todo]
        outcomes = run_all(jobs, suite=suite.name, weights=[seconds[i] for i in todo])
    output = Path(options.reports) / suite.name
    verdicts = build(Path(options.results), output, suite.name, runs)
    for table in [*arm_tables(output), verdict_table(verdicts)]:
        console.print(table, soft_wrap=False)
    console.print(f"Report: {output / 'report.html'}")
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    for outcome in failed:
        print(f"failed: {' '.join(outcome.overrides)}: {outcome.reason}", file=sys.stderr)
    return 1 if failed else 0


def expected_seconds(suite: Suite, runs: list[dict]) -> list[float]:
    """Seconds of each run: the mean of finished ones of the same arm, or what the suite's file says."""
    past: dict[tuple, list[float]] = {}
    for run in runs:
        if run["seconds"]:
            past.setdefault((run["task"], run["label"]), []).append(run["seconds"])
    known = {arm: sum(times) / len(times) for arm, times in past.items()}
    return [known.get((run["task"], run["label"]), job.seconds) for run, job in zip(runs, suite.jobs, strict=True)]


def announce(suite: Suite, runs: list[dict], seconds: list[float], output: Path) -> None:
    """Say what will run, how long it takes, and what measures its energy."""
    todo = [s for run, s in zip(runs, seconds, strict=True) if run["status"] in (None, "failed")]
    source = choose("auto", "cpu", 10.0)
    console.print(f"[bold]Suite {suite.name}[/bold]: {suite.title}")
    for task, count in Counter(run["task"] for run in runs).items():
        arms = dict.fromkeys(run["label"] for run in runs if run["task"] == task)
        console.print(f"  {task}: {count} runs of {', '.join(arms)}")
    console.print(f"Runs: {len(runs)}, of which {len(runs) - len(todo)} are done and {len(todo)} remain.")
    console.print(f"Time: about {timedelta(seconds=round(sum(todo)))}; Ctrl-C stops, the same command resumes.")
    console.print(f"Energy: {source.name} ({source.evidence}). {source.reason}")
    console.print(f"Report: {output}/report.html")


if __name__ == "__main__":
    sys.exit(main())
