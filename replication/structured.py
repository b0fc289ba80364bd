"""The dataclasses of a run as Hydra's structured configs, so that Hydra knows every option, its type and its default.

OmegaConf knows neither ranges nor choices, and Hydra refuses an unknown option in two lines. Both are left to the check
of the composed configuration: its sentences name what is allowed, so every node here is open to further options.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any, Literal, Optional

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from omegaconf import MISSING, DictConfig, OmegaConf

from hundredfold.methods.base import Method
from hundredfold.replication.config import GROUPS, Experiment, plain, registry
from hundredfold.replication.registry import UNIONS, name_of

PLAIN = (bool, int, float, str)
Fields = Sequence[tuple[str, Any, Any]]
PLUGINS = [base for _, base in GROUPS.values()]


@cache
def register() -> None:
    """Put the schema of a run, every data set, model and method, and our sweeper into Hydra's store."""
    store = ConfigStore.instance()
    Plugins.instance()  # Hydra's own search loads a plug-in anew, so it comes before the import
    from hydra_plugins.fresh_sweeper.sweeper import EngineLauncher, FreshSweeper

    for plugin, kind in ((FreshSweeper, Sweeper), (EngineLauncher, Launcher)):
        if plugin not in Plugins.instance().discover(kind):  # no search finds it in an editable installation
            Plugins.instance().register(plugin)
    strict = ("strict", bool, True)  # refuse options that the chosen method does not have; false leaves them out
    study = ("study", Any, None)  # of a file of conf/suite or conf/experiment: what `make reproduce` runs
    reports = ("reports", str, "reports")  # folder of a sweep's page
    store.store(name="run", node=_structured(Experiment, after=[strict, study, reports]))
    for group in GROUPS:
        for name, cls in registry(group).items():
            store.store(group=group, name=name, node=_open(_structured(cls, before=[("name", str, name)])))


def _structured(cls: type, before: Fields = (), after: Fields = ()) -> DictConfig:
    """A dataclass of ours as a node of OmegaConf's types, with its defaults.

    Args:
        before, after: fields that it has in a configuration only: name, type, default.
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = [(f.name, _type(hints[f.name]), _value(f, hints[f.name])) for f in dataclasses.fields(cls) if f.init]
    schema = dataclasses.make_dataclass(cls.__name__, [(n, t, _default(d)) for n, t, d in [*before, *fields, *after]])
    return OmegaConf.structured(schema)


def _type(hint: Any) -> Any:
    """The type that OmegaConf knows for an annotation: the nearest that allows all that it does."""
    kind, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if kind is Annotated:
        return _type(arguments[0])
    if kind is Literal:
        kinds = {type(choice) for choice in arguments}
        return kinds.pop() if len(kinds) == 1 else Any
    if kind in UNIONS:
        kinds = {_type(argument) for argument in arguments if argument is not type(None)}
        return Optional[kinds.pop()] if len(kinds) == 1 else Any  # noqa: UP045
    if kind is tuple:
        kinds = {_type(argument) for argument in arguments if argument is not Ellipsis}
        return list[kinds.pop()] if len(kinds) == 1 else list  # type: ignore[misc]  # made at run time
    return kind if kind in PLAIN else Any


def _value(field: dataclasses.Field, hint: Any) -> Any:
    """A field's default as a configuration writes it.

    A method within a method by its name alone, so that another name does not meet the first one's options.
    """
    value = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    if isinstance(value, Method):
        return {"name": name_of(type(value))}
    if dataclasses.is_dataclass(hint) and hint not in PLUGINS:
        node = _open(_structured(typing.cast(type, hint)))
        return node if value is dataclasses.MISSING else OmegaConf.merge(node, plain(value))
    if value is dataclasses.MISSING:
        return None if hint in PLUGINS else MISSING
    return plain(value)


def _default(value: Any) -> dataclasses.Field:
    return dataclasses.field(default_factory=lambda: value)


def _open(node: DictConfig) -> DictConfig:
    OmegaConf.set_struct(node, False)
    return node
