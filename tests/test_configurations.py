"""Every file of conf/ that names an experiment: recipes, suites, published tables and tuning spaces."""

import re
from functools import cache

import pytest
import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from methods.topology import UpdateSchedule
from replication import config
from replication.composition import compose, register
from replication.study.tuning import load_space

CONF = config.CONF
RECIPES = sorted(path.stem for path in (CONF / "recipe").glob("*.yaml"))
STUDIES = {path.stem: path for folder in ("suite", "experiment") for path in sorted((CONF / folder).glob("*.yaml"))}
SHORT = {"quick", "methods", "memory"}  # minutes: no budget, and not every control
EARLIER_RECIPES = {"digits-mlp", "digits-vit", "topics-gpt", "topics-llama", "shakespeare-gru"}
LONG = sorted(set(STUDIES) - SHORT)
CONTROLS = ("dense_short", "dense_reg", "dsc_frozen")
LEAST_UPDATES = 3


@cache
def content(study):
    return yaml.safe_load(STUDIES[study].read_text())


@cache
def base():
    """The configuration without any override; composing takes long, so it is done once."""
    return compose([]).config


@cache
def node(group, name):
    """What a choice puts into a configuration: the content of its file, or its class's options."""
    path = CONF / group / f"{name}.yaml"
    register()
    made = OmegaConf.load(path) if path.exists() else ConfigStore.instance().load(f"{group}/{name}.yaml").node
    return OmegaConf.to_container(made)


def made_of(choices, changes=None):
    """An experiment of one choice for each of some groups, and of options nested by group; without Hydra."""
    chosen = {group: node(group, name) for group, name in choices.items()}
    return config.build(merged(base() | chosen, changes or {}))


def options(overrides):
    """The values that overrides set, nested by their dots."""
    dots = [override.replace("method=", "method.name=", 1) for override in overrides]
    dots = [re.sub(r"([{,]\w+):", r"\1: ", override) for override in dots]  # what Hydra's grammar needs no space for
    return OmegaConf.to_container(OmegaConf.from_dotlist(dots))


@cache
def arm_options(arm):
    return options(arm.split())


def merged(config, changes):
    """Nested options with some of them changed; items of a list by their index."""
    if isinstance(config, list):
        return [merged(item, changes.get(str(index), {})) for index, item in enumerate(config)]
    both = dict(config)
    for name, value in changes.items():
        inside = isinstance(value, dict) and isinstance(both.get(name), (dict, list))
        both[name] = merged(both[name], value) if inside else value
    return both


def experiment(sweep, arm):
    """What composing the arm gives, without Hydra; a test compares the two."""
    return _experiment(tuple(sweep["overrides"]), arm)


@cache
def _experiment(overrides, arm):
    named = [o for o in overrides if "." not in o.partition("=")[0]]
    choices = dict(o.split("=") for o in named)
    choices = {"recipe": f"{choices['dataset']}-{choices['model']}"} | choices
    changes = merged(options(o for o in overrides if o not in named), arm_options(arm))
    stack = config.stacks().get(changes["method"]["name"])
    if stack is not None:
        changes["method"] = merged(stack, changes["method"]) | {"name": "compose"}
    return made_of(choices, changes)


def tasks(study):
    """Sweeps of a study and the task that a report puts their arms under."""
    for sweep in content(study)["sweeps"]:
        name = sweep.get("task") or "/".join(options_of(sweep, key) for key in ("dataset", "model"))
        yield name, sweep


def options_of(sweep, key):
    return next(o.partition("=")[2] for o in sweep["overrides"] if o.startswith(f"{key}="))


def densities(sweep, method):
    found = [arm_options(arm)["method"] for arm in sweep["arms"]]
    return [given["density"] for given in found if given["name"] == method]


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains_the_pair_that_its_name_says(name):
    dataset, model = name.split("-")[:2]
    made = made_of({"dataset": dataset, "model": model, "recipe": name})
    assert made.task == f"{dataset}/{model}"
    rates = made.recipe.rates(50)
    assert max(rates) <= made.recipe.learning_rate and min(rates) > 0


@pytest.mark.parametrize("name", sorted(set(RECIPES) - EARLIER_RECIPES))
def test_every_recipe_says_where_it_comes_from_and_what_to_expect(name):
    header = comment(CONF / "recipe" / f"{name}.yaml")
    assert "Source: " in header
    expects = re.search(r"Expected|Published|Aim", header) and "No figure was reproduced here." in header
    assert expects or re.search(r"[Rr]eached .*run id [0-9a-f]{12}", header)


@pytest.mark.parametrize("study", sorted(STUDIES))
def test_every_arm_of_a_study_is_a_run_that_can_be_told_from_the_others(study):
    seen = set()
    for task, sweep in tasks(study):
        for arm in sweep["arms"]:
            made = experiment(sweep, arm)
            arm_of_report = (task, made.label, made.config["replicate"])
            assert arm_of_report not in seen, arm_of_report
            seen.add(arm_of_report)


