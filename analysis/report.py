"""From a folder of records to a folder with a page, plots, tables, verdicts and the records as one table."""

from __future__ import annotations

import base64
import json
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import pandas as pd

from analysis import arms, claims, plot_style, plots, plots_of_benchmark, records, sections, tables, wording
from analysis.claims.base import Verdict
from analysis.records import Selected

PAGE = "report.html"
TEMPLATE = Path(__file__).with_name("report.html.j2")
PLOT_TITLES = {
    "quality-against-energy": "Quality against training energy",
    "energy-ratios": "Energy ratios",
    "quality-differences": "Differences of quality",
    "curves": "Quality on the way",
    "saving-against-density": "Saving against density",
    "where-the-joules-go": "Where the joules go",
}


class Study(NamedTuple):
    """What the records of a study do not say of it: sentences for the page, None where there is nothing to say."""

    command: str | None = None  # that runs it again
    scaled: str | None = None  # how it has been scaled down
    tuning: str | None = None  # what choosing the recipes has cost


def build(
    results: Path, output: Path, suite: str, plan: list[dict[str, Any]] | None = None, study: Study | None = None
) -> list[Verdict]:
    """Write the report of a suite.

    Args:
        results: folder of the records.
        output: folder to write; an earlier report in it is replaced as a whole, anything else is left alone.
        suite: named on the page; without a plan also the choice of records.
        plan: planned runs (run_id, replicate, label, task, seed); only their records are used.
        study: what the page says about the study as a whole.
    Raises:
        ValueError: records or plan cannot be used, or the output folder holds something else. Nothing is written then.
    """
    results, output = Path(results), Path(output)
    selected = records.select(records.load(results), suite, plan, results)
    _check_output(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    except OSError as error:
        raise ValueError(f"output {output}: cannot be written ({error.strerror}); give another folder") from None
    try:
        verdicts = write(selected, folder, suite, results, study or Study())
        _replace(output, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return verdicts


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


def write(selected: Selected, folder: Path, suite: str, results: Path, study: Study) -> list[Verdict]:
    """Write every file of a report into an existing folder."""
    runs = selected.runs
    tasks = sorted(runs.task.unique())
    verdicts = claims.judge(runs, tasks)
    figures = {task: tables.table(runs, task) for task in tasks}
    methods = list(dict.fromkeys(method for table in figures.values() for method in table.method))
    for name in ("plots", "tables"):
        (folder / name).mkdir()
    drawn = {}
    for task in tasks:
        tables.write(figures[task], task, folder / "tables")
        drawn[task] = plots.draw(runs, task, figures[task], plot_style.marks(methods), folder / "plots")
    records.save(runs, folder)
    first = sections.first_line(runs)
    data = [wording.as_data(verdict) for verdict in verdicts]
    (folder / "verdicts.json").write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    (folder / "verdicts.md").write_text(wording.markdown(verdicts, first), encoding="utf-8")
    context = _study(selected, suite, results, verdicts, tasks, study)
    context["ceiling"] = _html(sections.ceiling(figures))
    context["tasks"] = [_task(runs, task, figures[task], drawn[task]) for task in tasks]
    context["backends"] = _backends(results / "benchmark" / "layers.json", folder / "plots" / "backends")
    (folder / PAGE).write_text(render(context), encoding="utf-8")
    return verdicts


def _backends(benchmark: Path, stem: Path) -> dict[str, str] | None:
    """The plot of the benchmark that lies beside the records; None where there is none."""
    rows = plots_of_benchmark.load(benchmark)
    return None if rows is None else _figure("Back ends", plots_of_benchmark.draw(rows, stem), stem)


def _figure(title: str, caption: str, stem: Path) -> dict[str, str]:
    svg = base64.b64encode(stem.with_suffix(".svg").read_bytes()).decode()
    return {"title": title, "caption": caption, "svg": svg}


def render(context: dict[str, Any]) -> str:
    """The page; every text is escaped, an unknown name in the template is an error."""
    options = {"undefined": jinja2.StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    environment = jinja2.Environment(autoescape=True, **options)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(context)


def _study(
    selected: Selected, suite: str, results: Path, verdicts: list[Verdict], tasks: list[str], study: Study
) -> dict[str, Any]:
    runs = selected.runs
    counts = runs.status.value_counts()
    return {
        "suite": suite,
        "results": results.name,
        "command": study.command or f"make reproduce SUITE={suite}",
        "scaled": study.scaled,
        "tuned": study.tuning is not None,
        "first_line": sections.first_line(runs),
        "task_names": tasks,
        "claims": [_claim(group) for group in _by_claim(verdicts)],
        "counts": {status: int(counts.get(status, 0)) for status in records.STATUSES},
        "planned": selected.planned,
        "missing": len(selected.missing),
        "machine": sections.machine(runs),
        "totals": sections.totals(runs, study.tuning),
        "ended": [_ended(run) for run in runs[runs.status != "finished"].itertuples()],
        "exclusions": sections.exclusions(selected, verdicts),
        "commits": runs.commit.dropna().nunique(),
        "flagged": [
            line for task in tasks for line in sections.flagged(runs, task, _physical(runs, task))
        ],
        "notes": tables.NOTES,
    }  # fmt: skip


def _physical(runs: pd.DataFrame, task: str) -> list[str]:
    return [label for label in arms.labels(runs, task) if not arms.is_simulated(runs, task, label)]


def _by_claim(verdicts: list[Verdict]) -> Iterable[list[Verdict]]:
    names = dict.fromkeys(verdict.claim.name for verdict in verdicts)
    return ([v for v in verdicts if v.claim.name == name] for name in names)


def _claim(verdicts: list[Verdict]) -> dict[str, Any]:
    claim = verdicts[0].claim
    return {
        "name": claim.name,
        "title": claim.title,
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
                    (wording.against(r), r.verdict, wording.figure(r, False), wording.rival(r), wording.sensitivity(r))
                    for r in verdict.rows
                ],
            }
            for verdict in verdicts
        ],
    }


def _ended(run) -> str:
    return f"{run.task}: {run.label}, seed {run.seed} {run.status} ({run.reason or 'no reason was recorded'})"


def _task(runs: pd.DataFrame, task: str, figures: pd.DataFrame, drawn: list[plots.Plot]) -> dict[str, Any]:
    physical = _physical(runs, task)
    return {
        "name": task,
        "stem": tables.file_stem(task),
        "control": sections.control(runs, task),
        "repeats": sections.repeats(runs, task),
        "table": _html(tables.formatted(figures)),
        "targets": _html(sections.energy_to_target(runs, task, physical)),
        "ideal": _html(sections.ideal_hardware(runs, task, physical)),
        "plots": [_figure(PLOT_TITLES[plot.name], plot.caption, plot.stem) for plot in drawn],
    }


def _html(table: pd.DataFrame) -> dict[str, Any]:
    """A table as the template takes it."""
    return {"columns": list(table.columns), "rows": table.to_numpy().tolist()}
