"""The contract of controls: a random twin is its method in everything but the choice."""

import dataclasses

import pytest
import torch

from hundredfold.methods.control.dsc_random import DscRandom
from hundredfold.methods.control.random_twin import Deal, RandomTwin, dealt, dealt_in_rows
from hundredfold.methods.execution.parts import Units
from hundredfold.methods.neurons.dsc import Dsc
from hundredfold.replication.composition import compose
from hundredfold.replication.config import registry
from hundredfold.replication.run import run
from tests.conformance import Training, selected
from tests.test_conformance import METHODS

RANKED_BY_NOTHING = {"random_erk", "random_static", "random_ltd", "layer_drop", "layer_freeze", "dsc_frozen"}
SETS_VALUES = {"deepr", "top_kast"}  # a twin would train other weights, not choose others
TWINS = {
    name: RandomTwin(of=method)
    for name, method in METHODS.items()
    if not method.twin_of
    and name not in RANKED_BY_NOTHING | SETS_VALUES | {"compose", "lottery"}
    and selected(method) & {"weights", "units", "operands", "samples"}
    and "modules" not in selected(method)
}
DSC = METHODS["dsc"]
TWINS["dsc_random"] = DscRandom(**{f.name: getattr(DSC, f.name) for f in dataclasses.fields(Dsc)})


def of(twin):
    """The method that a twin is of."""
    return twin.of if isinstance(twin, RandomTwin) else DSC


def sizes(training):
    """Number of what exists in every layer and group."""
    return {name: int(mask.sum()) for name, mask in training.masks().items()}


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_has_the_counts_the_schedule_and_the_cost_of_its_method(name):
    runs, seen = [], []
    for each in (of(TWINS[name]), TWINS[name]):
        steps, told = [], runs[0].session.trace() if runs else None
        training = Training(each, trace=told)
        runs.append(training.run(each=lambda t, steps=steps: steps.append((t.session.version, sizes(t)))))
        seen.append(steps)
    real, random = runs
    assert [counts for _, counts in seen[0]] == [counts for _, counts in seen[1]], "counts of every layer at every step"
    if not of(TWINS[name]).outcome:  # else the same counts of other entries may take a change where the method has none
        assert [version for version, _ in seen[0]] == [version for version, _ in seen[1]], "schedule"
    for flops in ("executed_flops", "ideal_flops"):
        expected = pytest.approx(getattr(real.session, flops), rel=0.01)
        assert getattr(random.session, flops) == expected, flops
    pairs = zip(real.model.parameters(), random.model.parameters(), strict=True)
    assert any(a.shape != b.shape or not torch.equal(a, b) for a, b in pairs), "the choice"


def test_what_is_dealt_out_has_every_value_in_its_set_and_nothing_of_its_order():
    torch.manual_seed(0)
    values, active = torch.randn(100, 200), torch.rand(100, 200) < 0.3

    def order(seed):
        return Deal(torch.tensor(seed)).orders({"0": (active, ~active)})["0"]

    new = dealt(values, order(7))
    for chosen in (active, ~active):
        assert torch.equal(new[chosen].sort().values, values[chosen].sort().values)
        assert abs(float(torch.corrcoef(torch.stack([values[chosen], new[chosen]]))[0, 1])) < 0.04
    assert torch.equal(new, dealt(values, order(7))) and not torch.equal(new, dealt(values, order(8)))


def test_rows_of_a_mask_keep_their_number_and_equal_rows_stay_equal():
    torch.manual_seed(0)
    mask = torch.rand(64, 500) < 0.1
    new = dealt_in_rows(mask)
    assert torch.equal(new.sum(1), mask.sum(1)) and torch.equal(new, dealt_in_rows(mask))
    assert int((new & mask).sum()) == pytest.approx(0.01 * mask.numel(), rel=0.3)  # as by chance


def test_a_method_that_changes_the_model_has_no_twin():
    for name in ("moe", "memory", "str", "relu_l1", "dsc_input"):
        with pytest.raises(ValueError, match=f"of={name}: changes the model itself, so that it has no random twin"):
            RandomTwin(of=registry("method")[name]()).parts()


def test_a_method_that_sets_weights_has_no_twin():
    for name in SETS_VALUES:
        with pytest.raises(ValueError, match=f"of={name}: sets weights from what it reads"):
            Training(RandomTwin(of=METHODS[name])).run(2)


def test_the_twin_of_dsc_ends_with_other_units_of_the_same_number():
    twin = TWINS["dsc_random"]
    real, random = (Training(each).run().session.part(Units).store.alive for each in (DSC, twin))
    assert all(real[name].sum() == random[name].sum() for name in real)
    assert any(not torch.equal(real[name], random[name]) for name in real)


def test_without_the_run_of_its_method_a_twin_is_refused(tmp_path):
    given = ["method=random_twin", "method.of.name=granet", "recipe.steps=40", f"results={tmp_path}"]
    with pytest.raises(ValueError, match="random_twin: reads the run method=granet with the same options and seed=0"):
        run(compose(given))


@pytest.mark.parametrize("name", ["granet", "infobatch", "neuron_removal"])
def test_a_twin_has_the_counts_of_its_methods_run(tmp_path, name):
    shape = ["recipe.steps=60", "model.widths=[32]", "trainer.segments=3", f"results={tmp_path}"]
    own = {"granet": ["update.interval=10"], "neuron_removal": ["observe_every=2"]}.get(name, [])
    real = run(compose([f"method={name}", *(f"method.{option}" for option in own), *shape])).record
    twin = ["method=random_twin", f"method.of.name={name}", *(f"method.of.{option}" for option in own), *shape]
    random = run(compose(twin)).record
    assert random["density"]["layers"] == real["density"]["layers"]
    assert {group: units["alive"] for group, units in random["units"].items()} == {
        group: units["alive"] for group, units in real["units"].items()
    }
    assert random["flops"]["executed"] == pytest.approx(real["flops"]["executed"], rel=0.01)
    assert random["weights_sha256"] != real["weights_sha256"]
