"""From a folder of records to a folder with a page, plots, tables, verdicts and the records as one table."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from rich.console import Console

from hundredfold.analysis import (
    baseline,
    claims,
    pages,
    papers,
    papers_page,
    parallel,
    plots,
    records,
    selection,
    summary,
    tables,
    terminal,
    wording,
)
from hundredfold.analysis.claims import Verdict
from hundredfold.analysis.claims.base import FLAGSHIP
from hundredfold.analysis.facts import control, exclusions, lattice, provenance
from hundredfold.analysis.facts.ceiling import ceiling
from hundredfold.analysis.facts.checklist import checklist
from hundredfold.analysis.facts.energy_to_target import energy_to_target
from hundredfold.analysis.facts.footprint import footprint
from hundredfold.analysis.facts.ideal_hardware import ideal_hardware
from hundredfold.analysis.facts.profiles import profiles
from hundredfold.analysis.facts.sensitivity import sensitivity
from hundredfold.analysis.frontier import Frontier, by_fold, conditions, finding
from hundredfold.analysis.frontier import table as frontier_table
from hundredfold.analysis.plots import benchmark, style
from hundredfold.analysis.plots import frontier as frontier_plot
from hundredfold.analysis.schema import STATUSES
from hundredfold.analysis.statistics import NOT_MEASURED
from hundredfold.analysis.study import Study
from hundredfold.analysis.task import Task

Marks = dict[str, tuple[str, str]]  # method -> (colour, marker)
PAGE = "report.html"
TEMPLATE = pages.FOLDER / "report.html.j2"
PLOT_TITLES = {
    "quality-against-energy": "Quality against training energy",
    "energy-ratios": "Energy ratios",
    "quality-differences": "Differences of quality",
    "curves": "Quality on the way",
    "saving-against-density": "Saving against density",
    "where-the-joules-go": "Where the joules go",
}


class About(NamedTuple):
    """What the records of a study do not say of it: sentences for the page, None where there is nothing to say."""

    command: str | None = None  # that runs it again
    scaled: str | None = None  # how it has been scaled down
    tuning: str | None = None  # what choosing the recipes has cost
    judge: tuple[str, ...] = ()  # methods that the claims are about; none leaves it to `claims.judged`


def build(
    results: Path,
    output: Path,
    suite: str,
    plan: list[dict[str, Any]] | None = None,
    about: About | None = None,
    where: str | None = None,
    reuse: Path | None = None,
) -> tuple[Study, list[Verdict]]:
    """Write the report of a suite.

    Args:
        results: folder of the records.
        output: folder to write; an earlier report in it is replaced as a whole, anything else is left alone.
        suite: named on the page; without a plan also the choice of records.
        plan: planned runs (run_id, replicate, label, task, seed); only their records are used.
        about: what the page says about the study as a whole.
        where: conditions that choose the records instead, whichever study wrote them; see `selection.where`.
        reuse: folder of published studies whose records are added.
    Raises:
        ValueError: records or plan cannot be used, or the output folder holds something else. Nothing is written then.
    """
    results, output = Path(results), Path(output)
    runs = records.load(results, reuse)
    study = selection.where(runs, where) if where else selection.choose(runs, suite, plan, results)
    _check_output(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    except OSError as error:
        raise ValueError(f"output {output}: cannot be written ({error.strerror}); give another folder") from None
    try:
        verdicts = write(study, folder, suite, results, about or About())
        _replace(output, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return study, verdicts


def show(
    results: Path,
    output: Path,
    suite: str,
    plan: list[dict[str, Any]] | None = None,
    about: About | None = None,
    where: str | None = None,
    reuse: Path | None = None,
) -> None:
    """Write a report as `build` does, and print its tables and where it is."""
    console = Console()
    for table in terminal.overview(*build(results, output, suite, plan, about, where, reuse)):
        console.print(table)
    console.print(f"Report: {output / PAGE}", highlight=False, markup=False, soft_wrap=True)


def _check_output(output: Path) -> None:
    if output.exists() and not output.is_dir():
        raise ValueError(f"output {output}: is a file; give a folder")
    if output.is_dir() and any(output.iterdir()) and not (output / PAGE).is_file():
        raise ValueError(f"output {output}: holds something else than a report; give a new or an empty folder")


def _replace(output: Path, folder: Path) -> None:
    """Put a finished folder in the place of an older one."""
    folder.chmod(0o755)
    if not output.exists():
        folder.rename(output)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{output.name}-old-", dir=output.parent))
    output.rename(old / "report")
    folder.rename(output)
    shutil.rmtree(old)


def write(study: Study, folder: Path, suite: str, results: Path, about: About) -> list[Verdict]:
    """Write every file of a report into an existing folder."""
    marks = style.marks(list(dict.fromkeys(arm.method for arm in study.arms)))
    for name in ("plots", "tables"):
        (folder / name).mkdir()
    with _drawing(study, marks, folder) as drawn:
        verdicts = claims.judge(study, about.judge)
        _write_data(study, verdicts, folder)
        context = _study(study, suite, results, verdicts, about)
        context["texts"] = [_text(frontier, folder) for frontier in study.frontiers]
        methods = list(about.judge or claims.judged(study))
        context["tasks"] = [_task(task, methods) for task in study.tasks]
        for task, found in zip(context["tasks"], drawn(), strict=True):
            task["plots"] = [_figure(PLOT_TITLES[plot.name], plot.caption, plot.stem) for plot in found]
    context["first_plot"] = _first_plot(context)
    (folder / "answer.md").write_text("\n\n".join(context["answer"]) + "\n", encoding="utf-8")
    context["backends"] = _backends(results / "benchmark" / "layers.json", folder / "plots" / "backends")
    (folder / PAGE).write_text(pages.render(TEMPLATE.name, context), encoding="utf-8")
    return verdicts


def _write_data(study: Study, verdicts: list[Verdict], folder: Path) -> None:
    """The records and the verdicts as files."""
    records.save(study.runs, *((folder / "records").with_suffix(ending) for ending in (".csv", ".parquet")))
    data = [wording.as_data(verdict) for verdict in verdicts]
    (folder / "verdicts.json").write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    markdown = wording.markdown(verdicts, provenance.first_line(study.runs))
    (folder / "verdicts.md").write_text(markdown, encoding="utf-8")


@contextlib.contextmanager
def _drawing(study: Study, marks: Marks, folder: Path) -> Iterator[Callable[[], list[list[plots.Plot]]]]:
    """Write the tables and plots of every task, by other cores where there are many records; gives those of each."""
    if len(study.runs) < records.MANY:
        yield lambda: [_draw(task, marks, folder) for task in study.tasks]
        return
    with parallel.beside(_draw_apart, [(task.name, task.runs, marks, folder) for task in study.tasks]) as drawn:
        yield drawn


def _draw_apart(work: tuple[str, pd.DataFrame, Marks, Path]) -> list[plots.Plot]:
    """The same in another process, which gets the records of the task."""
    name, runs, marks, folder = work
    return _draw(Task(name, runs), marks, folder)


def _draw(task: Task, marks: Marks, folder: Path) -> list[plots.Plot]:
    tables.write(task, folder / "tables")
    return plots.draw(task, marks, folder / "plots")


def _first_plot(context: dict[str, Any]) -> dict[str, str] | None:
    """The one figure that stands beside the answer, with its first half as the title."""
    if context["texts"]:
        return context["texts"][0]["plot"]
    answer = context["answer"][0]
    named = sorted(context["tasks"], key=lambda task: f" on {task['name']})" not in answer)  # of which it speaks
    figures = [plot for task in named for plot in task["plots"]]
    shown = next((plot for plot in figures if plot["title"] == PLOT_TITLES["quality-against-energy"]), None)
    return shown and shown | {"title": answer.partition(";")[0].removesuffix(".")}


def _backends(path: Path, stem: Path) -> dict[str, str] | None:
    """The plot of the benchmark that lies beside the records; None where there is none."""
    rows = benchmark.load(path)
    return None if rows is None else _figure("Back ends", benchmark.draw(rows, stem), stem)


def _figure(title: str, caption: str, stem: Path) -> dict[str, str]:
    svg = base64.b64encode(stem.with_suffix(".svg").read_bytes()).decode()
    return {"title": title, "caption": caption, "svg": svg}


def _study(study: Study, suite: str, results: Path, verdicts: list[Verdict], about: About) -> dict[str, Any]:
    runs = study.runs
    counts = runs.status.value_counts()
    by_claim = list(_by_claim(verdicts))
    told = [group for group in by_claim if _is_measured(group)]
    silent = [group[0].claim.title for group in by_claim if not _is_measured(group)]
    published = papers.of_study(papers.load(), suite, runs)
    return {
        "suite": suite,
        "results": results.name,
        "command": about.command or f"make reproduce SUITE={suite}",
        "scaled": about.scaled,
        "tuned": about.tuning is not None,
        "first_line": provenance.first_line(runs),
        "answer": _answer(study, verdicts, published),
        "published": [papers_page.section(beside) for beside in papers_page.tables(published)],
        "groups": _groups([verdict for group in told for verdict in group]),
        "claims": [_claim(group) for group in told],
        "unmeasured": list(dict.fromkeys(silent)),
        "first_run": runs.started.min(),
        "counts": {status: int(counts.get(status, 0)) for status in STATUSES},
        "planned": study.planned,
        "missing": len(study.missing),
        "ceiling": pages.grid(ceiling(study)),
        "checklist": checklist(study, about.tuning),
        "profiles": pages.grid(profiles(study)),
        "footprint": footprint(runs),
        "caps": list(dict.fromkeys(cap for v in verdicts if v.text != v.word for cap in v.caps)),
        "machine": provenance.machine(runs),
        "totals": provenance.totals(runs, about.tuning),
        "ended": exclusions.ended(study),
        "exclusions": exclusions.exclusions(study, verdicts),
        "commits": runs.commit.dropna().nunique(),
        "flagged": [line for task in study.tasks for line in exclusions.flagged(task)],
        "notes": tables.NOTES,
    }


def _answer(study: Study, verdicts: list[Verdict], published: list[papers.Outcome]) -> list[str]:
    """What came out, in a sentence or two: of published figures, on texts that models share, or by the claims."""
    if published:
        return [papers_page.answer(published)]
    found = [sentence for frontier in study.frontiers if (sentence := finding(frontier))]
    if found:
        return [
            f"{sentence} {conditions(study.frontiers[0])}" if i == 0 else sentence for i, sentence in enumerate(found)
        ]
    if all(verdict.word == NOT_MEASURED for verdict in verdicts) and (alone := summary.dense_alone(study)):
        return [alone]
    return [summary.answer([wording.as_data(verdict) for verdict in verdicts]).replace("**", "")]


def _groups(verdicts: list[Verdict]) -> list[dict[str, Any]]:
    """The verdicts as tables of claims by tasks: one for each method, or for the claims that are about none."""
    several = len({verdict.claim.method for verdict in verdicts if verdict.claim.by_method}) > 1
    groups: dict[tuple[str | None, tuple[str, ...]], dict[str, Any]] = {}
    for group in _by_claim(verdicts):
        key = group[0].claim.method if several and group[0].claim.by_method else None, tuple(v.task for v in group)
        found = groups.setdefault(key, {"method": key[0], "tasks": key[1], "claims": []})
        found["claims"].append(_claim(group))
    return list(groups.values())


def _is_measured(group: list[Verdict]) -> bool:
    """Whether a claim is measured on some task: a card that says nothing else is left out."""
    return any(verdict.word != NOT_MEASURED or verdict.rows for verdict in group)


def _by_claim(verdicts: list[Verdict]) -> Iterable[list[Verdict]]:
    keys = dict.fromkeys((verdict.claim.method, verdict.claim.name) for verdict in verdicts)
    return ([v for v in verdicts if (v.claim.method, v.claim.name) == key] for key in keys)


def _claim(verdicts: list[Verdict]) -> dict[str, Any]:
    claim = verdicts[0].claim
    return {
        "name": f"{claim.name}-{claim.method}" if claim.method != FLAGSHIP else claim.name,
        "title": claim.title,
        "method": claim.method if claim.by_method else None,
        "family": claim.family,
        "identity": claim.identity,
        "written": claim.written,
        "statements": list(dict.fromkeys(verdict.statement for verdict in verdicts)),
        "estimands": list(dict.fromkeys(e for e in (claim.estimand, claim.loss_estimand) if e)),
        "verdicts": [
            {
                "task": verdict.task,
                "word": verdict.word,
                "text": verdict.text,
                "caps": verdict.caps,
                "figure": wording.figure(verdict.best),
                "against": verdict.best.against if verdict.best else "",
                "rival": wording.rival(verdict.best),
                "evidence": wording.evidence(verdict),
                "would_change": wording.would_change(verdict),
                "rows": [
                    (
                        wording.against(r),
                        r.verdict,
                        wording.figure(r, False),
                        wording.simultaneous(r, verdict.tests),
                        wording.rival(r),
                        wording.sensitivity(r),
                    )
                    for r in verdict.rows
                ],
            }
            for verdict in verdicts
        ],
    }


def _task(task: Task, methods: list[str]) -> dict[str, Any]:
    return {
        "name": task.name,
        "stem": tables.file_stem(task.name),
        "control": control.energy(task),
        "repeats": control.repeats(task),
        "baseline": baseline.sentence(task),
        "sensitivity": pages.grid(sensitivity(task, methods)),
        "lattice": pages.grid(lattice.table(task)),
        "table": pages.grid(tables.formatted(task)),
        "targets": pages.grid(energy_to_target(task)),
        "ideal": pages.grid(ideal_hardware(task)),
    }


def _text(frontier: Frontier, folder: Path) -> dict[str, Any]:
    """A text of the page: its table, also as CSV, and its plot."""
    found, stem = frontier_table(frontier), tables.file_stem(f"frontier {frontier.name}")
    folds = by_fold(frontier)
    found.to_csv(folder / "tables" / f"{stem}.csv", index=False)
    (folder / "tables" / f"{stem}.md").write_text(found.to_markdown(index=False, disable_numparse=True) + "\n")
    figure, caption = frontier_plot.draw(frontier)
    style.save(figure, folder / "plots" / stem)
    return {
        "name": frontier.name,
        "stem": stem,
        "table": pages.grid(found),
        "folds": None if folds is None else pages.grid(folds),
        "plot": _figure(f"Energy to a loss, {frontier.name}", caption, folder / "plots" / stem),
    }
