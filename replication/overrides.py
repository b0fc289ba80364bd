"""Answers mistakes in command-line overrides in one sentence, before anything runs or is written."""

from __future__ import annotations

import difflib
import itertools
import re
from functools import cache
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf

from replication.config import CONF, GROUPS, registry, stacks
from replication.registry import create, describe

FILES = ("recipe", "trainer", "energy", "logger")
PLAIN = {"seed": int, "replicate": int, "results": str}


def canonical(overrides: list[str]) -> list[str]:
    """Options that Hydra would not let one set without `++`, with it.

    Those of a method within a method, and those of a recipe or trainer, which its file need not list.
    """
    hidden = r"^\+*(?=(recipe|trainer)\.\w+=|method\.\w+\.)(?!method\.update\.)"
    return [re.sub(hidden, "++", override) for override in overrides]


def check(overrides: list[str], *, multirun: bool) -> None:
    """Check every override by itself, or with the others of its group where it needs them.

    Raises:
        ValueError: what was given, what is allowed, what to do.
    """
    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
    except HydraException as error:
        raise ValueError(f"{' '.join(overrides)}: not of the form name=value ({str(error).splitlines()[0]})") from None
    values = {}
    for override in parsed:
        if override.is_sweep_override() and not multirun:
            raise ValueError(f"{override.input_line}: several values need --multirun")
        choices = override.sweep_iterator() if override.is_sweep_override() else [override.value()]
        values[override.key_or_group.lstrip("+~")] = [_plain(value) for value in choices]
    defaults = OmegaConf.to_container(OmegaConf.load(CONF / "config.yaml"))["defaults"]
    chosen = {kind: values.get(kind) or [entry[kind] for entry in defaults if kind in entry] for kind in GROUPS}
    for key, choices in values.items():
        for value in choices:
            _check_one(key, value, chosen, values)
    if "recipe" not in values:
        for dataset, model in itertools.product(chosen["dataset"], chosen["model"]):
            _check_pair(dataset, model)


def _check_pair(dataset: str, model: str) -> None:
    recipes = {path.stem for path in (CONF / "recipe").glob("*.yaml")}
    if f"{dataset}-{model}" not in recipes:
        pairs = ", ".join("dataset={} model={}".format(*name.split("-", 1)) for name in sorted(recipes))
        raise ValueError(f"dataset={dataset} model={model}: no recipe trains this pair; choose one of {pairs}")


def _plain(value: Any) -> Any:
    """A value of an override without Hydra's wrappers of quoted strings."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.text if hasattr(value, "text") else value


def _check_option(group: str, name: str, options: dict[str, Any], values: dict[str, list]) -> None:
    """An option is right if it is by itself, or together with the first values of the group's other options."""
    try:
        create(group, registry(group), name, **_with_names(group, name, options))
    except ValueError:
        others = [(key.split(".")[1:], choices[0]) for key, choices in values.items() if key.startswith(f"{group}.")]
        together: dict[str, Any] = {}
        for path, value in others:
            together = _merged(together, _nested(path, value))
        try:
            create(group, registry(group), name, **_with_names(group, name, _merged(together, options)))
        except ValueError:
            together = {}
        if not together:
            raise


def _check_one(key: str, value: Any, chosen: dict[str, list[str]], values: dict[str, list]) -> None:
    group, _, field = key.partition(".")
    if key.startswith("hydra"):
        return
    if group in GROUPS:
        for name in chosen[group] if field else [value]:
            options = _nested(field.split("."), value) if field else {}
            if group == "method" and name in stacks():
                name, options = "compose", _merged(stacks()[name], options)
            _check_option(group, name, options, values)
    elif group in FILES:
        _check_file(group, field, value)
    elif group in PLAIN and not field:
        if PLAIN[group] is int and (type(value) is not int or value < 0):
            raise ValueError(f"{group}={value}: expected a whole number, 0 or more")
    else:
        known = [*GROUPS, *FILES, *PLAIN]
        close = difflib.get_close_matches(group, known, n=1)
        hint = f", did you mean {close[0]}?" if close else ""
        raise ValueError(f"{key}: no such option{hint}; choose one of {', '.join(known)}")


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Options of a stack with an override; its own `name` is left out."""
    return {name: value for name, value in _changed(base, changes).items() if name != "name"}


def _changed(base: Any, changes: dict[str, Any]) -> Any:
    """Nested options with some of them changed; items of a list by their index."""
    if isinstance(base, list):
        return [_changed(item, changes.get(str(index), {})) for index, item in enumerate(base)]
    both = dict(base)
    for name, value in changes.items():
        inside = isinstance(value, dict) and isinstance(both.get(name), (dict, list))
        both[name] = _changed(both[name], value) if inside else value
    return both


def _with_names(group: str, name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Options of a part of a stack are checked with the part's name, which another override may have set."""
    if group != "method" or name not in registry(group):
        return options
    return {k: v for k, v in options.items() if not (isinstance(v, dict) and _is_part(name, k) and "name" not in v)}


def _is_part(name: str, option: str) -> bool:
    return any(o.name == option and "Method" in o.type for o in describe(registry("method")[name])[1])


def _nested(path: list[str], value: Any) -> dict[str, Any]:
    return {path[0]: _nested(path[1:], value) if path[1:] else value}


@cache
def _files(group: str) -> dict[str, dict[str, Any]]:
    """Name -> content of every file of a group."""
    return {path.stem: OmegaConf.to_container(OmegaConf.load(path)) for path in sorted((CONF / group).glob("*.yaml"))}


def _check_file(group: str, field: str, value: Any) -> None:
    files = _files(group)
    if not field:
        if value not in files:
            raise ValueError(f"{group}={value}: unknown; choose one of {', '.join(files)}")
        return
    names = {name for content in files.values() for name in content}
    if field not in names:
        raise ValueError(f"{group}.{field}: no such option; choose one of {', '.join(sorted(names))}")
    default = next(iter(files.values())).get(field)
    if isinstance(default, (int, float)) and not isinstance(value, (int, float, type(None))):
        raise ValueError(f"{group}.{field}={value}: expected a number")
