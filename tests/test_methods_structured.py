"""Structured dynamic methods against hand-worked cases and slow references."""

import dataclasses

import pytest
import torch
from torch import nn

from methods.base import UpdateSchedule
from methods.block_dst import BlockDst, block_norms, expand
from methods.chase import Chase
from methods.dsc import Dsc
from methods.dsd import Dsd
from methods.execution.session import Session
from methods.neuron_removal import NeuronRemoval
from methods.nm import Nm, nm_mask
from methods.srigl import Srigl
from tests.conformance import STEPS, Training
from tests.test_session import one_layer, step_with_gradient

EVERY = UpdateSchedule(6)


def two_layers(method, first, total_steps=100):
    """A network of two square layers, so that the first is not the last; momentum SGD."""
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(first)
        model[1].weight.copy_(torch.eye(4))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    return model, Session(model, method, optimizer, total_steps=total_steps)


# ---- SRigL -----------------------------------------------------------------------------------------------------------


def test_every_living_neuron_has_the_same_number_of_inputs_at_every_step():
    def check(training):
        for mask in training.session.active.values():
            assert len(set(mask.sum(1).tolist()) - {0}) == 1

    training = Training(Srigl(density=0.25, update=EVERY, drop=0.5)).run(each=check)
    last = training.session.active["4"]
    assert last.any(1).all(), "the last layer keeps every neuron"


def test_an_over_full_neuron_loses_its_smallest_weights_and_a_poor_one_grows_by_gradient():
    weight = torch.tensor([[9.0, 8.0, 7.0, 6.0], [5.0, 4.0, 0.1, 0.2], [0.3, 0.1, 0.2, 0.1], [3.0, 2.0, 1.0, 0.9]])
    model, _, session = one_layer(Srigl(density=0.5, drop=0.5, distribution="uniform", min_salient=0), weight)
    session.apply(dataclasses.replace(session.method.init_topology(session.view()), active={"0": weight > 0.15}))
    model[0].weight.data.copy_(weight * (weight > 0.15))
    gradient = torch.arange(16.0).view(4, 4)
    step_with_gradient(model, session, gradient)
    # 13 weights, 6 dropped: 9 8 7 6 5 4 3 are kept; fan-in is 2: the two largest of row 0, both of row 1,
    # of row 3 its one survivor and the largest gradient beside it, of row 2 the two largest gradients
    assert session.active["0"].int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 1]]


