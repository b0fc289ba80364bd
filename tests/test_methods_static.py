"""Static methods and dense controls against hand-worked cases, closed forms and slow references."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hundredfold.methods.control.placebo import Placebo
from hundredfold.methods.dense.dense import Dense
from hundredfold.methods.dense_control.dense_reg import DenseReg
from hundredfold.methods.execution.session import Session
from hundredfold.methods.static.early_bird import EarlyBird
from hundredfold.methods.static.gmp import Gmp
from hundredfold.methods.static.grasp import Grasp
from hundredfold.methods.static.lottery import Lottery
from hundredfold.methods.static.magnitude import Magnitude
from hundredfold.methods.static.magnitude_structured import MagnitudeStructured
from hundredfold.methods.static.random_erk import RandomErk
from hundredfold.methods.static.random_static import RandomStatic
from hundredfold.methods.static.snip import Snip
from hundredfold.methods.static.str import SoftThreshold, Str
from hundredfold.methods.static.synflow import Synflow, synaptic_flow
from hundredfold.methods.tools.allocation import allocate
from hundredfold.methods.tools.schedules import cubic
from hundredfold.methods.topology import UpdateSchedule
from tests.conformance import BATCH, INPUTS, TARGETS, Training, network

X, Y = INPUTS[:BATCH], TARGETS[:BATCH]


def weights_of(model):
    return {name: m.weight.detach().clone() for name, m in model.named_modules() if isinstance(m, nn.Linear)}


def top_fraction(scores, density):
    """Masks of the largest scores over all layers, by sorting."""
    flat = torch.cat([s.flatten() for s in scores.values()])
    threshold = flat.sort(descending=True).values[round(density * len(flat)) - 1]
    return {name: s >= threshold for name, s in scores.items()}


# ---- allocation and random masks (T7, T8, T18) -----------------------------------------------------------------------


def test_t7_random_masks_have_exactly_as_many_weights_as_promised():
    for density in (0.01, 0.1, 0.37):
        session = Training(RandomErk(density=density)).session
        total = sum(session.accounts.prunable.values())
        assert sum(int(m.sum()) for m in session.active.values()) == round(density * total)


def test_t8_the_first_layer_can_be_kept_whole_and_the_total_stays():
    session = Training(RandomStatic(density=0.3, dense_first=True)).session
    assert session.active["0"].all() and not session.active["2"].all()
    assert sum(int(m.sum()) for m in session.active.values()) == round(0.3 * sum(session.accounts.prunable.values()))
    with pytest.raises(ValueError, match="density=0.1: the first layer alone is 0.19 of the weights"):
        Training(RandomStatic(density=0.1, dense_first=True))


def test_t18_equal_sparsity_is_not_equal_cost():
    """In convolutions early layers are small and run at many positions, so ERK costs more than uniform density."""
    shapes = {"conv1": (64, 3 * 9), "conv2": (128, 64 * 9), "conv3": (512, 128 * 9)}
    positions = {"conv1": 1024, "conv2": 256, "conv3": 16}
    cost = {
        kind: sum(count * positions[name] for name, count in allocate(shapes, 0.2, kind).items())
        for kind in ("uniform", "erk")
    }
    assert cost["erk"] > 1.5 * cost["uniform"]


# ---- pruning while training ------------------------------------------------------------------------------------------


def test_the_cubic_schedule_starts_dense_ends_at_the_density_and_falls_fast_first():
    assert cubic(0.0, 1.0, 0.1) == 1.0 and cubic(1.0, 1.0, 0.1) == pytest.approx(0.1)
    assert cubic(0.5, 1.0, 0.0) == pytest.approx(0.125)  # (1 - 1/2)^3
    gmp = Gmp(density=0.1, update=UpdateSchedule(10, 0.0, 0.75))
    assert gmp.density_at(0, 100) == 1.0 and gmp.density_at(70, 100) == pytest.approx(0.1)


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_one_shot_magnitude_prunes_the_smallest_at_its_step_and_at_no_other(scope):
    training = Training(Magnitude(density=0.25, prune_at=0.5, scope=scope)).run(24)
    assert not training.session.active
    training.run(25)
    first = {name: mask.clone() for name, mask in training.session.active.items()}
    for name, mask in first.items():
        weight = training.session.layers[name].weight.detach().abs()
        assert weight[mask].min() > 0 and not weight[~mask].any()
    densities = {float(mask.float().mean()) for mask in first.values()}
    assert (densities == {0.25}) == (scope == "layer")
    training.run()
    assert all(torch.equal(first[name], mask) for name, mask in training.session.active.items())


def test_structured_magnitude_removes_the_neurons_of_smallest_relative_norm():
    training = Training(MagnitudeStructured(density=0.5, prune_at=0.5, multiple=1, floor=0)).run(24)
    w = weights_of(training.model)
    norms = {
        "2": (w["0"].square().sum(1) + w["2"].square().sum(0)).sqrt(),
        "4": (w["2"].square().sum(1) + w["4"].square().sum(0)).sqrt(),
    }
    view = training.session.view()
    for name, norm in norms.items():
        torch.testing.assert_close(view.units[name].norm, norm)
    chosen = training.method.strongest(view)
    flat = torch.cat([norms[name] / norms[name].mean() for name in chosen])
    expected = flat >= flat.sort(descending=True).values[63]
    assert torch.equal(torch.cat(list(chosen.values())), expected)
    training.run()
    assert sum(p.shape[0] for p in (training.model[0].weight, training.model[2].weight)) == 64


def test_early_bird_draws_once_the_masks_agree_and_not_before():
    still = Training(EarlyBird(density=0.5, interval=2, window=3, distance=1.0, prune_at=0.9)).run(7)
    assert still.session.unit_counts()["2"]["alive"] < 64  # masks of steps 2, 4 and 6, all within 1
    never = Training(EarlyBird(density=0.5, interval=2, window=3, distance=0.0, prune_at=0.5))
    never.run(24)
    assert never.session.unit_counts()["2"]["alive"] == 64
    assert sum(c["alive"] for c in never.run().session.unit_counts().values()) == 64  # drawn at the latest


def test_every_round_of_a_lottery_is_trained_charged_and_starts_from_the_first_weights():
    method = Lottery(density=0.25, rounds=2)
    assert list(method.positions(4)) == [0, 1, 2, 3] * 3
    assert list(dataclasses.replace(method, rewind_step=2).positions(4)) == [0, 1, 2, 3, 2, 3, 2, 3]
    training = Training(method)
    start = {name: p.detach().clone() for name, p in training.model.named_parameters()}
    length = training.session.total_steps // 3
    training.run(length)
    assert method.density_at(length - 1, 3 * length) == pytest.approx(0.5)
    for name, parameter in training.model.named_parameters():
        mask = training.session.active.get(name.removesuffix(".weight"))
        expected = start[name] if mask is None or name.endswith("bias") else start[name] * mask
        torch.testing.assert_close(parameter.detach(), expected)
    assert not training.optimizer.state, "the optimizer has forgotten the round"
    dense = Training(Dense()).run()
    assert training.run().session.executed_flops == pytest.approx(3 * dense.session.executed_flops)


# ---- scores before training ------------------------------------------------------------------------------------------


def test_t16_snip_per_layer_ranks_within_layers_at_the_given_densities():
    training = Training(Snip(density=0.25, scope="layer"))
    F.cross_entropy(training.model(X), Y).backward()
    scores = {name: (v.weight.grad * v.weight).detach().abs() for name, v in training.session.layers.items()}
    training.session.step()
    counts = allocate({name: tuple(s.shape) for name, s in scores.items()}, 0.25, "erk")
    for name, score in scores.items():
        order = score.flatten().argsort(descending=True)[: counts[name]]
        assert set(order.tolist()) == set(training.session.active[name].flatten().nonzero().flatten().tolist())


def test_t15_the_network_that_was_scored_is_the_one_that_trains():
    for method in (Snip(density=0.25), Grasp(density=0.25), Synflow(density=0.25, rounds=3)):
        training = Training(method)
        before = weights_of(training.model)
        training.run(1)
        for name, mask in training.session.active.items():
            assert torch.equal(training.session.layers[name].weight.detach(), before[name] * mask)


def test_grasp_scores_are_weights_times_the_hessian_gradient_product():
    training = Training(Grasp(density=0.25))
    model = network().double()
    rows = torch.arange(BATCH) * 5 % len(INPUTS)
    x, y, layers = INPUTS[rows].double(), TARGETS[rows], [model[0], model[2], model[4]]

    def gradients():
        return torch.autograd.grad(F.cross_entropy(model(x) / 200, y), [layer.weight for layer in layers])

    start, epsilon = gradients(), 1e-2
    with torch.no_grad():  # H g by a finite difference of gradients along g
        for layer, g in zip(layers, start, strict=True):
            layer.weight += epsilon * g
    moved = gradients()
    with torch.no_grad():
        for layer, g in zip(layers, start, strict=True):
            layer.weight -= epsilon * g
    scores = {
        name: layer.weight.detach() * (b - a) / epsilon
        for name, layer, a, b in zip(("0", "2", "4"), layers, start, moved, strict=True)
    }
    expected = top_fraction(scores, 0.25)  # the paper removes the highest -theta Hg
    training.run(1)
    agree = [(training.session.active[name] == mask).float().mean() for name, mask in expected.items()]
    assert min(agree) > 0.99


def test_synflow_is_conserved_from_layer_to_layer():
    torch.manual_seed(0)
    sizes = (16, 64, 64, 4)
    layers = [nn.Linear(a, b, bias=False) for a, b in zip(sizes, sizes[1:], strict=False)]
    model = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
    masks = {name: torch.ones_like(model.get_submodule(name).weight, dtype=torch.bool) for name in ("0", "2", "4")}
    flow = synaptic_flow(model, torch.ones(1, 16), masks)
    totals = [float(score.sum()) for score in flow.values()]
    assert totals == pytest.approx([totals[0]] * 3, rel=1e-5)
    for a, b in zip(list(flow.values()), list(flow.values())[1:], strict=False):  # and at every neuron
        torch.testing.assert_close(a.sum(1), b.sum(0), rtol=1e-4, atol=1e-6)


def test_synflow_reads_no_data_keeps_every_layer_alive_and_leaves_the_weights_alone():
    sessions = []
    for scale in (1.0, -3.0):
        training = Training(Synflow(density=0.02, rounds=50))
        training.inputs = scale * training.inputs
        sessions.append(training.run(1).session)
    assert all(torch.equal(sessions[0].active[name], mask) for name, mask in sessions[1].active.items())
    assert all(mask.any() for mask in sessions[0].active.values())
    assert sessions[0].selection_flops > 0


def test_t14_scoring_in_evaluation_mode_leaves_the_mode_and_the_statistics_of_norms():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 4))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    session = Session(model, Synflow(density=0.25, rounds=5), optimizer, total_steps=4)
    session.backward(X, Y)
    mean = model[1].running_mean.clone()
    session.step()
    assert model.training and model[1].training and torch.equal(model[1].running_mean, mean)


# ---- learned thresholds ----------------------------------------------------------------------------------------------


def test_soft_thresholds_shrink_what_is_above_and_silence_what_is_below():
    threshold = SoftThreshold(torch.tensor([[0.0]]))  # sigmoid(0) = 1/2
    weight = torch.tensor([[0.2, -0.4], [0.8, -1.5]], requires_grad=True)
    out = threshold(weight)
    torch.testing.assert_close(out, torch.tensor([[0.0, 0.0], [0.3, -1.0]]))
    out.sum().backward()
    assert weight.grad.tolist() == [[0.0, 0.0], [1.0, 1.0]]
    assert float(threshold.s.grad) == pytest.approx(-0.25 * (1 - 1))  # -sigmoid' (sign(.8) + sign(-1.5))


def trained_with_thresholds(make, rise, steps=300):
    model = network()
    optimizer = make(model.parameters())
    session = Session(model, Str(rise=rise), optimizer, total_steps=steps)
    for step in range(steps):
        rows = torch.arange(step, step + 32) % len(X)
        session.backward(X[rows], Y[rows])
        session.step(), optimizer.zero_grad()
    return session


OPTIMIZERS = [
    lambda p: torch.optim.AdamW(p, 0.003, weight_decay=0.3),
    lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=0.0),
]


@pytest.mark.parametrize("make", OPTIMIZERS, ids=["adamw", "sgd"])
def test_thresholds_rise_by_as_many_e_folds_as_were_asked_for_whatever_the_optimizer(make):
    model = trained_with_thresholds(make, 2.0).model
    found = [v for n, v in model.named_parameters() if n.endswith(".0.s")]
    assert len(found) == 3  # sigmoid(-3200) has no gradient, so that nothing but decay moves s
    for s in found:
        assert math.log(-3200 / float(s.detach())) == pytest.approx(2.0, rel=0.1)  # momentum lags behind


@pytest.mark.parametrize("make", OPTIMIZERS, ids=["adamw", "sgd"])
def test_more_e_folds_make_a_sparser_network(make):
    densities = [trained_with_thresholds(make, rise).density() for rise in (5.0, 7.0, 9.0)]
    assert densities[0] > 0.95 and densities[2] < densities[1] < 0.8


@pytest.mark.slow
def test_the_recipe_of_learned_thresholds_reaches_the_published_density_and_learns():
    """The e-folds and the optimizer of a5_learned_thresholds, whose published density is 0.0248."""
    session = trained_with_thresholds(OPTIMIZERS[1], 60.0, steps=1000)
    assert 0.01 < session.density() < 0.05
    session.model.eval()
    assert float((session.model(X).argmax(1) == Y).float().mean()) > 0.9


def test_thresholds_reach_convolutions():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(16, 3))
    session = Session(model, Str(start=0.0), torch.optim.SGD(model.parameters(), 0.1), total_steps=10)
    session.backward(torch.rand(8, 1, 6, 6), torch.randint(3, (8,)))  # sigmoid(0) = 1/2 is above every weight
    assert session.densities()["2"] < 0.05 and session.densities()["4"] < 0.6


# ---- dense controls --------------------------------------------------------------------------------------------------


def test_the_placebo_trains_exactly_like_dense_and_pays_for_its_scores():
    placebo, dense = Training(Placebo(interval=6, observe_every=2)).run(), Training(Dense()).run()
    for a, b in zip(placebo.model.parameters(), dense.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert placebo.session.selection_flops > 0 == dense.session.selection_flops


def test_the_regularised_control_drops_hidden_neurons_in_training_alone():
    training = Training(DenseReg(dropout=0.5))
    seen = {}
    training.model[2].register_forward_pre_hook(lambda m, args: seen.update(h=args[0]))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        training.model(X)
    hidden = network()[:2](X)
    kept = seen["h"] != 0
    torch.testing.assert_close(seen["h"][kept], 2 * hidden[kept])
    assert 0.4 < float((~kept & (hidden > 0)).sum() / (hidden > 0).sum()) < 0.6
    training.model.eval()
    training.model(X)
    torch.testing.assert_close(seen["h"], hidden)
    assert DenseReg(weight_decay=0.3).recipe == {"weight_decay": 0.3} and len(DenseReg(stop=0.5).positions(10)) == 5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Magnitude(scope="net"), "scope=net"),
        (lambda: Snip(scope="net"), "scope=net"),
        (lambda: Grasp(temperature=0), "temperature=0"),
        (lambda: Synflow(rounds=0), "rounds=0"),
        (lambda: Lottery(rounds=0), "rounds=0"),
        (lambda: EarlyBird(window=1), "window=1"),
        (lambda: DenseReg(dropout=1.0), "dropout=1"),
        (lambda: Str(rise=-1), "rise=-1"),
        (lambda: RandomStatic(distribution="flat"), "distribution=flat"),
    ],
)
def test_bad_options_are_answered_with_the_value(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_dropout_reaches_recurrent_networks_before_their_head():
    from hundredfold.replication.datasets.base import DataSpec
    from hundredfold.replication.models.gru import Gru

    torch.manual_seed(0)
    model = Gru(dim=8, hidden=16).build(DataSpec("text", (8,), 16, "loss"))
    optimizer = torch.optim.AdamW(model.parameters())
    Session(model, DenseReg(dropout=0.5), optimizer, total_steps=10)
    tokens = torch.arange(8)[None]
    assert not torch.equal(model(tokens), model(tokens))
    model.eval()
    assert torch.equal(model(tokens), model(tokens))
