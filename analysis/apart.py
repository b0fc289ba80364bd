"""What sets configurations of one name apart, in few words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

MOST_SHOWN = 3  # settings where arms differ in no more
MOST_NAMED = 6  # settings in which an arm is unlike most; of more, its identity's beginning stands for them
NOT_OF_AN_ARM = ("seed", "results", "replicate")
COMPARED = ("recipe", "dataset", "model", "budget")  # settings that are part of what an arm is given
TUNED = ("recipe.learning_rate", "recipe.weight_decay")  # every arm has its own, from the same list


def differences(arms: Mapping[str, dict[str, Any]]) -> dict[str, str]:
    """Identity of a configuration -> the settings that tell it from the others, "" where it is the only one.

    Where many settings differ, those are named in which it is not like most of them.
    """
    flats = {identity: flat(config) for identity, config in arms.items()}
    names = dict.fromkeys(name for values in flats.values() for name in values)
    columns = {name: [text(values.get(name)) for values in flats.values()] for name in names}
    differing = [name for name, values in columns.items() if len(set(values)) > 1]
    return {identity: _words(identity, values, columns, differing) for identity, values in flats.items()}


def undeclared(mine: Mapping[str, Any], theirs: Mapping[str, Any], labels: Iterable[str]) -> dict[str, tuple[Any, Any]]:
    """Settings, as `given` has them, that two arms do not share and no label names -> their two values."""
    if not mine or not theirs or mine == theirs:
        return {}
    return {
        name: (mine.get(name), theirs.get(name))
        for name in dict.fromkeys((*mine, *theirs))
        if mine.get(name) != theirs.get(name) and not any(f"{name}=" in label for label in labels)
    }


def given(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a configuration that arms must share unless they say so."""
    some = {name: value for name, value in config.items() if name in COMPARED}
    return {name: value for name, value in flat(some).items() if name not in TUNED}


def _words(identity: str, own: dict[str, Any], columns: dict[str, list[str]], differing: list[str]) -> str:
    names = [name for name in differing if name in own]
    if len(differing) > MOST_SHOWN:  # of equally many values the first
        names = [name for name in names if text(own[name]) != max(columns[name], key=columns[name].count)]
    texts = [f"{name}={text(own[name])}" for name in names]
    return " ".join(texts) if len(texts) <= MOST_NAMED else identity[:6]


def flat(config: Mapping[str, Any] | None, prefix: str = "") -> dict[str, Any]:
    """Dotted names of a configuration's values, without what is no part of an arm; none where a record has no such."""
    found: dict[str, Any] = {}
    for name, value in (config or {}).items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        elif prefix or name not in NOT_OF_AN_ARM:
            found[prefix + name] = value
    return found


def text(value: Any) -> str:
    """A setting's value in a label."""
    return f"{value:g}" if isinstance(value, float) else str(value).replace(" ", "")
