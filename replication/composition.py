"""From overrides to a checked experiment: Hydra composes, and the composed configuration is checked as a whole."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from hundredfold.replication.config import CONF, GROUPS, Experiment, build, registry
from hundredfold.replication.mistakes import MISTAKES, sentence
from hundredfold.replication.registry import suggestion
from hundredfold.replication.structured import register

FILES = ("recipe", "trainer", "energy", "logger", "experiment", "suite")  # groups that are folders of conf/
NOT_OF_A_RUN = ("hydra", "study", "strict", "reports")


def known() -> list[str]:
    """Everything that a run's configuration may name first."""
    fields = [field.name for field in dataclasses.fields(Experiment) if field.init]
    return list(dict.fromkeys([*GROUPS, *FILES, *fields, "strict", "reports"]))


def compose(overrides: Iterable[str], config_dir: Path | None = None) -> Experiment:
    """A checked experiment from overrides of the command line.

    Args:
        config_dir: a further folder of configurations.
    Raises:
        ValueError: a configuration that no run could have.
    """
    register()
    if not GlobalHydra.instance().is_initialized():
        hydra.initialize_config_dir(str(CONF), version_base="1.3")
    overrides = [spelled(override) for override in overrides]
    if config_dir is not None:
        overrides.append(f"hydra.searchpath=['file://{Path(config_dir).absolute()}']")
    try:
        return resolve(hydra.compose("config", overrides=overrides, return_hydra_config=True))
    except MISTAKES as error:
        raise ValueError(sentence(error, known())) from None


def spelled(override: str) -> str:
    """`+experiment=` and `experiment=`, and likewise for suites, are one."""
    return re.sub(r"^\+(?=(experiment|suite)=)", "", override)


def once(overrides: Iterable[str]) -> dict[str, str]:
    """Key -> override.

    Raises:
        ValueError: a key that is given twice.
    """
    found: dict[str, str] = {}
    for override in overrides:
        key = override.partition("=")[0].lstrip("+~")
        if key in found:
            raise ValueError(f"{key}: given twice ({found[key]}, {override}); leave one out")
        found[key] = override
    return found


def resolve(cfg: DictConfig) -> Experiment:
    """The experiment that a composed configuration describes.

    Raises:
        ValueError: a configuration that no run could have.
    """
    of_hydra: Any = cfg.hydra if "hydra" in cfg else HydraConfig.get()
    once(of_hydra.overrides.task)
    for group, choice in of_hydra.runtime.choices.items():
        if not isinstance(choice, str | None):
            raise ValueError(f"{group}={choice}: expected one choice, not a list")
    own = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key not in NOT_OF_A_RUN])
    plain: Any = OmegaConf.to_container(own, resolve=True)
    config = _given(plain)
    if all(group in config for group in GROUPS):
        _check_recipe(of_hydra, config, cfg.strict)
    if not cfg.strict:
        config["method"] = _known_options(config["method"])
    return build(config)


def _given(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration without what is still to be given, so that the check names it."""
    return {
        key: _given(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if value != "???" and not (value is None and key in GROUPS)
    }


def _check_recipe(of_hydra: DictConfig, config: dict[str, Any], strict: bool) -> None:
    """Recipes are named after the data set and the model that they train, as in digits-mlp or digits-mlp-textbook."""
    recipe, pair = of_hydra.runtime.choices.get("recipe"), (config["dataset"]["name"], config["model"]["name"])
    if recipe is not None and "optimizer" not in config["recipe"]:
        recipes = GlobalHydra.instance().config_loader().get_group_options("recipe", overrides=of_hydra.overrides.hydra)
        if recipe == "-".join(pair):
            near = sorted({other for name in recipes for other in [_trains(name)] if other and set(other) & set(pair)})
            listed = ", ".join("dataset={} model={}".format(*other) for other in near) or "recipe=..."
            raise ValueError("dataset={} model={}: no recipe trains this pair; choose {}".format(*pair, listed))
        if recipe not in recipes:
            listed = ", ".join(recipes)
            raise ValueError(f"recipe={recipe}: unknown{suggestion(recipe, recipes)}; choose one of {listed}")
    other = recipe and _trains(recipe)
    if strict and other and other != pair:
        words = "recipe={}: trains dataset={} model={}, not dataset={} model={}; leave it out, or set strict=false"
        raise ValueError(words.format(recipe, *other, *pair))


def _trains(recipe: str) -> tuple[str, str] | None:
    """The data set and the model in a recipe's name; None for a name of another form."""
    dataset, model = (recipe.split("-") + [""])[:2]
    return (dataset, model) if dataset in registry("dataset") and model in registry("model") else None


def _known_options(method: dict[str, Any]) -> dict[str, Any]:
    """The options of a method that it has."""
    cls = registry("method").get(method.get("name"))
    names = {field.name for field in dataclasses.fields(cls)} if cls else set(method)
    return {name: value for name, value in method.items() if name in {*names, "name"}}
