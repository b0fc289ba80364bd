"""Label noise, a fraction and an imbalance change the training split as they say, and nothing else."""

import numpy as np
import pytest
import torch

from hundredfold.replication import registry
from hundredfold.replication.datasets import _scenario
from hundredfold.replication.datasets.base import Dataset
from hundredfold.replication.datasets.digits import Digits
from hundredfold.replication.datasets.topics import Topics

CLEAN = Digits().training()[0]


def rows_of(split):
    """Row of each image of a split in the clean training split; the images are distinct."""
    places = {image.numpy().tobytes(): row for row, image in enumerate(CLEAN.inputs)}
    return [places[image.numpy().tobytes()] for image in split.inputs]


@pytest.mark.parametrize("options", [{"label_noise": 0.4}, {"fraction": 0.1}, {"imbalance": 10.0}])
def test_validation_and_test_stay_whole_and_clean(options):
    plain, changed = Digits(), Digits(**options)
    assert len(changed.training()[0].inputs) < 1200 or not torch.equal(changed.training()[0].targets, CLEAN.targets)
    for before, after in ((plain.training()[1], changed.training()[1]), (plain.test(), changed.test())):
        assert torch.equal(before.inputs, after.inputs) and torch.equal(before.targets, after.targets)


@pytest.mark.parametrize("noise", [0.2, 0.4])
def test_exactly_that_many_labels_are_wrong(noise):
    noisy = Digits(label_noise=noise).training()[0]
    assert torch.equal(noisy.inputs, CLEAN.inputs)
    assert int((noisy.targets != CLEAN.targets).sum()) == round(noise * 1200)


def test_wrong_labels_are_spread_evenly_over_the_other_classes():
    classes = torch.arange(10).repeat(3000)
    noisy = _scenario.noisy(classes, 10, 0.5, seed=0)
    shifts = torch.bincount((noisy - classes) % 10, minlength=10)
    assert shifts[0] == 15_000 and (shifts[1:] - 15_000 / 9).abs().max() < 5 * (15_000 / 9) ** 0.5


def test_a_fraction_keeps_every_class_in_proportion():
    kept = Digits(fraction=0.1).training()[0]
    assert len(kept.inputs) == 120
    whole = torch.bincount(CLEAN.targets)
    assert (torch.bincount(kept.targets) - whole * 0.1).abs().max() < 1


def test_a_smaller_fraction_is_part_of_a_larger_one():
    few, more = (set(rows_of(Digits(fraction=fraction).training()[0])) for fraction in (0.05, 0.1))
    assert len(few) == 60 and few < more


def test_classes_shrink_exponentially_to_the_ratio():
    counts = torch.bincount(Digits(imbalance=10.0).training()[0].targets).tolist()
    whole = np.bincount(CLEAN.targets)
    expected = whole * 10 ** (-np.arange(10) / 9)
    assert np.abs(counts - expected).max() <= 0.5 + 1e-9


def test_the_options_join():
    joined = Digits(imbalance=10.0, fraction=0.5, label_noise=0.2).training()[0]
    alone = Digits(imbalance=10.0).training()[0]
    assert len(joined.inputs) == round(0.5 * len(alone.inputs))
    assert int((joined.targets != CLEAN.targets[rows_of(joined)]).sum()) == round(0.2 * len(joined.inputs))


def test_another_scenario_seed_draws_other_examples_and_the_same_seed_the_same():
    first, again, other = (Digits(fraction=0.1, scenario_seed=seed).training()[0] for seed in (0, 0, 1))
    assert torch.equal(first.inputs, again.inputs) and not torch.equal(first.inputs, other.inputs)


def test_the_draws_are_those_of_every_machine():
    assert _scenario.draws(0, "kept", 2).tolist() == [12887714411930626787, 11979948437400917746]


def test_held_out_rows_and_the_rest_are_everything_once():
    classes = np.arange(100) % 3
    keys = _scenario.digests(bytes([row]) for row in range(100))
    rest, out = _scenario.held_out(classes, keys, 31)
    assert sorted([*rest, *out]) == list(range(100)) and np.bincount(classes[out]).tolist() == [11, 10, 10]


def test_a_fraction_of_a_text_is_a_part_of_its_windows():
    whole, part = (Topics(fraction=fraction).training()[0] for fraction in (1.0, 0.05))
    windows = {bytes(row.tolist()) for row in whole.inputs}
    assert len(part.inputs) == round(0.05 * len(whole.inputs))
    assert all(bytes(row.tolist()) in windows for row in part.inputs)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"label_noise": 1.0}, r"label_noise=1: expected a fraction in \[0, 1\)"),
        ({"label_noise": 20.0}, r"label_noise=20: expected a fraction in \[0, 1\)"),
        ({"fraction": 0.0}, r"fraction=0: expected a fraction in \(0, 1\]"),
        ({"imbalance": 0.5}, "imbalance=0.5: expected a ratio, 1 or more"),
        ({"scenario_seed": -1}, "scenario_seed=-1: expected a whole number"),
    ],
)
def test_an_option_out_of_range_is_one_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        Digits(**options)


@pytest.mark.parametrize("options", [{"label_noise": 0.2}, {"imbalance": 2.0}])
def test_a_text_has_no_classes_to_spoil(options):
    with pytest.raises(ValueError, match="a text has no classes"):
        Topics(**options)


def test_a_class_left_empty_is_one_sentence():
    with pytest.raises(ValueError, match="leaves a class without examples; keep more"):
        Digits(fraction=0.005).training()


def test_every_data_set_takes_the_options():
    for name, cls in registry.discover("hundredfold.replication.datasets", Dataset).items():
        assert registry.create("dataset", {name: cls}, name, fraction=0.5, scenario_seed=3).fraction == 0.5
