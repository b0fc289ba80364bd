"""What the loop reports of itself: quality, traffic, energy by phases, progress."""

import itertools
import time

import pytest
import torch

from hundredfold.methods.dense.dense import Dense
from hundredfold.methods.neurons.dsc import Dsc
from hundredfold.replication.models.mlp import Mlp
from hundredfold.replication.module import evaluate, segment_edges
from tests.test_energy_meter import Clock
from tests.test_training_loop import ADAMW, CASES, IMAGES, SGD, experiment, plain_quality, suite, trained

SHRINKING = Dsc(density=0.25, interval=2, observe_every=1)


@pytest.mark.parametrize(("steps", "segments", "edges"), [(11, 3, [4, 7, 11]), (3, 10, [1, 2, 3]), (1, 2, [1])])
def test_segments_are_as_long_as_each_other_and_never_empty(steps, segments, edges):
    assert segment_edges(steps, segments) == edges


def test_evaluation_counts_every_example_once_and_in_order(tmp_path):
    module = suite(CASES["sgd, linear"], tmp_path)
    split = module.train_split
    quality, right = evaluate(module, split)  # four batches of 256 and one of 176
    with torch.no_grad():
        expected = module.model.eval()(split.inputs).argmax(1) == split.targets
    assert torch.equal(right, expected) and 0 < expected.sum() < IMAGES
    assert quality["num_examples"] == IMAGES
    assert (quality["accuracy"], quality["loss"]) == pytest.approx(plain_quality(module.model, *split), rel=1e-6)


@pytest.mark.parametrize(("recipe", "moved"), [(ADAMW, 36), (SGD, 28)], ids=["adamw", "sgd"])
@pytest.mark.parametrize("method", [Dense(), SHRINKING], ids=["dense", "dsc"])
def test_traffic_is_that_of_the_parameters_of_every_step(recipe, moved, method, tmp_path):
    module, stored = suite(experiment(recipe, Mlp(widths=(32, 32)), method=method), tmp_path), []
    module.optimizer.register_step_pre_hook(lambda *_: stored.append(sum(p.numel() for p in module.model.parameters())))
    trained(module)
    # bytes of a parameter: two products read it; AdamW reads four and writes three numbers, SGD three and two
    assert module.position.modeled_bytes == moved * sum(stored)
    assert len(stored) == 11 and (len(set(stored)) == 1) is (method == Dense())


def test_evaluation_and_the_counting_of_flops_are_not_charged_to_training(tmp_path, monkeypatch):
    source, decide, decisions = Clock(), Dsc.update_topology, []

    def pass_forward(*_):
        source.now += 1

    def decide_for_long(*asked):
        source.now += 100
        decisions.append(asked)
        return decide(*asked)

    monkeypatch.setattr(Dsc, "update_topology", decide_for_long)
    module = suite(experiment(ADAMW, Mlp(widths=(32, 32)), method=SHRINKING), tmp_path, source=source)
    module.model.register_forward_hook(pass_forward)
    totals = trained(module).meter.totals()
    counted = totals.phases_j.pop("account")
    assert totals.phases_j == {"train": 11, "eval": 3, "select": 100 * len(decisions)} and counted >= 2
    assert totals.training_j == 11 + 100 * len(decisions) and decisions


@pytest.mark.parametrize(
    ("step_s", "told_steps", "beats_steps"), [(0, (4, 7, 11), []), (1, range(1, 12), list(range(1, 12)))]
)
def test_slow_steps_and_all_segments_are_told_as_done(step_s, told_steps, beats_steps, tmp_path, monkeypatch):
    told, beats, clock = [], [], itertools.count(step=step_s)
    module = suite(CASES["sgd, linear"], tmp_path, lambda *steps: told.append(steps))
    monkeypatch.setattr(module.meter, "heartbeat", beats.append)
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(clock)))
    trained(module)
    assert told == sorted(told) and set(told) == {(step, 11) for step in told_steps}
    assert beats == beats_steps
