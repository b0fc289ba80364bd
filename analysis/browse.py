"""Records on the terminal: a list of runs, one run, arms side by side, all of them as one file."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hundredfold.analysis import check, formatting, papers_page, records, selection, statistics
from hundredfold.analysis import papers as registry
from hundredfold.analysis.arm import Arm, rows
from hundredfold.analysis.contract import incomparable
from hundredfold.analysis.formatting import DASH, UNKNOWN, number
from hundredfold.analysis.schema import DENSE
from hundredfold.analysis.study import Study
from hundredfold.analysis.task import Task

WIDE = 200  # characters of a line that goes to a file or a pipe


def _load(results: Path, suite: str | None, where: str | None = None) -> pd.DataFrame:
    runs = records.load(results)
    if where is not None:
        runs = selection.where(runs, where).runs
    return runs if suite is None else selection.choose(runs, suite, None, results).runs


def list_runs(results: Path, suite: str | None = None, where: str | None = None) -> None:
    """Print a line per run: its id, arm, task, seed, quality and joules."""
    table = Table("run", "task", "arm", "seed", "status", "test", "training J", "evidence", "suite", box=None)
    for run in _load(results, suite, where).itertuples():
        quality = run.test_accuracy if run.metric == "accuracy" else run.test_loss
        label = run.label + (f", repeat {run.replicate}" if run.replicate else "")
        cells = (run.run_id, run.task, label, str(run.seed), run.status, number(quality, 4), number(run.training_j, 4))
        table.add_row(*map(Text, (*cells, run.evidence or UNKNOWN, run.suite or "")))
    Console(width=None if sys.stdout.isatty() else WIDE).print(table)


def why(prefix: str, results: Path) -> None:
    """Print what the records of a run can be used for.

    Raises:
        ValueError: no run, or several, begin so.
    """
    runs, console = records.load(results), Console(soft_wrap=True, highlight=False)
    for path in paths(prefix, results):
        run = next(r for r in rows(runs) if (r.run_id, r.machine, r.replicate) == _key(path))
        console.print(Text(f"{run.task} {run.label}, seed {run.seed}, repeat {run.replicate}: {run.status}"))
        for sentence in _uses(run, runs):
            console.print(Text(f"- {sentence}"))


def _key(path: Path) -> tuple[str, str, int]:
    machine, _, replicate = path.parent.name.rpartition("-")
    return path.parent.parent.name, machine, int(replicate)


def _uses(run: Any, runs: pd.DataFrame) -> Iterator[str]:
    """What happens to a run, in sentences."""
    again = run.status == "failed"
    yield "done again by whatever asks for it, because it failed" if again else "skipped by whatever asks for it again"
    if run.reason:
        yield f"it ended so: {run.reason}"
    if run.dirty or run.dirty is None:
        yield "of changed or unknown code: " + (run.commit or "no commit is known")
    if run.attempts > 1:
        yield f"took {run.attempts} attempts"
    dense = runs[(runs.task == run.task) & (runs.method == DENSE) & (runs.seed == run.seed)]
    others = [other for other in rows(dense) if other.run_id != run.run_id]
    reasons = dict.fromkeys(incomparable(run, other) for other in others)
    if None in reasons:
        yield "its joules may be compared with those of dense"
    elif reasons:
        yield f"its joules are compared with no run of dense: {'; '.join(map(str, reasons))}"
    else:
        yield f"no other run of dense has seed {run.seed} on {run.task}"


def show_run(prefix: str, results: Path) -> None:
    """Print the record of the run whose id begins so.

    Raises:
        ValueError: no run, or several, begin so.
    """
    console = Console()
    for path in paths(prefix, results):
        console.print(Text(str(path)), soft_wrap=True)
        console.print_json(json.dumps(check.read(path).model_dump(exclude={"quality": {"curve"}})))


def paths(prefix: str, results: Path) -> list[Path]:
    """Records of the one run whose id begins so."""
    folders = sorted((results / "runs").glob(f"{prefix}*/*/record.json"))
    if not folders:
        raise ValueError(f"{prefix}: no run of {results} begins so; `hundredfold ls` lists them")
    if len({path.parent.parent for path in folders}) > 1:
        raise ValueError(f"{prefix}: {len(folders)} runs of {results} begin so; give more digits")
    return folders


def compare(
    arms: tuple[str, ...], task: str | None, results: Path, suite: str | None = None, where: str | None = None
) -> None:
    """Print how the other arms stand to the first one: training energy and test quality, paired by seed.

    Raises:
        ValueError: fewer than two arms, or names that no record has.
    """
    runs = _load(results, suite, where)
    if suite is None and where is None:
        runs = runs[~runs.duplicated(["task", "label", "seed", "replicate"], keep="last")]
    study = Study(runs)
    if task is not None and task not in {each.name for each in study.tasks}:
        raise ValueError(f"--task {task}: no record is of it; there are {', '.join(t.name for t in study.tasks)}")
    if len(arms) < 2:
        raise ValueError(f"compare: name two arms or more, the baseline first; there are {_labels(study.tasks)}")
    shown = [each for each in study.tasks if task in (None, each.name) and _has(each, arms)]
    if not shown:
        raise ValueError(f"{', '.join(arms)}: no task has all of them; there are {_labels(study.tasks)}")
    for each in shown:
        Console().print(_beside(each, arms))


def _labels(tasks: list[Task]) -> str:
    return ", ".join(dict.fromkeys(arm.label for task in tasks for arm in task.arms))


def _has(task: Task, labels: tuple[str, ...]) -> bool:
    return {*labels} <= {arm.label for arm in task.arms}


def _beside(task: Task, labels: tuple[str, ...]) -> Table:
    first, *others = (next(arm for arm in task.arms if arm.label == label) for label in labels)
    table = Table("arm", f"joules of {first.label} / its own", f"test {task.metric} less that of {first.label}")
    table.title, table.title_justify = Text(f"{task.name}: mean over shared seeds, 95 % interval"), "left"
    for arm in others:
        table.add_row(Text(arm.label), Text(_saving(arm, first)), Text(_difference(arm, first)))
    return table


def _saving(arm: Arm, first: Arm) -> str:
    if arm.simulated or first.simulated:
        return f"{DASH} (simulated: nothing is saved by multiplying zeros)"
    pairs = arm.energy_pairs(first)
    if pairs.ratio.value is None:
        return "; ".join((UNKNOWN, *pairs.refused))
    return f"{formatting.estimate(pairs.ratio, 'ratio')} ({formatting.EVIDENCE[pairs.evidence]})"


def _difference(arm: Arm, first: Arm) -> str:
    pairs = arm.pairs(first, f"test_{arm.metric}")
    unit = "points" if arm.metric == "accuracy" else "nats"
    return formatting.estimate(statistics.mean(pairs.arm - pairs.baseline), unit)


def export(file: Path, results: Path, suite: str | None = None, where: str | None = None) -> None:
    """Write the records as one table.

    Raises:
        ValueError: the file's ending is none of those known.
        OSError: it cannot be written.
    """
    if file.suffix not in records.WRITERS:
        raise ValueError(f"{file}: expected a name that ends in {', '.join(records.WRITERS)}")
    runs = _load(results, suite, where)
    records.save(runs, file)
    print(f"{len(runs)} records: {file}")


def papers(results: Path, reports: Path, output: Path | None = None) -> None:
    """Print every paper with the states of its figures, by published studies and by the reports of this machine.

    Raises:
        ValueError: the output cannot be written.
    """
    found = registry.outcomes(registry.load(), records.studies(reports, results))
    table = Table("paper", "table", "figures", "states", "command, or why not", box=None)
    for paper, name in dict.fromkeys((one.paper.name, one.table.name) for one in found):
        own = [one for one in found if (one.paper.name, one.table.name) == (paper, name)]
        states = Counter(one.state for one in own)
        told = own[0].table
        command = f"make reproduce SUITE={told.experiment}" if told.experiment else told.why_not or ""
        words = ", ".join(f"{count} {state}" for state, count in states.items())
        table.add_row(*map(Text, (paper, name, str(len(own)), words, command)))
    Console(width=None if sys.stdout.isatty() else WIDE).print(table)
    counts = Counter(one.state for one in found)
    total = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    print(f"{len(found)} figures of {len({one.paper.name for one in found})} papers: {total}")
    if output is not None:
        papers_page.write(found, output)
        print(f"Page: {output}")
