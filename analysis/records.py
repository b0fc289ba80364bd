"""Records of runs as one table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

SCHEMA_VERSION = 1
STATUSES = ("finished", "diverged", "failed")

# Column of the table -> the record's field.
COLUMNS = {
    name: name
    for name in (
        "run_id machine replicate status reason suite task dataset model method label family twin_of simulated options "
        "seed steps segments attempts"
    ).split()
} | {
    "metric": "quality.metric",
    "curve": "quality.curve",
    "test_accuracy": "quality.test.accuracy",
    "test_loss": "quality.test.loss",
    "test_examples": "quality.test.num_examples",
    "validation_accuracy": "quality.validation.accuracy",
    "validation_loss": "quality.validation.loss",
    "source": "energy.source",
    "evidence": "energy.evidence",
    "energy_reason": "energy.reason",
    "domains": "energy.domains",
    "phases_j": "energy.phases_j",
    "training_j": "energy.training_j",
    "spent_j": "energy.spent_j",
    "productive_j": "energy.productive_j",
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
    "platform": "environment.platform",
    "python": "environment.python",
    "started": "environment.started",
    "load_average": "environment.load_average",
}
SCHEMA_FIELDS = ("schema_version", *COLUMNS.values())
OBJECTS = ("options", "curve", "domains", "phases_j", "phases_s", "versions")
BLOCKS = ("quality", "energy", "time", "flops", "bytes", "density", "parameters")  # null where a run has failed
NULLABLE = {
    "reason", "suite", "twin_of", "quality.test", "quality.validation", "energy.phases_j", "energy.training_j",
    "energy.spent_j", "energy.productive_j", "density.target", "environment.commit", "environment.dirty",
    "environment.load_average",
}  # fmt: skip
NUMBERS = [c for c in COLUMNS if c.endswith(("_j", "_s", "_flops", "_bytes", "_density", "_accuracy", "_loss"))]
NUMBERS = [c for c in NUMBERS if c not in OBJECTS] + ["unmetered_fraction", "load_average", "test_examples"]
NUMBERS += ["total_parameters", "active_parameters"]


def load(results: Path) -> pd.DataFrame:
    """Read every record.json below a folder.

    Returns:
        one row per record with the columns COLUMNS, sorted by task, label, seed and replicate; those of OBJECTS hold
        lists and dictionaries; a number that is not known is missing (NaN inside the table, never on a page).
    Raises:
        ValueError: no such folder, no records in it, or a record that cannot be read.
    """
    results = Path(results)
    paths = sorted(results.rglob("record.json")) if results.is_dir() else []
    if not paths:
        raise ValueError(f"no records below {results}: run `make reproduce` first, or give another folder")
    rows = [flatten(read(path), path) for path in paths]
    runs = pd.DataFrame(rows, columns=list(COLUMNS))
    texts = runs.columns[[pd.api.types.is_string_dtype(dtype) for dtype in runs.dtypes]]
    # plain objects, in few blocks: the table is sliced thousands of times
    runs = runs.astype(dict.fromkeys(NUMBERS, float) | dict.fromkeys(texts, object))
    runs = runs.assign(**{name: runs[name].where(runs[name].notna(), None) for name in texts}).copy()
    return runs.sort_values(["task", "label", "seed", "replicate"], ignore_index=True, kind="stable")


def read(path: Path) -> dict[str, Any]:
    """One record as it was written.

    Raises:
        ValueError: not JSON, not a record, or of another schema version.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except (ValueError, OSError) as error:
        raise ValueError(f"{path}: not a readable record ({error}); delete it and run again") from None
    if not isinstance(record, dict) or "schema_version" not in record:
        raise ValueError(f"{path}: not a record (no schema_version); delete it and run again")
    if record["schema_version"] != SCHEMA_VERSION:
        raise ValueError(
            f"{path}: schema version {record['schema_version']!r}, expected {SCHEMA_VERSION}; measure it again in "
            "another results folder"
        )
    return record


def _refuse_constant(name: str):
    raise ValueError(f"{name} is not a number")


def flatten(record: dict[str, Any], path: Path) -> dict[str, Any]:
    """The columns of one record.

    Raises:
        ValueError: a field is missing or cannot be.
    """
    if record.get("status") not in STATUSES:
        raise ValueError(_broken(path, f"status is {record.get('status')!r}, expected one of {', '.join(STATUSES)}"))
    row = {column: _field(record, field, path) for column, field in COLUMNS.items()}
    _check(row, path)
    return row


def _broken(path: Path, problem: str) -> str:
    return f"{path}: {problem}; delete it and run again"


def _field(record: dict[str, Any], field: str, path: Path) -> Any:
    """Value of a dotted field; None where it, or a block around it, is null and may be."""
    value: Any = record
    parts = field.split(".")
    for depth, part in enumerate(parts, start=1):
        name = ".".join(parts[:depth])
        if not isinstance(value, dict) or part not in value:
            raise ValueError(_broken(path, f"the field {name} is missing"))
        value = value[part]
        if value is None:
            lost = record["status"] == "failed" and (parts[0] in BLOCKS or name in ("steps", "segments"))
            if name in NULLABLE or lost:
                return None
            raise ValueError(_broken(path, f"the field {name} is null"))
    return value


def _check(row: dict[str, Any], path: Path) -> None:
    """Refuse what no run can have written."""
    for name in NUMBERS + ["seed", "replicate"]:
        if row[name] is not None and (isinstance(row[name], bool) or not isinstance(row[name], int | float)):
            raise ValueError(_broken(path, f"the field {COLUMNS[name]} is {row[name]!r}, expected a number"))
    if row["status"] == "failed":
        return
    joules, metric = row["training_j"], row["metric"]
    if joules is not None and joules <= 0 and row["training_s"] > 0:
        raise ValueError(_broken(path, f"{joules:g} J over {row['training_s']:g} s cannot be"))
    if metric not in ("accuracy", "loss"):
        raise ValueError(_broken(path, f"the field quality.metric is {metric!r}, expected accuracy or loss"))
    if row["status"] == "finished" and row["test_accuracy"] is None:
        raise ValueError(_broken(path, "a finished run has no test quality"))


def save(runs: pd.DataFrame, folder: Path) -> None:
    """Write the table as records.parquet and records.csv; lists and dictionaries become JSON text."""
    plain = runs.copy()
    for column in OBJECTS:
        plain[column] = [json.dumps(value) for value in plain[column]]
    plain.to_csv(folder / "records.csv", index=False)
    plain.to_parquet(folder / "records.parquet", index=False)
