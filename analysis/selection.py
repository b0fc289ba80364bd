"""Chooses the records that a report is about, and names what is not among them."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd

from hundredfold.analysis import apart, records
from hundredfold.analysis.study import Study

CONDITION = re.compile(r"([\w.]+)(!=|=|~|<|>)(.+)")
UNNAMED = object()  # a setting that a configuration does not have


def read_plan(path: Path) -> list[dict[str, Any]]:
    """A plan from a file: a list of runs with run_id, replicate, label, task and seed.

    Raises:
        ValueError: the file cannot be read, or is no such list.
    """
    try:
        plan = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"plan {path}: not readable as JSON ({error}); give another file or leave it out") from None
    _check_plan(plan)
    return plan


def _check_plan(plan: Any) -> None:
    keys = {"run_id", "replicate", "label", "task", "seed"}
    if not isinstance(plan, list) or not plan or any(not isinstance(r, dict) or keys - set(r) for r in plan):
        raise ValueError(f"plan: expected a list of runs, each with {', '.join(sorted(keys))}")


def choose(runs: pd.DataFrame, suite: str, plan: list[dict[str, Any]] | None, results: Path) -> Study:
    """Choose the records of a report: those of the plan, or without one those that the suite wrote.

    Where several machines have records of a task, the one with most of them is taken, since energies of different
    machines are never compared; all of them where none has joules.

    Raises:
        ValueError: nothing is left, or two configurations answer to the same arm and seed.
    """
    missing: list[dict[str, Any]] = []
    if plan is None:
        chosen = runs[runs.suite == suite]
        known = ", ".join(sorted(map(str, runs.suite.dropna().unique()))) or "none"
        sentence = f"no record below {results} is of the suite {suite!r} (there: {known}); name another or give a plan"
    else:
        _check_plan(plan)
        names = {(run["run_id"], run["replicate"]): run for run in plan}  # a study may name tasks and arms anew
        chosen = runs[[pair in names for pair in zip(runs.run_id, runs.replicate, strict=True)]]
        named = [names[pair] for pair in zip(chosen.run_id, chosen.replicate, strict=True)]
        chosen = chosen.assign(task=[run["task"] for run in named], label=[run["label"] for run in named])
        sentence = f"none of the {len(plan)} planned runs has a record below {results}: run `make reproduce` first"
    if chosen.empty:
        raise ValueError(sentence)
    chosen, excluded = _one_machine_per_task(chosen)
    _check_unique(chosen)
    if plan is not None:
        there = set(zip(chosen.run_id, chosen.replicate, strict=True))
        missing = [run for run in plan if (run["run_id"], run["replicate"]) not in there]
    return Study(chosen.reset_index(drop=True), missing, excluded, None if plan is None else len(plan))


def where(runs: pd.DataFrame, text: str) -> Study:
    """Choose records by what they say, whichever study wrote them; arms of one name are told apart.

    Args:
        text: conditions that all hold, separated by spaces: name=value, name!=value, name~pattern, name<number or
            name>number, where a name is a column of the table or a setting such as recipe.steps.
    Raises:
        ValueError: a condition that cannot be read, or that no record meets.
    """
    chosen = runs
    for condition in text.split():
        chosen = chosen[_holds(chosen, condition)]
        if chosen.empty:
            raise ValueError(f"--where: no record is left after {condition!r}; `hundredfold ls` lists what there is")
    chosen, excluded = _one_machine_per_task(chosen)
    return Study(_apart(chosen).reset_index(drop=True), None, excluded)


def _holds(runs: pd.DataFrame, condition: str) -> pd.Series:
    found = CONDITION.fullmatch(condition)
    if found is None:
        raise ValueError(f"--where: {condition!r} is no condition; write name=value, name~pattern, name<1 or name>1")
    name, sign, wanted = found.groups()
    values = (
        runs[name]
        if name in runs.columns and name not in records.OBJECTS
        else runs.config.map(lambda config: apart.flat(config).get(name, UNNAMED))
    )
    if len(values) and all(value is UNNAMED for value in values):
        close = difflib.get_close_matches(name, [*runs.columns, *apart.flat(runs.config.iloc[0])], 1)
        raise ValueError(f"--where: {name}: no column or setting" + (f"; did you mean {close[0]}?" if close else ""))
    if sign in "<>":
        try:
            number = float(wanted)
        except ValueError:
            raise ValueError(f"--where: {condition!r}: expected a number after {sign}") from None
        numbers = pd.to_numeric(values.map(lambda value: None if value is UNNAMED else value), errors="coerce")
        return numbers < number if sign == "<" else numbers > number
    texts = values.map(lambda value: "null" if value is None or value is UNNAMED else f"{value}")
    if sign == "~":
        try:
            pattern = re.compile(wanted)
        except re.error as error:
            raise ValueError(f"--where: {wanted!r} is no regular expression ({error})") from None
        return texts.map(lambda value: pattern.search(value) is not None)
    same = texts.map(lambda value: value.lower() == wanted.lower() or _number(value) == _number(wanted) is not None)
    return ~same if sign == "!=" else same


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _apart(runs: pd.DataFrame) -> pd.DataFrame:
    """The records with labels that tell arms of several configurations apart."""
    keys = [json.dumps(apart.flat(config), sort_keys=True, default=str) for config in runs.config]
    runs = runs.assign(arm=[hashlib.sha256(key.encode()).hexdigest() for key in keys])
    labels: dict[tuple[str, str, str], str] = {}
    for (task, label), group in runs.groupby(["task", "label"], sort=True):
        arms = dict(zip(group.arm, group.config, strict=True))
        labels |= {(task, label, arm): f"{label} {text}".strip() for arm, text in apart.differences(arms).items()}
    return runs.assign(label=[labels[key] for key in zip(runs.task, runs.label, runs.arm, strict=True)]).drop(
        columns="arm"
    )


def _one_machine_per_task(runs: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    kept, excluded = [], []
    for task, group in runs.groupby("task", sort=True):
        if group.training_j.isna().all():  # nothing but quality, which every machine may add to
            kept.append(group[~group.duplicated(["run_id", "replicate"])])
            continue
        counts = group.machine.value_counts().sort_index(kind="stable").sort_values(ascending=False, kind="stable")
        kept.append(group[group.machine == counts.index[0]])
        excluded += [
            f"{task}: {count} records of machine {machine}, because {counts.index[0]} has {counts.iloc[0]}"
            for machine, count in counts.iloc[1:].items()
        ]
    return pd.concat(kept), excluded


def _check_unique(runs: pd.DataFrame) -> None:
    twice = runs[runs.duplicated(["task", "label", "seed", "replicate"], keep=False)]
    if not twice.empty:
        first = twice.iloc[0]
        ids = twice[(twice.task == first.task) & (twice.label == first.label) & (twice.seed == first.seed)].run_id
        raise ValueError(
            f"{first.task}, {first.label}, seed {first.seed}: {len(ids)} records of different configurations "
            f"({', '.join(ids)}); give a plan that names the runs to use"
        )
