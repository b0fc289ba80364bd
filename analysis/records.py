"""Records of runs as one table."""

from __future__ import annotations

import atexit
import contextlib
import gc
import itertools
import json
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
from pyarrow import compute, csv
from pydantic_core import to_json

from hundredfold.analysis import check, parallel
from hundredfold.analysis.schema import Metric, Record

# Column of the table -> the record's field.
COLUMNS = {
    name: name
    for name in (
        "run_id machine replicate status reason suite task dataset model method label family twin_of simulated options "
        "seed steps segments attempts weights_sha256"
    ).split()
} | {
    "metric": "quality.metric",
    "curve": "quality.curve",
    "test_accuracy": "quality.test.accuracy",
    "test_loss": "quality.test.loss",
    "test_examples": "quality.test.num_examples",
    "correct": "quality.correct",
    "validation_accuracy": "quality.validation.accuracy",
    "validation_loss": "quality.validation.loss",
    "text_validation_loss": "quality.read_on.validation.loss",
    "text_loss": "quality.read_on.test.loss",
    "text_predictions": "quality.read_on.test.num_examples",
    "text_cpu_s": "quality.read_on.test.cpu_s",
    "text_context": "quality.read_on.test.context",
    "text_without_cache_loss": "quality.read_on.test.cache.loss_without",
    "source": "energy.source",
    "evidence": "energy.evidence",
    "energy_reason": "energy.reason",
    "domains": "energy.domains",
    "phases_j": "energy.phases_j",
    "by_seconds": "energy.by_seconds",
    "training_j": "energy.training_j",
    "unmetered_fraction": "energy.unmetered_fraction",
    "phases_s": "time.phases_s",
    "training_s": "time.training_s",
    "training_cpu_s": "time.training_cpu_s",
    "executed_flops": "flops.executed",
    "ideal_flops": "flops.ideal",
    "selection_flops": "flops.selection",
    "modeled_bytes": "bytes.modeled",
    "target_density": "density.target",
    "prunable_density": "density.prunable",
    "total_density": "density.total",
    "scheduled_updates": "updates.scheduled",
    "made_updates": "updates.made",
    "unit_groups": "units",
    "total_parameters": "parameters.total",
    "active_parameters": "parameters.active",
    "commit": "environment.commit",
    "dirty": "environment.dirty",
    "versions": "environment.versions",
    "device": "environment.device",
    "device_key": "environment.device_key",
    "cpu": "environment.cpu",
    "cores": "environment.cores",
    "threads": "environment.threads",
    "precision": "environment.precision",
    "data_fingerprint": "environment.data_fingerprint",
    "boot": "environment.boot",
    "code": "environment.code",
    "config": "config",
    "budget": "config.budget",
    "characters": "config.dataset.characters",
    "fold": "config.dataset.fold",
    "platform": "environment.platform",
    "python": "environment.python",
    "started": "environment.started",
    "load_average": "environment.load_average",
    "others_cores": "environment.others_cores",
    "others_on_gpu": "environment.others_on_gpu",
}
PATHS = {column: name.split(".") for column, name in COLUMNS.items()}
OBJECTS = ("options", "config", "curve", "domains", "phases_j", "by_seconds", "phases_s", "versions", "code")
ALIKE = ("options", "domains", "by_seconds", "versions", "code")  # of them, those that many records share
MANY = 2000  # runs from which on several processes read them, so many at a time
NUMBERS = [c for c in COLUMNS if c.endswith(("_j", "_s", "_flops", "_bytes", "_density", "_accuracy", "_loss"))]
NUMBERS = [c for c in NUMBERS if c not in OBJECTS]
NUMBERS += [
    "unmetered_fraction",
    "load_average",
    "others_cores",
    "others_on_gpu",
    "test_examples",
    "budget",
    "text_predictions",
    "characters",
    "fold",
    "total_parameters",
    "active_parameters",
    "scheduled_updates",
    "made_updates",
    "unit_groups",
]


atexit.register(gc.unfreeze)  # what is frozen when Python ends looks like a leak to libraries, and some say so


class Point(NamedTuple):
    """One evaluation on the way, as `schema.CurvePoint` describes it."""

    step: int
    fraction: float
    train_loss: float
    validation_accuracy: float
    validation_loss: float
    training_j: float | None
    training_cpu_s: float
    executed_flops: float

    def validation(self, metric: Metric) -> float:
        """Accuracy or loss on the validation split."""
        return self.validation_accuracy if metric == "accuracy" else self.validation_loss


def load(results: Path, reuse: Path | None = None) -> pd.DataFrame:
    """Read every record.json below a folder.

    Args:
        reuse: folder of published studies whose records are added; a run's own record goes before a published one.
    Returns:
        one row per record with the columns COLUMNS, sorted by task, label, seed and replicate; those of OBJECTS hold
        lists and dictionaries, points of a curve as `Point`; a number that is not known is missing (NaN inside the
        table, never on a page).
    Raises:
        ValueError: no such folder, no records in it, or a record that cannot be read.
    """
    with _no_collection():
        return _load(Path(results), reuse)


def _load(results: Path, reuse: Path | None) -> pd.DataFrame:
    columns = _read_all(results)
    public = None if reuse is None else published(reuse)
    if not columns["run_id"] and public is None:
        raise ValueError(f"no records below {results}: run `make reproduce` first, or give another folder")
    runs = pd.DataFrame(columns)
    texts = runs.columns[[pd.api.types.is_string_dtype(dtype) for dtype in runs.dtypes]]
    # plain objects, in few blocks: the table is sliced thousands of times
    runs = runs.astype(dict.fromkeys(NUMBERS, float) | dict.fromkeys(texts, object))
    runs = runs.assign(**{name: runs[name].where(runs[name].notna(), None) for name in texts}).copy()
    if public is not None:
        known = set(zip(runs.run_id, runs.replicate, strict=True))
        other = public[[key not in known for key in zip(public.run_id, public.replicate, strict=True)]]
        runs = pd.concat([runs, other], ignore_index=True) if len(runs) else other
    return runs.sort_values(["task", "label", "seed", "replicate"], ignore_index=True, kind="stable")


