"""`hundredfold reproduce`: plan a study, run what is missing, and write its report."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from hundredfold.analysis import power
from hundredfold.analysis.inert import LEAST_UPDATES
from hundredfold.analysis.records import published
from hundredfold.analysis.report import PAGE, About, show
from hundredfold.analysis.schema import FAILED
from hundredfold.replication.config import registry
from hundredfold.replication.energy.sources import choose
from hundredfold.replication.study import ceiling, tuning
from hundredfold.replication.study.engines import Fresh, parsed
from hundredfold.replication.study.job import Job, Past, expected, past, planned
from hundredfold.replication.study.queue import run_all
from hundredfold.replication.study.suite import Suite, load_suite, studies

PUBLISHED = Path("results")  # of studies whose spread tells what a new one can see
console = Console(highlight=False, soft_wrap=True)


def reproduce(
    study: str,
    budget: str | None,
    tune: bool,
    plan: bool,
    config_dir: Path | None,
    results: Path,
    reports: Path,
    at_once: int = 1,
    launcher: str | None = None,
    reuse: Path | None = None,
) -> int:
    """Plan, tune, run and analyse one study.

    Args:
        study: a file of conf/suite or conf/experiment, or of such a folder in `config_dir`.
        plan: say what would run, and stop.
        at_once: runs side by side; from two on their energy is not measured.
        launcher: engine of the runs, with its options; default one after the other on this machine.
        reuse: folder of published studies whose records are taken for done.
    Returns:
        exit code: 0 done, 1 some runs failed.
    Raises:
        ValueError: a mistake in what was asked; nothing has run then.
    """
    if tune and (at_once > 1 or reuse or launcher):
        raise ValueError("--tune: does runs of its own, one after the other; leave --jobs, --launcher and --reuse out")
    if launcher and at_once > 1:
        raise ValueError(f"--launcher {launcher!r}: says itself how many runs go side by side; leave --jobs out")
    engine = parsed(launcher) if launcher else Fresh(at_once)
    suite = load_suite(study, str(results), budget, config_dir)
    cost = None
    if tune:
        suite, cost = tuned(suite, reports, plan=plan)
    if suite is None:
        return 0
    if at_once > 1:
        suite = replace(suite, jobs=[unmetered(job) for job in suite.jobs])
    output = reports / suite.name
    public = {} if reuse is None else published_pasts(reuse)
    pasts = [found(job, public) for job in suite.jobs]
    jobs = expected(suite.jobs, pasts)
    announce(suite, jobs, pasts, output, at_once)
    if launcher:
        console.print(f"Launcher: {launcher}; the time is that of one run after the other.", markup=False)
    if plan:
        return 0
    todo = [job for job, p in zip(jobs, pasts, strict=True) if not p.ended]
    outcomes = run_all(todo, suite=suite.name, engine=engine)
    about = About(command(study, budget, tune), suite.scaled, cost, suite.judge)
    show(results, output, suite.name, planned(jobs), about, reuse=reuse)
    failed = [outcome for outcome in outcomes if outcome.status == FAILED]
    for outcome in failed:
        print(f"failed: {outcome.job}: {outcome.reason}", file=sys.stderr)
    return 1 if failed else 0


def command(study: str, budget: str | None, tune: bool) -> str:
    """The command that does this again."""
    return f"make reproduce SUITE={study}{f' budget={budget}' if budget else ''}{' tune=true' if tune else ''}"


def plan_of(name: str, results: Path, reuse: Path | None = None) -> list[dict] | None:
    """The planned runs of a study, or of a study-budget, as its report names them.

    Of the study as it stands and the study without joules, as `--jobs` runs it, that of which more runs are there; None
    where none is, or where there is no such file.

    Raises:
        ValueError: the file is not of a study's form.
    """
    study, _, budget = name.rpartition("-")
    for known, scale in ((name, None), (study, budget)):
        if known in studies():
            jobs = load_suite(known, str(results), scale).jobs
            public = {} if reuse is None else published_pasts(reuse)
            variants = (jobs, [unmetered(job) for job in jobs])
            there = [sum(found(job, public).ended for job in variant) for variant in variants]
            return planned(variants[there.index(max(there))]) if any(there) else None
    return None


def unmetered(job: Job) -> Job:
    """The same run without joules: another one, since a metered study cannot take it for done."""
    return replace(job.changed(energy={"source": "none"}), label=job.label)


def found(job: Job, public: dict[tuple[str, int], Past]) -> Past:
    """What is known of a run: by its own record, or else by a published one."""
    own = past(job)
    return own if own.ended else public.get((job.run_id, job.replicate), own)


def published_pasts(root: Path) -> dict[tuple[str, int], Past]:
    """What published studies know of their runs, by run id and repetition.

    Raises:
        ValueError: none lies in the folder.
    """
    runs = published(root)
    if runs.empty:
        raise ValueError(f"--reuse {root}: no study is published there (a folder with records.parquet)")
    return {
        (run.run_id, int(run.replicate)): Past.published(run) for run in runs.itertuples() if run.status != FAILED
    }


def tuned(suite: Suite, reports: Path, *, plan: bool) -> tuple[Suite | None, str | None]:
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


def announce(suite: Suite, jobs: list[Job], pasts: list[Past], output: Path, at_once: int = 1) -> None:
    """Say what will run, how long it takes, and what measures its energy."""
    todo = [job.seconds for job, p in zip(jobs, pasts, strict=True) if not p.ended]
    source = choose("auto", "cpu", 10.0)
    left = round(sum(todo) / at_once)
    energy = f"{source.name} ({source.evidence}). {source.reason}"
    if at_once > 1:
        energy = f"not measured, since {at_once} runs go side by side."
    console.print(f"[bold]Suite {escape(suite.name)}[/bold]: {escape(suite.title)}")
    if suite.scaled:
        console.print(f"  {suite.scaled}")
    for task, count in Counter(job.task for job in jobs).items():
        arms = dict.fromkeys(job.label for job in jobs if job.task == task)
        console.print(f"  {task}: {count} {'run' if count == 1 else 'runs'} of {', '.join(arms)}", markup=False)
    console.print(f"Runs: {len(jobs)}, of which {len(jobs) - len(todo)} are done and {len(todo)} remain.")
    console.print(f"Time: about {timedelta(seconds=left)}; Ctrl-C stops, the same command resumes.")
    console.print(f"Energy: {energy}")
    scheduled = [job for job in jobs if job.updates is not None]
    few = {f"{job.task} {job.label} ({job.updates})" for job in scheduled if job.updates < LEAST_UPDATES}
    if few:
        console.print(
            f"Warning: fewer than {LEAST_UPDATES} updates in a run of {', '.join(sorted(few))}; their arms will be "
            "marked as inert. Shorten their interval or train longer.",
            markup=False,
        )
    seeds = {task: len({job.seed for job in jobs if job.task == task}) for task in dict.fromkeys(j.task for j in jobs)}
    known = power.published_tasks(seeds, PUBLISHED)
    for sentence in power.plan(seeds, known):
        console.print(f"Power: {sentence}.", markup=False)
    bounds = power.ceilings(known)
    remaining = {job.task for job, p in zip(jobs, pasts, strict=True) if not p.ended}
    models: dict[str, Any] = {job.task: registry("model")[job.config["model"]["name"]] for job in jobs}
    for task in [task for task in seeds if not models[task].learns]:  # what looks up has no products to skip
        bound = bounds.get(task)
        if bound is None and task in remaining:  # profiled, which takes seconds
            bound = ceiling.sentence(next(job.config for job in jobs if job.task == task))
        if bound is not None:
            console.print(f"Ceiling: {task}: {bound}.", markup=False)
    console.print(f"Report: {output / PAGE}")
