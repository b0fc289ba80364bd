"""`hundredfold rerun`: a run repeated from its record alone, and what differs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hundredfold.analysis import check, records
from hundredfold.analysis.formatting import UNKNOWN
from hundredfold.replication.config import Experiment, build, run_folder
from hundredfold.replication.record import read_record
from hundredfold.replication.train import perform_shown

# What a run has come to: on one machine and code all but what a clock or a counter tells is bitwise the same.
RESULTS = ["status", "steps", "weights_sha256", "test_accuracy", "test_loss", "validation_accuracy", "validation_loss"]
RESULTS += ["executed_flops", "ideal_flops", "selection_flops", "prunable_density", "active_parameters", "made_updates"]
NOISY = ["training_cpu_s", "training_j"]
CONDITIONS = ["run_id", "commit", "dirty", "python", "device", "threads", "precision", "data_fingerprint", "source"]


def rerun(name: str, results: Path, output: Path) -> int:
    """Repeat a run in another results folder and print both beside each other.

    Args:
        name: the beginning of a run's id, of `results` or of a study published there, or the path of a record.json.
    Returns:
        0 where the weights are bitwise the same, else 1.
    Raises:
        ValueError: no such run, or several; it has failed; or its configuration is none of this version.
    """
    before = find(name, results)
    if before["status"] != "finished":
        raise ValueError(f"{name}: the run is {before['status']} ({before['reason']}); there is nothing to repeat")
    config = {group: value for group, value in before["config"].items() if group != "results"}
    experiment = build(config | {"results": str(output)})
    _announce(before, experiment)
    _, _, folder = perform_shown(experiment)
    again = records.flatten(check.read(folder / "record.json"))
    Console(width=None if sys.stdout.isatty() else 160).print(beside(before, again))
    same = before["weights_sha256"] == again["weights_sha256"]
    print("The weights are bitwise the same." if same else "The weights differ.", f"Record: {folder}/record.json")
    return 0 if same else 1


def find(name: str, results: Path) -> dict[str, Any]:
    """The record of a run, as a row of the table of records.

    Raises:
        ValueError: no such run, or several.
    """
    if Path(name).name == "record.json":
        return records.flatten(check.read(Path(name)))
    runs = records.load(results, reuse=results)
    found = runs[runs.run_id.str.startswith(name)]
    if found.empty:
        raise ValueError(f"{name}: no run of {results} begins so, nor one of a study published there")
    if found.run_id.nunique() > 1:
        raise ValueError(f"{name}: {found.run_id.nunique()} runs begin so; give more digits")
    return found.iloc[0].to_dict()


def _announce(before: dict[str, Any], experiment: Experiment) -> None:
    console, seconds = Console(stderr=True, highlight=False, markup=False, soft_wrap=True), before["training_s"]
    how_long = "" if _missing(seconds) else f"; training took {seconds:.3g} s then"
    console.print(f"Repeating {experiment.task} {experiment.label}, seed {experiment.seed}{how_long}.")
    if (done := read_record(run_folder(experiment.config))) is not None and done["status"] == "finished":
        console.print(f"It has been repeated before: {run_folder(experiment.config)}")


def beside(before: dict[str, Any], again: dict[str, Any]) -> Table:
    """Results and conditions of two runs, and where they differ."""
    table = Table("", "the record", "again", "")
    for column in (*RESULTS, *NOISY, *CONDITIONS):
        old, new = before[column], again[column]
        if _missing(old) and _missing(new):
            continue
        same = "" if old == new else "noise" if column in NOISY else "differs"
        table.add_row(column, *map(Text, (_shown(old), _shown(new), same)))
    old, new = before["versions"] or {}, again["versions"]
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            table.add_row(name, *map(Text, (_shown(old.get(name)), _shown(new.get(name)), "differs")))
    return table


def _missing(value: Any) -> bool:
    return value is None or bool(pd.isna(value))


def _shown(value: Any) -> str:
    if _missing(value):
        return UNKNOWN
    text = f"{value:.8g}" if isinstance(value, float) else str(value)
    return f"{text[:16]}..." if len(text) > 40 else text
