"""What there is to choose from: methods, models, data sets, recipes and studies."""

from __future__ import annotations

from dataclasses import MISSING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hundredfold.replication.config import CONF, GROUPS, registry, stacks
from hundredfold.replication.registry import describe, suggestion

PLUGINS = {f"{kind}s": kind for kind in GROUPS}
FOLDERS = {"recipes": "recipe", "suites": "suite", "experiments": "experiment", "spaces": "space"}


def listing(what: str) -> None:
    """Print the names of one kind with a line on each.

    Raises:
        ValueError: there is no such kind.
    """
    table = Table("name", "what it is", box=None)
    if what in PLUGINS:
        for name, cls in registry(PLUGINS[what]).items():
            table.add_row(name, Text(describe(cls)[0]))
        if what == "methods":
            for name in stacks():
                table.add_row(name, Text(_first_comment("method", name)))
    elif what in FOLDERS:
        for path in sorted((CONF / FOLDERS[what]).glob("*.yaml")):
            table.add_row(path.stem, Text(_first_comment(FOLDERS[what], path.stem)))
    else:
        kinds = ["runs", *PLUGINS, *FOLDERS]
        raise ValueError(f"{what}: unknown{suggestion(what, kinds)}; choose one of {', '.join(kinds)}")
    Console().print(table)


def _first_comment(folder: str, name: str) -> str:
    """The first sentence of the comment that a configuration begins with."""
    lines = (CONF / folder / f"{name}.yaml").read_text().splitlines()
    comment = []
    for line in lines:
        if line.startswith("# ") and not line.startswith("# @"):
            comment.append(line[2:])
        elif comment or not line.startswith("#"):
            break
    return " ".join(comment).split(". ")[0].rstrip(".")


def show(name: str) -> bool:
    """Print a method, model or data set of this name with its options; whether there is one."""
    found = [(kind, registry(kind)[name]) for kind in GROUPS if name in registry(kind)]
    console = Console(highlight=False, markup=False, soft_wrap=True)
    for kind, cls in found:
        summary, options = describe(cls)
        console.print(f"{kind}={name}: {summary}")
        for word in ("family", "source", "license", "splits", "extra_cost"):
            value = getattr(cls() if word == "family" else cls, word, None) if kind != "model" else None
            if isinstance(value, str):
                console.print(f"  {word.replace('_', ' ')}: {value}")
        for option in options:
            default = "required" if option.default is MISSING else f"default {option.default}"
            comment = f"  # {option.comment}" if option.comment else ""
            console.print(f"  {kind}.{option.name}: {option.type}, {default}{comment}")
    return bool(found)
