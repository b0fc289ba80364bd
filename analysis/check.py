"""Checks a record against the schema, when it is written and when it is read.

A mistake is answered in one sentence that names the file and the field.
"""

from __future__ import annotations

import reprlib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hundredfold.analysis.schema import SCHEMA_VERSION, Record

WORDS = {  # of pydantic -> ours
    "Input should be greater": "a number greater",
    "Input should be less": "a number less",
    "Input should be ": "",
    "String should have": "a text of",
    "String should match pattern": "a text like",
}


def read(path: Path) -> Record:
    """The record in a file.

    Raises:
        ValueError: the file cannot be read, is of another version, or a field is not what it must be.
    """
    try:
        return Record.model_validate_json(path.read_bytes())
    except OSError as error:
        problem = f"not a readable record ({error.strerror})"
    except ValidationError as error:
        problem, version = _problem(error), _other_version(error)
        if version is not None:
            raise ValueError(
                f"{path}: schema version {version}, expected {SCHEMA_VERSION}; measure it again in another results "
                "folder"
            ) from None
    raise ValueError(f"{path}: {problem}; delete the file and run again")


def check(record: dict[str, Any]) -> Record:
    """A record that is about to be written.

    Raises:
        ValueError: a field is not what it must be.
    """
    try:
        return Record.model_validate(record)
    except ValidationError as error:
        raise ValueError(f"record of {record.get('run_id')}: {_problem(error)}") from None


def _other_version(error: ValidationError) -> str | None:
    """The schema version of a record if it is not ours."""
    first = error.errors(include_url=False)[0]
    return repr(first["input"]) if first["loc"] == ("schema_version",) and first["type"] != "missing" else None


def _problem(error: ValidationError) -> str:
    """The first thing that is wrong with a record, in half a sentence."""
    first = error.errors(include_url=False)[0]
    name, kind, expected = ".".join(map(str, first["loc"])).removesuffix(".[key]"), first["type"], first["msg"]
    if kind == "json_invalid":
        return f"not a readable record ({expected})"
    if kind == "value_error":  # a check of our own
        return f"{name}{': ' if name else ''}{first['ctx']['error']}"
    if not name:
        return "not a record"
    if kind in ("missing", "extra_forbidden"):
        return f"the field {name} is {'missing' if kind == 'missing' else 'unknown'}"
    for theirs, ours in WORDS.items():
        expected = expected.replace(theirs, ours)
    return f"the field {name} is {reprlib.repr(first['input'])}, expected {expected}"
