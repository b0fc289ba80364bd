"""A recipe's schedule against the formulas written out, and the values that no recipe can have."""

import dataclasses
import math

import pytest

from hundredfold.replication.recipe import Recipe

RECIPE = Recipe("adamw", 8, 100, 0.1, 0.0, (0.9, 0.95), 0.1)


def test_a_linear_schedule_rises_and_falls_in_straight_lines():
    rates = list(RECIPE.rates(100))
    expected = [0.1 * min((step + 1) / 10, (100 - step) / 91) for step in range(100)]
    assert rates == expected and rates[9] == max(rates)


def test_a_cosine_ends_near_zero_and_steps_are_cut_at_the_milestones():
    cosine = dataclasses.replace(RECIPE, schedule="cosine", warmup=0.0).rates(50)
    assert cosine[25] == pytest.approx(0.1 * (0.5 + 0.5 * math.cos(math.pi * 25 / 50))) and cosine[-1] < 1e-3
    steps = dataclasses.replace(RECIPE, schedule="step", warmup=0.0, milestones=(0.3, 0.6), gamma=0.5).rates(10)
    assert list(steps) == [0.1] * 3 + [0.05] * 3 + [0.025] * 4


def test_the_positions_of_a_method_choose_from_the_schedule():
    assert list(RECIPE.rates(100, [0, 99, 0])) == [RECIPE.rates(100)[0], RECIPE.rates(100)[99], RECIPE.rates(100)[0]]


def test_the_rates_of_a_billion_steps_take_no_memory():
    assert len(RECIPE.rates(10**9)) == 10**9 and 0 < RECIPE.rates(10**9)[-1] < 1e-8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": "adam"}, "optimizer=adam: choose one of adamw, muon, sgd"),
        ({"schedule": "linaer"}, "schedule=linaer: choose one of cosine, linear, step"),
        ({"steps": 10**12}, "steps=1e+12: expected a whole number in [1, 1e+09]"),
        ({"steps": 0}, "steps=0: expected"),
        ({"batch_size": 0}, "batch_size=0: expected a whole number, 1 or more"),
        ({"learning_rate": 0.0}, "learning_rate=0: expected a number above 0"),
        ({"weight_decay": -1.0}, "weight_decay=-1: expected a number, 0 or more"),
        ({"clip": -1.0}, "clip=-1: expected a number above 0"),
        ({"warmup": 5.0}, "warmup=5: expected a fraction in [0, 1]"),
        ({"betas": (0.9, 1.0)}, "betas[1]=1: expected a fraction in [0, 1)"),
        ({"milestones": (0.6, 0.3)}, "milestones=[0.6, 0.3]: expected rising fractions of the run"),
        ({"milestones": (0.3, 0.3)}, "milestones=[0.3, 0.3]: expected rising fractions of the run"),
        ({"milestones": (1.5,)}, "milestones[0]=1.5: expected a fraction in (0, 1)"),
        ({"gamma": 0.0}, "gamma=0: expected a fraction in (0, 1]"),
        ({"smoothing": 1.0}, "smoothing=1: expected a fraction in [0, 1)"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused_in_one_sentence(change, message):
    with pytest.raises(ValueError) as error:
        dataclasses.replace(RECIPE, **change)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)
