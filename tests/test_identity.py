"""What makes two runs the same run: every value that decides the result, and nothing else."""

import copy
import dataclasses
import functools

import pytest

from hundredfold.replication.composition import compose
from hundredfold.replication.config import registry, run_id

SAME = ["results=elsewhere", "trainer.checkpoint_every_s=3", "trainer.keep=true", "logger=wandb", "replicate=1"]
OTHER = ["seed=1", "budget=0.5", "recipe.learning_rate=0.5", "method=rigl", "trainer.threads=2", "model.widths=[8]"]


@pytest.fixture(scope="module")
def base():
    return compose([]).config


def paths(config, above=()):
    """Names that lead to every value of a configuration."""
    for name, value in config.items():
        yield from paths(value, (*above, name)) if isinstance(value, dict) else [(*above, name)]


def test_every_value_is_in_the_identity_but_where_a_run_lies_and_how_it_is_watched(base):
    left_out = set()
    for *groups, name in paths(base):
        changed = copy.deepcopy(base)
        functools.reduce(dict.__getitem__, groups, changed)[name] = "another value"
        if run_id(changed) == run_id(base):
            left_out.add(".".join([*groups, name]))
    watched = {"logger.wandb", "logger.project", "trainer.checkpoint_every_s", "trainer.keep"}
    assert left_out == {"results", "replicate"} | watched


def test_an_override_reaches_the_identity_unless_it_is_left_out(base):
    assert {run_id(compose([override]).config) for override in SAME} == {run_id(base)}
    assert len({run_id(base), *(run_id(compose([override]).config) for override in OTHER)}) == 1 + len(OTHER)


def test_options_of_a_method_are_written_out_so_that_a_changed_default_cannot_alias():
    fields = {field.name for field in dataclasses.fields(registry("method")["rigl"])}
    assert set(compose(["method=rigl"]).config["method"]) == fields | {"name"}
