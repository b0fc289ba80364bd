"""From overrides to a checked experiment, by Hydra: the groups are the dataclasses of data sets, models and methods."""

from __future__ import annotations

from functools import cache
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from methods.base import Method
from replication.config import CONF, GROUPS, Experiment, build, plain, registry
from replication.overrides import canonical
from replication.registry import describe


@cache
def register() -> None:
    """Make every registered class a choice of its Hydra group, with its defaults written out."""
    store = ConfigStore.instance()
    for kind in GROUPS:
        for name, cls in registry(kind).items():
            defaults = {option.name: _default(option.default) for option in describe(cls)[1]}
            store.store(group=kind, name=name, node={"name": name, **defaults})


def _default(value: Any) -> Any:
    """A method within a method by its name alone, so that another name does not meet the first one's options."""
    return {"name": value.name()} if isinstance(value, Method) else plain(value)


def compose(overrides: list[str]) -> Experiment:
    """A checked experiment from command-line overrides.

    Raises:
        ValueError: a configuration that no run could have.
    """
    register()
    if not GlobalHydra.instance().is_initialized():
        hydra.initialize_config_dir(str(CONF), version_base="1.3")
    try:
        return resolve(hydra.compose("config", overrides=canonical(overrides)))
    except HydraException as error:
        raise ValueError(str(error).splitlines()[0]) from None


def resolve(cfg: DictConfig) -> Experiment:
    """The experiment that a composed configuration describes.

    Raises:
        ValueError: a configuration that no run could have.
    """
    config = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    config.pop("hydra", None)
    return build(config)
