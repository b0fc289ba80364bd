"""`make reproduce`: plan a suite, run what is missing, and write its report.

    python -m replication.reproduce quick [--budget NAME] [--tune] [--results DIR] [--reports DIR] [--plan]
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path

from rich.console import Console

from analysis import terminal
from analysis.report import About, build
from replication import tuning
from replication.energy.sources import choose
from replication.suite import Job, Suite, load_suite
from replication.sweep import identify, run_all

console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    """Exit code: 0 done, 1 some runs failed, 2 a mistake in what was asked, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="replication.reproduce", description=__doc__.split("\n")[0])
    parser.add_argument("suite", nargs="?", default="quick", help="a file of conf/suite or conf/experiment")
    parser.add_argument("--budget", help="one of the suite's budgets, which scale it down")
    parser.add_argument("--tune", action="store_true", help="choose every arm's recipe first, by equal trials")
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
    suite = load_suite(options.suite, options.results, options.budget)
    cost = None
    if options.tune:
        suite, cost = tune(suite, Path(options.reports), plan=options.plan)
    if suite is None:
        return 0
    runs = planned(suite.jobs)
    seconds = expected_seconds(suite, runs)
    announce(suite, runs, seconds, Path(options.reports) / suite.name)
    if options.plan:
        return 0
    outcomes = run_missing(suite, runs, seconds)
    output = Path(options.reports) / suite.name
    about = About(command(options), suite.scaled, cost)
    for table in terminal.overview(*build(Path(options.results), output, suite.name, runs, about)):
        console.print(table, soft_wrap=False)
    console.print(f"Report: {output / 'report.html'}")
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    for outcome in failed:
        print(f"failed: {' '.join(outcome.overrides)}: {outcome.reason}", file=sys.stderr)
    return 1 if failed else 0


def command(options: argparse.Namespace) -> str:
    """The command that does this again."""
    budget = f" budget={options.budget}" if options.budget else ""
    return f"make reproduce SUITE={options.suite}{budget}{' tune=true' if options.tune else ''}"


def tune(suite: Suite, reports: Path, *, plan: bool) -> tuple[Suite | None, str | None]:
    """The suite with every arm's best recipe, and what the trials have cost; no suite while only planning trials."""
    jobs = [job for arm in tuning.trials(suite).values() for job in arm]
    trials = Suite(f"{suite.name}-tuning", f"Trials for: {suite.title}", jobs, suite.scaled)
    runs = planned(jobs)
    seconds = expected_seconds(trials, runs)
    announce(trials, runs, seconds, reports / suite.name)
    if plan and any(run["status"] is None for run in runs):
        console.print("The suite itself follows, with the best recipe of every arm.")
        return None, None
    if not plan:
        run_missing(trials, runs, seconds)
        runs = planned(jobs)
    quality = {tuple(job.overrides): run["validation"] for job, run in zip(jobs, runs, strict=True)}
    joules, spent = (sum(run[name] or 0 for run in runs) for name in ("joules", "seconds"))
    cost = f"{len(runs)} trials of {len(tuning.trials(suite))} arms: {joules:.4g} J, {spent / 60:.1f} min"
    chosen = tuning.tuned(suite, quality)
    return Suite(f"{suite.name}-tuned", suite.title, chosen.jobs, suite.scaled), cost


def planned(jobs: list[Job]) -> list[dict]:
    """What each run is, under the task that the suite gives it."""
    runs = identify([job.overrides for job in jobs])
    return [run | {"task": job.task or run["task"]} for run, job in zip(runs, jobs, strict=True)]


def run_missing(suite: Suite, runs: list[dict], seconds: list[float]) -> list:
    """Run what has no record yet, or a failed one."""
    todo = [i for i, run in enumerate(runs) if run["status"] in (None, "failed")]
    if not todo:
        return []
    return run_all([suite.jobs[i].overrides for i in todo], suite=suite.name, weights=[seconds[i] for i in todo])


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
    if suite.scaled:
        console.print(f"  {suite.scaled}")
    for task, count in Counter(run["task"] for run in runs).items():
        arms = dict.fromkeys(run["label"] for run in runs if run["task"] == task)
        console.print(f"  {task}: {count} runs of {', '.join(arms)}")
    console.print(f"Runs: {len(runs)}, of which {len(runs) - len(todo)} are done and {len(todo)} remain.")
    console.print(f"Time: about {timedelta(seconds=round(sum(todo)))}; Ctrl-C stops, the same command resumes.")
    console.print(f"Energy: {source.name} ({source.evidence}). {source.reason}")
    console.print(f"Report: {output}/report.html")


if __name__ == "__main__":
    sys.exit(main())
