"""Every file of conf/ that names an experiment: recipes, suites, published tables and tuning spaces."""

import re
from functools import cache

import pytest
import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from hundredfold.analysis.inert import LEAST_UPDATES
from hundredfold.replication import config
from hundredfold.replication.composition import compose
from hundredfold.replication.structured import register
from hundredfold.replication.study.job import Job, told_apart
from hundredfold.replication.study.tuning import load_space

CONF = config.CONF
RECIPES = sorted(path.stem for path in (CONF / "recipe").glob("*.yaml"))
STUDIES = {path.stem: path for folder in ("suite", "experiment") for path in sorted((CONF / folder).glob("*.yaml"))}
SHORT = {"quick", "methods", "memory"}  # minutes: no budget, and not every control
EARLIER_RECIPES = {"digits-mlp", "digits-vit", "topics-gpt", "topics-llama", "shakespeare-gru"}
LONG = sorted(set(STUDIES) - SHORT)
CONTROLS = ("dense_short", "dense_reg", "dsc_frozen")


@cache
def file(study):
    return yaml.safe_load(STUDIES[study].read_text())


def content(study):
    return file(study)["study"]


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
    options = OmegaConf.to_container(made)
    for above in options.pop("defaults", ["_self_"])[:-1]:
        options = merged(node(group, above), options)
    return options


def made_of(choices, changes=None):
    """An experiment of one choice for each of some groups, and of options nested by group; without Hydra."""
    chosen = {group: node(group, name) for group, name in choices.items()}
    return config.build(merged(base() | chosen, changes or {}))


PARSER = OverridesParser.create()


def options(overrides):
    """The values that overrides set, nested by their dots."""
    nested = {}
    for override in PARSER.parse_overrides(list(overrides)):
        value = override.value()
        for name in reversed(override.key_or_group.split(".")):
            value = {name: value}
        nested = merged(nested, value)
    return nested


def merged(config, changes):
    """Nested options with some of them changed; items of a list by their index."""
    if isinstance(config, list):
        return [merged(item, changes.get(str(index), {})) for index, item in enumerate(config)]
    both = dict(config)
    for name, value in changes.items():
        inside = isinstance(value, dict) and isinstance(both.get(name), (dict, list))
        both[name] = merged(both[name], value) if inside else value
    return both


@cache
def arm_options(arm):
    """The values that an arm sets, with the method by its name."""
    method = re.search(r"method=(\w+)", arm)[1]
    rest = options(o for o in arm.split() if not o.startswith("method="))
    return merged({"method": {"name": method}}, rest)


def setting(study, sweep):
    """Choices of groups, and options, that a sweep's arms share: its overrides, or what its file sets."""
    if "overrides" in sweep:
        named = dict(o.split("=") for o in sweep["overrides"] if "." not in o.partition("=")[0])
        changes = options(o for o in sweep["overrides"] if "." in o.partition("=")[0])
    else:
        named = {group.split("/")[1]: name for entry in file(study)["defaults"] for group, name in entry.items()}
        changes = {name: value for name, value in file(study).items() if name not in ("defaults", "study")}
    return {"recipe": f"{named['dataset']}-{named['model']}"} | named, changes


def experiment(study, sweep, arm):
    """What composing the arm gives, without Hydra; a test compares the two."""
    return _experiment(study, content(study)["sweeps"].index(sweep), arm)


@cache
def _experiment(study, index, arm):
    choices, changes = setting(study, content(study)["sweeps"][index])
    changes = merged(changes, arm_options(arm))
    options_of_method = dict(changes["method"])
    choices["method"] = options_of_method.pop("name")
    items = options_of_method.get("methods")
    if isinstance(items, dict):  # method.methods.0.interval=20 changes an item of a list
        listed = node("method", choices["method"])["methods"]
        options_of_method["methods"] = [merged(item, items.get(str(i), {})) for i, item in enumerate(listed)]
    return made_of(choices, changes | {"method": options_of_method})


def tasks(study):
    """Sweeps of a study and the task that a report puts their arms under."""
    for sweep in content(study)["sweeps"]:
        choices, _ = setting(study, sweep)
        yield sweep.get("task") or f"{choices['dataset']}/{choices['model']}", sweep


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
    jobs = []
    for task, sweep in tasks(study):
        jobs += [Job.of(experiment(study, sweep, arm), task) for arm in sweep["arms"]]
    arms = [(job.task, job.label, job.replicate) for job in told_apart(jobs)]
    assert len(set(arms)) == len(arms)


@pytest.mark.slow
def test_the_short_way_to_an_experiment_gives_what_composing_gives():
    seen, arms = set(), []
    for study in STUDIES:
        for _, sweep in tasks(study):
            for arm in sweep["arms"]:
                method, *rest = arm.split()
                own = sweep.get("overrides") or [f"{STUDIES[study].parent.name}={study}"]
                new = {method, *(o.partition("=")[0] for o in rest), *(own if len(own) == 1 else map(key, own))} - seen
                arms += [(study, sweep, own, arm)] if new else []
                seen |= new
    for study, sweep, own, arm in arms:
        assert experiment(study, sweep, arm).config == compose([*own, *arm.split()]).config, (study, arm)


def key(override):
    return override.partition("=")[0]


@pytest.mark.slow
@pytest.mark.parametrize("study", LONG)
def test_schedules_of_methods_fit_into_every_budget(study):
    budgets = {"": {}} | content(study)["budgets"]
    for _, sweep in tasks(study):
        for arm in sweep["arms"]:
            made = experiment(study, sweep, arm)
            for budget in budgets.values():
                steps = max(1, round(made.recipe.steps * made.method.duration * budget.get("steps", 1.0)))
                assert num_updates(made.method, len(made.method.positions(steps))) >= LEAST_UPDATES, (arm, budget)


@cache
def num_updates(method, steps):
    """Updates that a method's schedule has room for; enough for a method without one."""
    number = method.num_updates(steps)
    return LEAST_UPDATES if number is None else number


def test_a_schedule_that_does_not_fit_would_be_found():
    arm = "method=dsc method.density=0.25 method.interval=100"
    made = experiment("fashion_mnist", content("fashion_mnist")["sweeps"][0], arm)
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
    if not any(arm_options(arm)["method"].get("regrow") for arm in sweep["arms"]):
        missing.append("dsc with regrowth")
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
