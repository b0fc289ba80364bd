"""`make reproduce`: plan a suite, run what is missing, and write its report.

    python -m replication.reproduce quick [--budget NAME] [--tune] [--plan]
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from analysis import terminal
from analysis.report import About, build
from replication.energy.sources import choose
from replication.study import tuning
from replication.study.job import Job, Past, expected, past
from replication.study.queue import run_all
from replication.study.suite import Suite, load_suite

console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    """Exit code: 0 done, 1 some runs failed, 2 a mistake in what was asked, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="replication.reproduce", description=__doc__.split("\n")[0])
    parser.add_argument("suite", nargs="?", default="quick", help="a file of conf/suite or conf/experiment")
    parser.add_argument("--budget", help="one of the suite's budgets, which scale it down")
    parser.add_argument("--tune", action="store_true", help="choose every arm's recipe first, by equal trials")
    parser.add_argument("--config-dir", type=Path, help="a further folder of configurations, made like conf/")
    parser.add_argument("--results", default="results", help="folder of the records")
    parser.add_argument("--reports", default="reports", help="folder of the reports")
    parser.add_argument("--plan", action="store_true", help="say what would run, and stop")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's stop is as good as Ctrl-C
    try:
        return reproduce(options)
    except ValueError as error:
        print(f"hundredfold: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        console.print("\nInterrupted. The same command goes on where it stopped.")
        return 130


def reproduce(options: argparse.Namespace) -> int:
    """Plan, tune, run and analyse one suite."""
    suite = load_suite(options.suite, options.results, options.budget, options.config_dir)
    cost = None
    if options.tune:
        suite, cost = tune(suite, Path(options.reports), plan=options.plan)
    if suite is None:
        return 0
    output = Path(options.reports) / suite.name
    pasts = [past(job) for job in suite.jobs]
    jobs = expected(suite.jobs, pasts)
    announce(suite, jobs, pasts, output)
    if options.plan:
        return 0
    outcomes = run_all(jobs, suite=suite.name)
    about = About(command(options), suite.scaled, cost)
    for table in terminal.overview(*build(Path(options.results), output, suite.name, planned(jobs), about)):
        console.print(table, soft_wrap=False)
    console.print(f"Report: {output / 'report.html'}")
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    for outcome in failed:
        print(f"failed: {outcome.job}: {outcome.reason}", file=sys.stderr)
    return 1 if failed else 0


def command(options: argparse.Namespace) -> str:
    """The command that does this again."""
    budget = f" budget={options.budget}" if options.budget else ""
    return f"make reproduce SUITE={options.suite}{budget}{' tune=true' if options.tune else ''}"


def tune(suite: Suite, reports: Path, *, plan: bool) -> tuple[Suite | None, str | None]:
    """The suite with every arm's best recipe, and what the trials have cost; no suite while only planning trials."""
    arms = tuning.trials(suite)
    jobs = [job for arm in arms.values() for job in arm]
    trials = replace(suite, name=f"{suite.name}-tuning", title=f"Trials for: {suite.title}", jobs=jobs)
    pasts = [past(job) for job in jobs]
    jobs = expected(jobs, pasts)
    announce(trials, jobs, pasts, reports / suite.name)
    if plan and not all(p.ended for p in pasts):
        console.print("The suite itself follows, with the best recipe of every arm.")
        return None, None
    if not plan:
        run_all(jobs, suite=trials.name)
        pasts = [past(job) for job in jobs]
    quality = {job.run_id: p.validation for job, p in zip(jobs, pasts, strict=True)}
    joules, spent = sum(p.joules or 0 for p in pasts), sum(p.seconds or 0 for p in pasts)
    cost = f"{len(jobs)} trials of {len(arms)} arms: {joules:.4g} J, {spent / 60:.1f} min"
    return replace(tuning.tuned(suite, quality), name=f"{suite.name}-tuned"), cost


def planned(jobs: list[Job]) -> list[dict]:
    """The runs of a study as the analysis takes them."""
    return [{name: getattr(job, name) for name in ("run_id", "replicate", "label", "task", "seed")} for job in jobs]


def announce(suite: Suite, jobs: list[Job], pasts: list[Past], output: Path) -> None:
    """Say what will run, how long it takes, and what measures its energy."""
    todo = [job.seconds for job, p in zip(jobs, pasts, strict=True) if not p.ended]
    source = choose("auto", "cpu", 10.0)
    console.print(f"[bold]Suite {escape(suite.name)}[/bold]: {escape(suite.title)}")
    if suite.scaled:
        console.print(f"  {suite.scaled}")
    for task, count in Counter(job.task for job in jobs).items():
        arms = dict.fromkeys(job.label for job in jobs if job.task == task)
        console.print(f"  {task}: {count} runs of {', '.join(arms)}", markup=False)
    console.print(f"Runs: {len(jobs)}, of which {len(jobs) - len(todo)} are done and {len(todo)} remain.")
    console.print(f"Time: about {timedelta(seconds=round(sum(todo)))}; Ctrl-C stops, the same command resumes.")
    console.print(f"Energy: {source.name} ({source.evidence}). {source.reason}")
    console.print(f"Report: {output}/report.html")


if __name__ == "__main__":
    sys.exit(main())