@pytest.mark.slow
def test_the_short_way_to_an_experiment_gives_what_composing_gives():
    seen, arms = set(), []
    for study in LONG:
        for _, sweep in tasks(study):
            for arm in sweep["arms"]:
                method, *rest = arm.split()
                new = {method, *(o.partition("=")[0] for o in (*sweep["overrides"], *rest))} - seen
                arms += [(sweep, arm)] if new else []
                seen |= new
    for sweep, arm in arms:
        assert experiment(sweep, arm).config == compose([*sweep["overrides"], *arm.split()]).config, arm


@pytest.mark.parametrize("study", LONG)
def test_schedules_of_methods_fit_into_every_budget(study):
    budgets = {"": {}} | content(study)["budgets"]
    for _, sweep in tasks(study):
        for arm in sweep["arms"]:
            made = experiment(sweep, arm)
            for budget in budgets.values():
                steps = max(1, round(made.recipe.steps * made.method.duration * budget.get("steps", 1.0)))
                assert num_updates(made.method, len(made.method.positions(steps))) >= LEAST_UPDATES, (arm, budget)


def num_updates(method, steps):
    """Updates that a method's schedule has room for; endless for a method without one."""
    members = [getattr(member, "of", member) for member in method.members()]
    schedules = [each._schedule() if hasattr(each, "_schedule") else each.update for each in members]
    rooms = [(s.stop - s.start) * steps / s.interval for s in schedules if isinstance(s, UpdateSchedule)]
    return min(rooms, default=LEAST_UPDATES)


def test_a_schedule_that_does_not_fit_would_be_found():
    arm = "method=dsc method.density=0.25 method.interval=100"
    made = experiment(content("fashion_mnist")["sweeps"][0], arm)
    assert num_updates(made.method, 200) < LEAST_UPDATES <= num_updates(made.method, 2150)


@pytest.mark.parametrize("study", sorted(STUDIES))
def test_every_study_says_what_it_tests_expects_and_costs(study):
    header = comment(STUDIES[study])
    assert f"Command: make reproduce SUITE={study}" in header
    for word in ("Expected", "Hardware: ", "hours: ", "joules: "):
        assert word in header, word
    if STUDIES[study].parent.name == "experiment":
        for word in ("Source: ", "Published", "Differs: "):
            assert word in header, word
    assert study in SHORT or "small" in content(study)["budgets"]


@pytest.mark.parametrize("study", sorted(STUDIES))
def test_the_hours_of_a_header_are_those_that_the_plan_announces(study):
    stated = float(re.search(r"hours: ([\d.]+)", comment(STUDIES[study]))[1])
    planned = sum(sweep["seeds"] * sweep["seconds"] * len(sweep["arms"]) for _, sweep in tasks(study)) / 3600
    assert stated == pytest.approx(planned, rel=0.2)


@pytest.mark.parametrize("study", LONG)
def test_a_verdict_has_its_controls(study):
    for task, sweep in tasks(study):
        missing = missing_controls(sweep)
        assert not missing, f"{task}: {missing}"


def missing_controls(sweep):
    """Compulsory controls that a sweep with the flagship lacks; none are due without it."""
    names = [arm_options(arm)["method"]["name"] for arm in sweep["arms"]]
    wanted = densities(sweep, "dsc")
    if not wanted:
        return []
    missing = [name for name in CONTROLS if name not in names]
    if "method=dense replicate=1" not in sweep["arms"]:
        missing.append("dense once more")
    if len(densities(sweep, "dense_small")) < 4:
        missing.append("four widths of dense_small")
    if {arm_options(arm)["method"].get("duration") for arm in sweep["arms"]} < {0.1, 0.25, 0.5}:
        missing.append("dense_short at 10, 25 and 50 %")
    if not {"random_erk", "random_static"} & set(names):
        missing.append("a random static mask")
    missing += [f"dsc_random at {density}" for density in wanted if density not in densities(sweep, "dsc_random")]
    if not any("dsc_random" in arm and "method.regrow=0" in arm.split() for arm in sweep["arms"]):
        missing.append("dsc_random that only leaves")
    return missing


def test_a_missing_control_would_be_found():
    sweep = content("fashion_mnist")["sweeps"][0]
    for gone in ("dense replicate=1", "dense_small", *CONTROLS, "random_erk", "dsc_random"):
        assert missing_controls(sweep | {"arms": [arm for arm in sweep["arms"] if f"method={gone}" not in arm]}), gone


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_lies_in_a_space_of_its_model_and_optimizer(name):
    recipe = OmegaConf.load(CONF / "recipe" / f"{name}.yaml")
    space = load_space(name.split("-")[1], recipe.optimizer)
    low, high, _ = space.ranges["recipe.learning_rate"]
    assert low <= recipe.learning_rate <= high
    assert space.trials >= 4 and "recipe.learning_rate" in space.ranges
    assert all(0 < low < high for low, high, _ in space.ranges.values())
    assert len({tuple(point.values()) for point in space.points()}) == space.trials


def test_tables_of_either_tier_are_all_there():
    tables = {name.split("_")[0] for name in STUDIES}
    assert {f"a{n}" for n in range(1, 10)} | {f"b{n}" for n in range(1, 8)} <= tables


def comment(path):
    """The comment at the head of a file, on one line."""
    head = path.read_text().split("\n")
    return " ".join(line[1:].strip() for line in head[: next(i for i, line in enumerate(head) if line[:1] != "#")])