def test_a_neuron_without_salient_weights_is_ablated_and_the_others_share_its_weights():
    weight = torch.tensor([[4.0, 4, 4, 4], [3, 3, 3, 3], [2, 2, 2, 2], [0.1, 0.1, 0.1, 0.1]])
    model, session = two_layers(Srigl(density=0.5, drop=0.3, distribution="uniform", min_salient=0.9), weight)
    gradient = torch.ones(4, 4)
    gradient[3] = 0
    (model(torch.eye(4)) * gradient.T).sum().backward()
    session.step()
    fan_in = session.active["0"].sum(1)
    assert fan_in[3] == 0 and set(fan_in[:3].tolist()) == {8 // 3}


# ---- Chase -----------------------------------------------------------------------------------------------------------


def test_chase_removes_the_weakest_neurons_on_the_cubic_schedule_and_they_stay_away():
    rows, seen = {"0": torch.ones(64, dtype=torch.bool), "2": torch.ones(64, dtype=torch.bool)}, []

    def check(training):
        for name, before in rows.items():
            now = training.session.memory[f"rows.{name}"]
            assert not (now & ~before).any(), "a removed neuron has returned"
            assert not training.session.active[name][~now].any()
            rows[name] = now.clone()
        seen.append(int(rows["2"].sum()))

    Training(Chase(density=0.25, rows=0.5, update=UpdateSchedule(6, 0.0, 0.8125))).run(each=check)
    assert seen[0] == 64 and seen[-1] == 32 and seen == sorted(seen, reverse=True)
    assert 64 - seen[len(seen) // 3] > 16, "more than half of them leave in the first third"


# ---- blocks ----------------------------------------------------------------------------------------------------------


def test_block_norms_and_masks_are_those_of_the_blocks_edges_included():
    values = torch.arange(15.0).view(3, 5)
    norms = block_norms(values, 2)
    expected = [[values[r : r + 2, c : c + 2].norm() for c in (0, 2, 4)] for r in (0, 2)]
    torch.testing.assert_close(norms, torch.tensor(expected))
    mask = expand(torch.tensor([[True, False, True], [False, True, False]]), (3, 5), 2)
    assert mask.int().tolist() == [[1, 1, 0, 0, 1], [1, 1, 0, 0, 1], [0, 0, 1, 1, 0]]


def test_the_weakest_block_leaves_and_the_one_of_largest_gradient_comes():
    weight = torch.zeros(4, 4)
    weight[:2, :2], weight[2:, 2:] = 1.0, 0.1
    method = BlockDst(density=0.5, drop=0.5, distribution="uniform", block=2)
    model, _, session = one_layer(method, weight)
    start = session.method.init_topology(session.view())
    session.apply(dataclasses.replace(start, active={"0": weight > 0}))
    model[0].weight.data.copy_(weight)
    gradient = torch.zeros(4, 4)
    gradient[:2, 2:] = 0.5  # the missing block that the loss wants
    gradient[3, 0] = 0.9  # a large single entry in the other missing one: norm 0.9 against 1.0
    step_with_gradient(model, session, gradient)
    assert session.active["0"].int().tolist() == [[1, 1, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_masks_stay_unions_of_blocks():
    def check(training):
        for mask in training.session.active.values():
            assert torch.equal(expand(block_norms(mask.float(), 4) == 4, tuple(mask.shape), 4), mask)

    Training(BlockDst(density=0.25, block=4, update=EVERY)).run(each=check)


# ---- N:M -------------------------------------------------------------------------------------------------------------


def test_of_every_four_neighbours_the_two_largest_compute_and_the_rest_of_a_row_is_dense():
    weight = torch.tensor([[1.0, -4.0, 2.0, 3.0, 9.0, 8.0, -0.5, 0.1, 0.2]])
    assert nm_mask(weight, 2, 4).int().tolist() == [[0, 1, 0, 1, 1, 1, 0, 0, 1]]
    torch.manual_seed(0)
    groups = nm_mask(torch.randn(8, 32), 2, 4).view(8, 8, 4)
    assert (groups.sum(2) == 2).all()


def test_masked_weights_train_through_and_return_with_their_value():
    model, _, session = one_layer(Nm(update=UpdateSchedule(1, 0.0, 1.0), decay=0.0), torch.tensor([[4.0, 3, 2, 1]] * 4))
    step_with_gradient(model, session, torch.tensor([[0.0, 0, -9, -5]] * 4))  # learning rate 0.1: 4 3 2.9 1.5
    torch.testing.assert_close(model[0].weight.detach()[0], torch.tensor([4.0, 3.0, 2.9, 1.5]))
    assert session.active["0"][0].tolist() == [True, True, False, False]
    step_with_gradient(model, session, torch.tensor([[0.0, 0, -9, 0]] * 4))
    assert session.active["0"][0].tolist() == [True, False, True, False]
    torch.testing.assert_close(model(torch.eye(4)).T[0], model[0].weight.detach()[0] * session.active["0"][0])


def test_the_pull_reaches_masked_weights_alone():
    model, _, session = one_layer(Nm(update=UpdateSchedule(1, 0.0, 1.0), decay=0.5), torch.tensor([[4.0, 3, 2, 1]] * 4))
    step_with_gradient(model, session, torch.zeros(4, 4))
    torch.testing.assert_close(model[0].weight.detach()[0], torch.tensor([4.0, 3.0, 2 * 0.95, 0.95]))


def test_a_dense_tail_ends_dense():
    training = Training(Nm(dense_tail=0.25, update=EVERY)).run(35)
    assert training.session.density() == pytest.approx(0.5)
    assert training.run().session.density() == 1.0


# ---- neurons that leave ----------------------------------------------------------------------------------------------


def test_dead_neurons_leave_and_living_ones_stay():
    training = Training(NeuronRemoval(score="dead", observe_every=1, multiple=1, floor=0.0))
    with torch.no_grad():
        training.model[0].bias[:10] = -100.0  # never fire
    training.run()
    counts = training.session.unit_counts()
    alive = training.session.store.alive["2"]
    assert not alive[:10].any() and counts["2"]["alive"] >= 40


def test_a_layer_shrinks_to_its_width_times_its_activation_density():
    training = Training(NeuronRemoval(observe_every=1, multiple=1, floor=0.0))
    interval = round(0.1 * STEPS)
    training.run(interval)
    fires = {name: unit.fires.sum() for name, unit in training.session.view().units.items()}
    training.run(interval + 1)
    for name, count in training.session.unit_counts().items():
        assert abs(count["alive"] - float(fires[name])) < 4  # one more step was observed


def test_the_group_lasso_is_the_sum_of_the_neurons_norms():
    training = Training(NeuronRemoval(score="group_lasso", penalty_strength=0.1))
    session, model = training.session, training.model
    penalty = training.method.penalty(dict(model.named_parameters()), session.store.groups)
    norms = sum(float(unit.norm.sum()) for unit in session.view().units.values())
    assert float(penalty) == pytest.approx(0.1 * norms, rel=1e-4)


def test_the_group_lasso_drives_neurons_out():
    counts = {}
    for strength in (0.0, 0.1):
        options = {"penalty_strength": strength, "multiple": 1, "observe_every": 2, "threshold": 0.7}
        method = NeuronRemoval(score="group_lasso", **options)
        counts[strength] = Training(method).run().session.unit_counts()["2"]["alive"]
    assert counts[0.1] < counts[0.0]


# ---- dense, sparse, dense --------------------------------------------------------------------------------------------


def test_dsd_prunes_in_the_middle_and_the_missing_weights_return_from_zero():
    training = Training(Dsd(sparse_from=0.25, sparse_until=0.75)).run(12)
    assert training.session.density() == 1.0
    training.run(13)
    pruned = {name: ~mask for name, mask in training.session.active.items()}
    assert training.session.density() == pytest.approx(0.7, abs=1e-3)
    training.run(37)  # the update of step 36 has just let them return
    for name, gone in pruned.items():
        weight = training.session.layers[name].weight.detach()
        assert training.session.active[name].all() and not weight[gone].any()
    training.run()
    assert all(training.session.layers[name].weight.detach()[gone].any() for name, gone in pruned.items())


# ---- options of dsc --------------------------------------------------------------------------------------------------


def test_a_dense_tail_brings_every_unit_back():
    training = Training(Dsc(density=0.25, interval=6, observe_every=2, contract=0.6, dense_tail=0.25)).run(36)
    assert training.session.density() < 0.5
    counts = training.run().session.unit_counts()
    assert all(count["alive"] == 64 for count in counts.values())


@pytest.mark.parametrize("score", ["rms", "fires"])
def test_units_can_be_valued_by_other_scores(score):
    training = Training(Dsc(density=0.25, interval=6, observe_every=2, score=score)).run(12)
    view = training.session.view()
    unit = view.units["2"]
    expected = unit.second.sqrt() if score == "rms" else unit.fires
    torch.testing.assert_close(training.method.value(unit, view) * unit.cost, expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Srigl(min_salient=2), "min_salient=2"),
        (lambda: Chase(rows=0), "rows=0"),
        (lambda: BlockDst(block=0), "block=0"),
        (lambda: Nm(n=5), "n=5, m=4"),
        (lambda: NeuronRemoval(score="age"), "score=age"),
        (lambda: Dsd(sparse_from=0.8), "sparse_from=0.8"),
        (lambda: Dsc(score="age"), "score=age"),
        (lambda: Dsc(dense_tail=0.5), "dense_tail=0.5"),
    ],
)
def test_bad_options_are_answered_with_the_value(make, message):
    with pytest.raises(ValueError, match=message):
        make()