def _read_all(results: Path) -> dict[str, list[Any]]:
    """Every column of the records below a folder, in the order of their paths; by all cores where there are many."""
    folders = sorted(Path(entry) for entry in os.scandir(results / "runs")) if (results / "runs").is_dir() else []
    if len(folders) < MANY:
        return _read(_records(results))
    parts = parallel.each(_read_folders, [folders[i : i + MANY] for i in range(0, len(folders), MANY)])
    parts.append(_read(_records(results, leave=results / "runs")))
    return {name: list(itertools.chain.from_iterable(part[name] for part in parts)) for name in COLUMNS}


def _read_folders(folders: list[Path]) -> dict[str, list[Any]]:
    with _no_collection():
        return _read([path for folder in folders for path in _records(folder)])


def _records(folder: Path, leave: Path | None = None) -> list[Path]:
    """Every record.json below a folder but for those below another."""
    found = []
    for place, folders, files in os.walk(folder):
        if "record.json" in files:
            found.append(Path(place, "record.json"))
        if leave is not None and leave.parent == Path(place):
            folders.remove(leave.name)
    return sorted(found)


def _read(paths: list[Path]) -> dict[str, list[Any]]:
    """The columns of some records; a value that many records share is kept once."""
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    known: dict[Any, Any] = {}
    for path in paths:
        for name, value in flatten(check.read(path)).items():
            if isinstance(value, str) or name in ALIKE:
                value = known.setdefault(value if isinstance(value, str) else (name, repr(value)), value)
            columns[name].append(value)
    return columns


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Look for no cycles in what is read, now or later: there are none, and the search would go over all of it again
    and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


def flatten(record: Record) -> dict[str, Any]:
    """The columns of one record; None where a field, or a block around it, is null."""
    columns = {column: _field(record, path) for column, path in PATHS.items()}
    curve = columns["curve"]
    points = curve and [Point(*point.__dict__.values()) for point in curve]
    return columns | {"curve": points, "unit_groups": None if record.units is None else len(record.units)}


def _field(value: Any, path: list[str]) -> Any:
    for part in path:
        if value is None:
            return None
        value = value.get(part) if isinstance(value, dict) else getattr(value, part)
    return value


def save(runs: pd.DataFrame, *paths: Path) -> None:
    """Write the table in the forms that the paths' endings name, of WRITERS; lists and blocks become JSON text."""
    plain = runs.assign(**{column: _texts(list(runs[column])) for column in OBJECTS})
    for path in paths:
        WRITERS[path.suffix](plain, path)


def _texts(values: list[Any]) -> list[str]:
    """Every value as JSON; a value that many records share is written once."""
    known: dict[int, str] = {}
    for value in values:
        if id(value) not in known:
            known[id(value)] = to_json(_plain(value)).decode()
    return [known[id(value)] for value in values]


def _plain(value: Any) -> Any:
    """A cell without the points' own type."""
    return [each._asdict() if isinstance(each, Point) else each for each in value] if isinstance(value, list) else value


def read(path: Path, tasks: Collection[str] | None = None) -> pd.DataFrame:
    """A table that `save` has written as parquet, or its runs of some tasks.

    Raises:
        OSError: the file cannot be read.
    """
    chosen = None if tasks is None else [("task", "in", list(tasks))]
    runs = pd.read_parquet(path, filters=chosen).reindex(columns=list(COLUMNS))  # a table of before has fewer
    for column in OBJECTS:
        runs[column] = [json.loads(value) if isinstance(value, str) else None for value in runs[column]]
    runs["curve"] = [points and [Point(**point) for point in points] for points in runs.curve]
    return runs


def studies(*roots: Path, tasks: Collection[str] | None = None) -> pd.DataFrame:
    """Runs of every study that lies in some folders, each in all of the studies that hold it; empty without one.

    Args:
        tasks: whose runs alone are read; default all.

    Their `suite` is the study that they are read from, and no longer the one for which they were done.
    """
    paths = [path for root in roots for path in sorted(Path(root).glob("*/records.parquet"))]
    tables = [read(path, tasks).assign(suite=path.parent.name) for path in paths]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(COLUMNS))


def published(root: Path) -> pd.DataFrame:
    """Runs of every study that is published in a folder, each once; an empty table without one."""
    runs = studies(root)
    return runs[~runs.duplicated(["run_id", "machine", "replicate"])].reset_index(drop=True)


def _save_csv(plain: pd.DataFrame, path: Path) -> None:
    """A text that a spreadsheet would take for a formula gets an apostrophe before it."""
    table = pa.Table.from_pandas(plain, preserve_index=False)
    for i, name in enumerate(table.column_names):
        cells = table[name]
        if pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type):
            formula = compute.match_substring_regex(cells, FORMULA)
            safe = compute.binary_join_element_wise(pa.scalar("'", cells.type), cells, pa.scalar("", cells.type))
            table = table.set_column(i, name, compute.if_else(formula, safe, cells))
    csv.write_csv(table, path)


FORMULA = r"^[=+\-@\t\r]"  # how one begins
WRITERS = {
    ".csv": _save_csv,
    ".parquet": lambda plain, path: plain.to_parquet(path, index=False),
    ".json": lambda plain, path: plain.to_json(path, orient="records", indent=1),
}
