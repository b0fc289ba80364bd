"""Arms whose selection never acted are named on every page, and before they run."""

import dataclasses

import pytest

from hundredfold.analysis import tables
from hundredfold.analysis.facts.exclusions import exclusions
from hundredfold.analysis.inert import LEAST_UPDATES, inert
from hundredfold.methods.control.random_twin import RandomTwin
from hundredfold.methods.dynamic.rigl import Rigl
from hundredfold.methods.neurons.dsc import Dsc
from hundredfold.methods.selective.compose import Compose
from hundredfold.methods.selective.infobatch import Infobatch
from hundredfold.methods.static.random_erk import RandomErk
from hundredfold.methods.topology import UpdateSchedule
from tests.conformance import Training
from tests.record_factory import Arm
from tests.test_analysis_claims import load, made_of

DSC, RIGL = Arm("dsc", "neurons", {"density": 0.0625}, 5, -0.01), Arm("rigl", "dynamic", {"density": 0.1}, 3, -0.01)
SAMPLES = Arm("infobatch", "selective", {}, 1.3, 0.0)


def found(tmp_path, change, *arms):
    """arm -> why it is inert, after `change` of every record but dense's."""
    made = made_of(*arms)
    study = load(tmp_path, [one if one["method"] == "dense" else one | change(one, made) for one in made])
    (task,) = study.tasks
    return study, {arm.label: inert(arm, task) for arm in task.arms}


def dense_of(record, made):
    return next(d for d in made if d["method"] == "dense" and (d["seed"], d["replicate"]) == (record["seed"], 0))


def test_an_arm_that_acts_is_not_marked(tmp_path):
    fewer = {"executed": 1e9, "ideal": 1e9, "selection": 0.0}
    study, why = found(tmp_path, lambda one, made: {"flops": fewer}, DSC, RIGL, SAMPLES)
    assert len(why) == 4 and not any(why.values())
    assert "inert" not in " ".join(tables.formatted(study.tasks[0])["Arm"])


CASES = {
    "ends with the weights of dense": lambda one, made: {"weights_sha256": dense_of(one, made)["weights_sha256"]},
    f"decides 3 times in a run, {LEAST_UPDATES} are the least": lambda one, made: {
        "updates": {"scheduled": 3, "made": 3}
    },
    "leaves nothing out": lambda one, made: {"flops": dense_of(one, made)["flops"]},
    "ends at density 0.5 where 0.1 was asked for": lambda one, made: {"density": one["density"] | {"prunable": 0.5}},
}


@pytest.mark.parametrize("reason", CASES)
def test_an_arm_that_never_acted_is_marked_with_its_reason(tmp_path, reason):
    study, why = found(tmp_path, CASES[reason], RIGL)
    assert why == {"dense": None, "rigl 0.1": reason}
    assert "rigl 0.1 (inert)" in list(tables.formatted(study.tasks[0])["Arm"])
    assert any(f"rigl 0.1 is inert: it {reason}" in line for line in exclusions(study, []))


def test_a_density_of_neurons_is_not_that_of_weights(tmp_path):
    units = {"2": {"size": 64, "alive": 6, "ever": 64}}
    _, why = found(tmp_path, lambda one, made: {"density": one["density"] | {"prunable": 0.01}, "units": units}, RIGL)
    assert why["rigl 0.1"] is None


@pytest.mark.parametrize("share", [1.0, 1.05])
def test_a_twin_that_costs_another_sum_is_named(tmp_path, share):
    flops = {"executed": 3e9, "ideal": 2e9, "selection": 1e9}
    costly = {"executed": 1e9 + share * 2e9, "ideal": 1e9 + share * 1e9, "selection": 1e9}
    twin = Arm("dsc_random", "control", {"density": 0.0625}, 5, -0.02, twin_of="dsc")
    change = lambda one, made: {"flops": costly if one["method"] == "dsc_random" else flops}  # noqa: E731
    study, _ = found(tmp_path, change, DSC, twin)
    lines = [line for line in exclusions(study, []) if "is no control" in line]
    reason = "it computes 1.05 of what dsc 0.0625 computes (executed FLOPs)"
    assert lines == ([] if share == 1 else [f"digits/mlp: dsc_random 0.0625 is no control: {reason}"])


def test_updates_are_counted_and_survive_an_interruption():
    method = Rigl(density=0.25, update=UpdateSchedule(6, 0.0, 0.75))
    training = Training(method).run()
    assert training.session.num_updates == method.num_updates(48) == 6  # 0, 6, ..., 30
    part = Training(method).run(20)
    resumed = Training(method, seed=99)
    resumed.session.load_state_dict(part.session.state_dict())
    resumed.model.load_state_dict(part.model.state_dict())
    assert resumed.run().session.num_updates == 6


def test_a_method_says_how_many_updates_its_schedule_has_room_for():
    dsc = Dsc(density=0.25, interval=10)
    assert dsc.num_updates(100) == 4  # 10, 20, 30, 40: contraction ends at half of the run
    assert dataclasses.replace(dsc, regrow=0.3).num_updates(100) == 4  # steps that judge are not updates
    assert RandomTwin(of=dsc).num_updates(100) == 4 and RandomErk().num_updates(100) is None
    assert Compose(methods=(dsc, Infobatch())).num_updates(100) == 4
    assert Infobatch().num_updates(100) is None
