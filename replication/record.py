"""The record of a run: its schema, and the one atomic write that makes a run finished.

results/runs/<run_id>/<machine>-<replicate>/record.json stands beside the append-only energy.jsonl, the final units
(units.safetensors) and config.yaml. Records are never edited: a changed definition is a new schema version.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from replication.config import SCHEMA_VERSION

FINISHED, DIVERGED, FAILED = "finished", "diverged", "failed"

# Every top-level field of a record, and whether it may be null.
FIELDS: dict[str, bool] = {
    "schema_version": False,
    "run_id": False,
    "machine": False,
    "replicate": False,
    "status": False,
    "reason": True,
    "suite": True,
    "task": False,
    "dataset": False,
    "model": False,
    "method": False,
    "label": False,
    "family": False,
    "twin_of": True,
    "simulated": False,
    "options": False,
    "seed": False,
    "config": False,
    "quality": True,
    "energy": True,
    "time": True,
    "flops": True,
    "bytes": True,
    "density": True,
    "density_curve": True,
    "parameters": True,
    "units": True,
    "storages": True,
    "steps": True,
    "segments": True,
    "attempts": False,
    "weights_sha256": True,
    "environment": False,
}


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that the file is either the old or the new one, whatever happens; NaN is refused."""
    text = json.dumps(value, indent=1, allow_nan=False)
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Write record.json of a run.

    Raises:
        ValueError: a field is missing, unknown, or null where it must not be.
    """
    wrong = set(record) ^ set(FIELDS) | {name for name, null in FIELDS.items() if not null and record.get(name) is None}
    if wrong:
        raise ValueError(f"record of {folder.parent.name}: missing, unknown or null: {', '.join(sorted(wrong))}")
    write_json(folder / "record.json", record)


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record of a run folder, or None if the run has not ended.

    Raises:
        ValueError: the file is no record of this schema.
    """
    path = folder / "record.json"
    try:
        record = json.loads(path.read_text())
        version = record["schema_version"]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a readable record ({error}); delete the file and run again") from None
    if version != SCHEMA_VERSION:
        raise ValueError(f"{path}: schema version {version}, expected {SCHEMA_VERSION}; use another results folder")
    return record
