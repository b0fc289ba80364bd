"""What Hydra and YAML complain about, in one sentence: what was given, what is allowed, what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from hundredfold.replication.registry import WORDS, suggestion

MISTAKES = (ValueError, OSError, HydraException, OmegaConfBaseException, YAMLError)
TYPES = {"Float": WORDS[float], "Integer": WORDS[int], "bool": WORDS[bool], "ListConfig": "a list"}


def sentence(error: BaseException, known: Sequence[str] = ()) -> str:
    """The sentence that an error comes down to.

    Args:
        known: options and groups of a run, for a name that is none of them.
    """
    text, cause = str(error), str(error.__cause__ or "")
    if isinstance(error, MissingConfigException):
        return _missing(text)
    if isinstance(error, OverrideParseException):
        return f"{error.override}: not of the form name=value"
    if isinstance(error, YAMLError):
        return "not readable as YAML: " + " ".join(text.split())
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else text.splitlines()[0]
    several = re.match(r"(?:Ambiguous value for argument|Sweep parameters) '(.+?)'(?: requires|\n)", text)
    if several:
        return f"{several[1]}: several values need --multirun"
    there = re.match(r"Could not append to config. An item is already at '(.+?)'", text)
    if there:
        return f"+{there[1]}: there is one already; leave the + out"
    unknown = re.match(r"Could not override '([^']+)'", text)
    if unknown:
        close = suggestion(unknown[1].split(".")[0], known)
        return f"{unknown[1]}: no such option{close}; choose one of {', '.join(known)}"
    joined = re.match(r"In '([^'/]+)/.*is not a subclass of", text, flags=re.DOTALL)
    if joined:
        return f"{joined[1]}: expected one choice, not a list"
    given = re.match(r"Error merging override (.+)", text)
    if given:
        return f"{given[1]}: {_expected(cause)}"
    return ": ".join(part.splitlines()[0] for part in (text, cause) if part)


def _missing(text: str) -> str:
    """A choice that a group does not have, with those that it has."""
    place = re.search(r"(?:Could not (?:find|load)|Cannot find primary config) '(?:([^']+)/)?([^/']*)'", text)
    if not place:
        return text.splitlines()[0]
    group, name = place.groups()
    choices = re.findall(r"^\t([^\t\n=]+)$", text, flags=re.MULTILINE)
    if not choices:
        return f"{group or 'config'}={name}: there is no such file on the search path"
    return f"{group}={name}: unknown{suggestion(name, choices)}; choose one of {', '.join(choices)}"


def _expected(cause: str) -> str:
    """What the type of an option allows, from OmegaConf's words."""
    for kind, words in TYPES.items():
        if re.search(rf"could not be converted to {kind}\b|is not a valid {kind}\b|is not a {kind}\b", cause):
            return f"expected {words}"
    if "is not Optional" in cause:
        return "may not be null"
    return cause.splitlines()[0] if cause else "cannot be set"
