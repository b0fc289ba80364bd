"""Structured dynamic methods against hand-worked cases and slow references."""

import dataclasses
import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from hundredfold.methods.dynamic.block_dst import BlockDst, block_norms, expand
from hundredfold.methods.dynamic.chase import Chase
from hundredfold.methods.dynamic.deepr import Deepr
from hundredfold.methods.dynamic.dsd import Dsd
from hundredfold.methods.dynamic.nm import Nm, nm_mask
from hundredfold.methods.dynamic.srigl import Srigl
from hundredfold.methods.dynamic.top_kast import TopKast
from hundredfold.methods.execution.parts import Units
from hundredfold.methods.execution.prunable import prunable_layers
from hundredfold.methods.execution.session import Session
from hundredfold.methods.neurons.dsc import Dsc
from hundredfold.methods.neurons.neuron_removal import NeuronRemoval
from hundredfold.methods.tools.allocation import allocate
from hundredfold.methods.topology import UpdateSchedule
from tests.conformance import INPUTS, RECIPE, STEPS, TARGETS, Training, transformer
from tests.test_session import one_layer, step_with_gradient

EVERY = UpdateSchedule(6)
MASKED = {
    "srigl": Srigl(density=0.25, update=EVERY),
    "chase": Chase(density=0.25, update=UpdateSchedule(6, 0.0, 0.8125)),
    "block_dst": BlockDst(density=0.25, block=4, update=EVERY),
    "dsd": Dsd(sparse_from=0.25, sparse_until=0.75),
    "nm": Nm(update=EVERY),
}


def two_layers(method, first, total_steps=100):
    """A network of two square layers, so that the first is not the last; momentum SGD."""
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(first)
        model[1].weight.copy_(torch.eye(4))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    return model, Session(model, method, optimizer, total_steps=total_steps)


# ---- traps that concern all of them ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MASKED)
@pytest.mark.parametrize("kind", ["vit", "gpt"])
def test_t8_every_linear_weight_counts_and_no_bias_norm_embedding_or_vocabulary_layer(name, kind):
    model, inputs, targets = transformer(kind, 1.0)
    prunable = {layer: module.weight.numel() for layer, module in prunable_layers(model).items()}
    others = {n: p for n, p in model.named_parameters() if n.removesuffix(".weight") not in prunable}
    zeros = {n: int((p == 0).sum()) for n, p in others.items()}
    optimizer = torch.optim.SGD(model.parameters(), 0.0)  # whatever becomes zero was masked
    session = Session(model, MASKED[name], optimizer, total_steps=STEPS)
    for _ in range(STEPS // 2):
        session.backward(inputs[:32], targets[:32]), session.step(), optimizer.zero_grad()
    assert set(session.active) == set(prunable)
    assert zeros == {n: int((p == 0).sum()) for n, p in others.items()}
    active = sum(int(mask.sum()) for mask in session.active.values())
    assert session.density() == pytest.approx(active / sum(prunable.values())) and session.density() < 1


@pytest.mark.parametrize("name", [name for name in MASKED if name != "nm"])
def test_t9_t10_weight_decay_and_momentum_never_move_a_missing_weight(name):
    sgd = lambda p, _: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=0.1)  # noqa: E731
    training, gone = Training(MASKED[name], make=sgd), []

    def check(t):
        for layer, mask in t.session.active.items():
            weight = t.session.layers[layer].weight
            gone.append(int((~mask).sum()))
            assert not weight.detach()[~mask].any()
            momentum = t.optimizer.state.get(weight, {}).get("momentum_buffer")
            assert momentum is None or not momentum[~mask].any()

    training.run(each=check)
    assert max(gone) > 0


def test_t9_t10_masked_weights_of_nm_keep_moments_and_decay_because_they_are_trained():
    training = Training(MASKED["nm"]).run(20)
    session, optimizer = training.session, training.optimizer
    for layer, mask in session.active.items():
        assert optimizer.state[session.layers[layer].weight]["exp_avg"][~mask].any()
    rate, before = RECIPE.rates(STEPS)[20], {n: v.weight.detach().clone() for n, v in session.layers.items()}
    for group in optimizer.param_groups:
        group["lr"] = rate
    for layer in session.layers.values():  # no gradient and no momentum: weight decay alone moves a weight
        optimizer.state[layer.weight]["exp_avg"].zero_()
        layer.weight.grad = torch.zeros_like(layer.weight)
    assert not session.due
    session.step()
    for name, layer in session.layers.items():
        hidden = ~session.active[name]
        decayed = before[name] * (1 - rate * 0.1)
        torch.testing.assert_close(layer.weight.detach()[~hidden], decayed[~hidden])
        pulled = layer.weight.detach()[hidden].abs() < decayed[hidden].abs()  # the pull is all of their gradient
        assert pulled.all()


@pytest.mark.parametrize("cls", [Srigl, BlockDst])
def test_an_option_that_would_be_ignored_is_refused(cls):
    with pytest.raises(ValueError, match="sign=separate"):
        cls(sign="separate")


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


def srigl_by_hand(weight, active, grad, last, count, drop, share, dense_fan_in):
    """Mask after one update by loops over sorted positions, from the authors' definitions."""
    outputs, inputs = weight.shape
    positions = [(i, j) for i in range(outputs) for j in range(inputs)]
    present = [p for p in positions if active[p]]
    num_dropped = int(drop * len(present))
    kept = set(sorted(present, key=lambda p: -abs(float(weight[p])))[: len(present) - num_dropped])
    salient = kept | set(sorted(positions, key=lambda p: -abs(float(grad[p])))[:num_dropped])
    number = [sum(p[0] == i for p in salient) for i in range(outputs)]
    least = max(1, int(share * (inputs if dense_fan_in else count // outputs)))
    least = min(least, sorted(number, reverse=True)[-(-count // inputs) - 1])  # room for the layer's weights
    living = [i for i in range(outputs) if last or number[i] >= least]
    fan_in, mask = count // len(living), torch.zeros_like(active)
    if len(living) < outputs:  # as many again among the survivors
        kept = {p for p in present if p[0] in living}
        kept = set(sorted(kept, key=lambda p: -abs(float(weight[p])))[: len(present) - num_dropped])
    for i in living:
        row = sorted((p for p in kept if p[0] == i), key=lambda p: -abs(float(weight[p])))
        rest = sorted((p for p in positions if p[0] == i and p not in kept), key=lambda p: -abs(float(grad[p])))
        for p in (row + rest)[:fan_in]:
            mask[p] = True
    return mask


@pytest.mark.parametrize("dense_fan_in", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_srigl_equals_a_slow_reference_on_random_layers_over_two_updates(seed, dense_fan_in):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(12, 10, bias=False), nn.Linear(10, 4, bias=False))
    options = dict(drop=0.5, update=UpdateSchedule(1), min_salient=0.6, dense_fan_in=dense_fan_in)
    method, scale = Srigl(density=0.3, **options), torch.linspace(0.1, 2, 10)[:, None]
    session = Session(model, method, torch.optim.SGD(model.parameters(), 0.1), total_steps=100)
    counts, ablated = allocate({n: tuple(v.weight.shape) for n, v in session.layers.items()}, 0.3, "erk"), 0
    for step in range(2):
        expected = {}
        for name, layer in session.layers.items():
            layer.weight.grad = torch.randn_like(layer.weight) * (scale if name == "0" else 1)
            with torch.no_grad():  # some neurons are much stronger than others
                layer.weight.copy_(torch.randn_like(layer.weight) * (scale**2 if name == "0" else 1))
                layer.weight.mul_(session.active[name])
            drop = method.fraction_at(step, 100)
            weight, active, grad = layer.weight.detach(), session.active[name], layer.weight.grad
            expected[name] = srigl_by_hand(weight, active, grad, name == "1", counts[name], drop, 0.6, dense_fan_in)
        session.step()
        for name, mask in expected.items():
            assert torch.equal(session.active[name], mask)
        ablated += int((~session.active["0"].any(1)).sum())
    assert ablated, "the case ablates"


@pytest.mark.parametrize("dense_fan_in", [False, True])
def test_ablation_leaves_enough_neurons_to_hold_the_weights_of_the_layer(dense_fan_in):
    method = Srigl(density=0.25, update=EVERY, min_salient=1.0, dense_fan_in=dense_fan_in)
    shapes = {"0": (64, 16), "2": (64, 64), "4": (4, 64)}
    counts, living = allocate(shapes, 0.25, "erk"), []

    def check(training):
        for name, mask in training.session.active.items():
            alive, total = int(mask.any(1).sum()), int(mask.sum())
            assert counts[name] - alive < total <= counts[name]  # short of one whole fan-in
            living.append(alive)

    Training(method).run(each=check)
    assert min(living[::3]) < 64


def test_an_ablated_neuron_returns_once_its_gradients_are_large():
    options = dict(drop=0.3, distribution="uniform", min_salient=0.9, update=UpdateSchedule(1))
    weight = torch.tensor([[4.0, 4, 4, 4], [3, 3, 3, 3], [2, 2, 2, 2], [0.1, 0.1, 0.1, 0.1]])
    model, session = two_layers(Srigl(density=0.5, **options), weight)
    for strong in (0, 3):
        for layer in session.layers.values():
            layer.weight.grad = torch.zeros(4, 4)
            layer.weight.grad[strong] = 1.0
        session.step()
        assert bool(session.active["0"][3].any()) == (strong == 3)
    assert not model[0].weight.detach()[3].any(), "from zero"


# ---- Chase -----------------------------------------------------------------------------------------------------------


def test_chase_removes_the_weakest_neurons_on_the_cubic_schedule_and_they_stay_away():
    rows, seen = {"0": torch.ones(64, dtype=torch.bool), "2": torch.ones(64, dtype=torch.bool)}, []

    def check(training):
        for name, before in rows.items():
            now = training.session.members[0].memory[f"rows.{name}"]
            assert not (now & ~before).any(), "a removed neuron has returned"
            assert not training.session.active[name][~now].any()
            rows[name] = now.clone()
        seen.append(int(rows["2"].sum()))

    Training(Chase(density=0.25, rows=0.5, update=UpdateSchedule(6, 0.0, 0.8125))).run(each=check)
    assert seen[0] == 64 and seen[-1] == 32 and seen == sorted(seen, reverse=True)
    assert 64 - seen[len(seen) // 3] > 16, "more than half of them leave in the first third"


def test_chase_exchanges_over_the_whole_network_among_the_neurons_that_are_left():
    method = Chase(density=0.3, drop=0.4, rows=0.5, update=UpdateSchedule(1, 0.0, 0.5))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8, bias=False), nn.Linear(8, 5, bias=False))
    session = Session(model, method, torch.optim.SGD(model.parameters(), 0.0), total_steps=20)
    wanted, layers = round(0.3 * (48 + 40)), {"0": (8, 6), "1": (5, 8)}
    rows = {"0": set(range(8)), "1": set(range(5))}
    for step in range(10):
        left = 0.5 + 0.5 * (1 - min(step / 9, 1)) ** 3
        weight = {name: layer.weight.detach().clone() for name, layer in session.layers.items()}
        mean = {i: float(weight["0"][i].abs().sum()) for i in rows["0"]}
        rows["0"] = set(sorted(mean, key=lambda i: -mean[i])[: min(round(left * 8), len(rows["0"]))])
        grad = {name: torch.randn(*shape) for name, shape in layers.items()}
        places = [(n, i, j) for n, (o, m) in layers.items() for i in range(o) for j in range(m) if i in rows[n]]
        present = [p for p in places if session.active[p[0]][p[1], p[2]]]
        num_kept = min(int((1 - 0.2 * (1 + math.cos(math.pi * step / 10))) * wanted), len(present))
        kept = set(sorted(present, key=lambda p: -abs(float(weight[p[0]][p[1], p[2]])))[:num_kept])
        rest = sorted((p for p in places if p not in kept), key=lambda p: -abs(float(grad[p[0]][p[1], p[2]])))
        expected = {name: torch.zeros(*shape, dtype=torch.bool) for name, shape in layers.items()}
        for n, i, j in kept | set(rest[: wanted - num_kept]):
            expected[n][i, j] = True
        for name, layer in session.layers.items():
            layer.weight.grad = grad[name]
        session.step()
        assert all(torch.equal(session.active[name], mask) for name, mask in expected.items()), step
        with torch.no_grad():  # new weights start at zero; give them sizes of their own, so that no ties decide
            for name, layer in session.layers.items():
                layer.weight.copy_(torch.randn_like(layer.weight) * session.active[name])
    assert len(rows["0"]) == 4


def test_chase_refuses_a_density_that_the_neurons_left_cannot_hold():
    with pytest.raises(ValueError, match=r"density=0.9: the neurons that rows=0.5 leaves hold only 0.52"):
        Training(Chase(density=0.9, rows=0.5, update=UpdateSchedule(6, 0.0, 0.8125)))
    with pytest.raises(ValueError, match="interval=100"):
        Training(Chase(density=0.25))


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


def test_no_layer_is_left_without_a_block_and_their_number_is_exact():
    weights = {"0": (64, 64), "1": (128, 64), "2": (10, 128)}
    for density in (0.05, 0.1, 0.3):
        for distribution in ("uniform", "erk"):
            method = BlockDst(density=density, block=16, distribution=distribution)
            model = nn.Sequential(*(nn.Linear(i, o) for o, i in weights.values()))
            active = Session(model, method, torch.optim.SGD(model.parameters(), 0.1), total_steps=100).active
            blocks = {name: int((block_norms(mask.float(), 16) > 0).sum()) for name, mask in active.items()}
            assert sum(blocks.values()) == round(density * (4 * 4 + 8 * 4 + 1 * 8)) and min(blocks.values()) >= 1
    with pytest.raises(ValueError, match="block=64: density=0.1 leaves 0 blocks for 3 layers"):
        Training(BlockDst(density=0.1, block=64, update=EVERY))


def test_the_promised_number_is_exact_where_blocks_fit_and_no_promise_where_they_do_not():
    method = BlockDst(density=0.25, block=4, update=EVERY)
    training = Training(method)
    shapes = {name: tuple(layer.weight.shape) for name, layer in training.session.layers.items()}
    promised = method.num_active(shapes, 0, STEPS)
    assert promised == 16 * round(0.25 * sum(o * i // 16 for o, i in shapes.values()))
    training.run()
    assert sum(int(mask.sum()) for mask in training.session.active.values()) == promised
    assert method.num_active(shapes | {"2": (64, 63)}, 0, STEPS) is None


# ---- N:M -------------------------------------------------------------------------------------------------------------


def test_of_every_four_neighbours_the_two_largest_compute_and_the_rest_of_a_row_is_dense():
    weight = torch.tensor([[1.0, -4.0, 2.0, 3.0, 9.0, 8.0, -0.5, 0.1, 0.2]])
    assert nm_mask(weight, 2, 4).int().tolist() == [[0, 1, 0, 1, 1, 1, 0, 0, 1]]
    torch.manual_seed(0)
    groups = nm_mask(torch.randn(8, 32), 2, 4).view(8, 8, 4)
    assert (groups.sum(2) == 2).all()


def test_neighbours_of_a_convolution_are_input_channels_at_one_position_of_the_kernel():
    """Zhou et al. 2021, code of the authors: the weight is permuted to [O, kh, kw, I] before it is grouped."""
    weight = torch.zeros(1, 4, 1, 2)  # O, I, kh, kw
    weight[0, :, 0, 0] = torch.tensor([1.0, 5.0, 2.0, 4.0])  # position 0: channels 1 and 3 are largest
    weight[0, :, 0, 1] = torch.tensor([9.0, 0.1, 8.0, 0.2])  # position 1: channels 0 and 2
    mask = nm_mask(weight.reshape(1, 8), 2, 4, positions=2).view(4, 2)
    assert mask[:, 0].tolist() == [False, True, False, True] and mask[:, 1].tolist() == [True, False, True, False]
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 3, (1, 2), bias=False))
    with torch.no_grad():
        model[1].weight.copy_(weight.expand(3, 4, 1, 2))
    session = Session(model, Nm(), torch.optim.SGD(model.parameters(), 0.1), total_steps=10)
    assert torch.equal(session.active["1"].view(3, 4, 2), mask.expand(3, 4, 2))


@pytest.mark.parametrize(
    ("strong", "weak"),
    [
        (Nm(update=EVERY), Nm(update=EVERY, decay=0.0)),
        (TopKast(density=0.2, extra=0.3), TopKast(density=0.2, extra=0.3, decay=0.0)),
        (Deepr(density=0.5), Deepr(density=0.5, l1=0.0)),
    ],
    ids=["nm", "top_kast", "deepr"],
)
def test_a_pull_moves_weights_of_the_size_of_its_share_of_the_gradient_under_adamw(strong, weak):
    """Where the loss asks for nothing the pull alone moves weights, by the optimizer's full step, not by 1e-5 of it."""
    moved = []
    for method in (strong, weak):
        model = nn.Sequential(nn.Linear(32, 32, bias=False))
        with torch.no_grad():
            model[0].weight.copy_(torch.linspace(0.05, 0.1, 1024).view(32, 32))
        session = Session(model, method, torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.0), total_steps=200)
        start = model[0].weight.detach().clone()
        for _ in range(20):
            model[0].weight.grad = torch.zeros(32, 32)
            session.step()
        seen = session.trained["0"] if not isinstance(method, Deepr) else session.active["0"]
        moved.append(float((start - model[0].weight.detach())[seen].max()))
    assert moved[0] == pytest.approx(20 * 1e-3, rel=0.05) and moved[1] < 1e-4


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


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (2, 3), (3, 7)])
def test_the_number_of_weights_of_nm_is_that_of_the_groups_and_the_columns_left_over(n, m):
    method = Nm(n=n, m=m, dense_tail=0.25, update=EVERY)
    training = Training(method)
    shapes = {name: tuple(layer.weight.shape) for name, layer in training.session.layers.items()}

    def check(t):
        active = sum(int(mask.sum()) for mask in t.session.active.values())
        assert active == method.num_active(shapes, t.session.step_index - 1, STEPS)

    training.run(each=check)
    assert method.num_active({"a": (10, 9)}, 0, STEPS) == 10 * (9 // m * n + 9 % m)


# ---- neurons that leave ----------------------------------------------------------------------------------------------


def test_dead_neurons_leave_and_living_ones_stay():
    training = Training(NeuronRemoval(score="dead", observe_every=1, multiple=1, floor=0.0))
    with torch.no_grad():
        training.model[0].bias[:10] = -100.0  # never fire
    training.run()
    counts = training.session.unit_counts()
    alive = training.session.part(Units).store.alive["2"]
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
    penalty = training.method.penalty(dict(model.named_parameters()), session.part(Units).store.groups)
    norms = sum(float(unit.norm.sum()) for unit in session.view().units.values())
    assert penalty.item() == pytest.approx(0.1 * norms, rel=1e-4)
    alive = torch.arange(64) % 3 > 0
    session.part(Units).store.set_alive("2", alive, None, training.optimizer)  # the parameters are smaller now
    penalty = training.method.penalty(dict(model.named_parameters()), session.part(Units).store.groups)
    first, second, third = (model[i].weight.detach().square() for i in (0, 2, 4))
    norms = sum(math.sqrt(first[j].sum() + second[:, j].sum()) for j in range(int(alive.sum())))
    norms += sum(math.sqrt(second[j].sum() + third[:, j].sum()) for j in range(64))
    assert penalty.item() == pytest.approx(0.1 * norms, rel=1e-4)


def test_the_group_lasso_reads_weights_alone_and_leaves_heads_alone():
    method = NeuronRemoval(score="group_lasso", penalty_strength=0.1, threshold=1.0, multiple=1)
    assert not any(method.observes(step, STEPS) for step in range(STEPS))
    model, inputs, targets = transformer("vit", 1.0)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    session = Session(model, method, optimizer, total_steps=STEPS)
    heads = [name for name, group in session.part(Units).store.groups.items() if group.kind == "head"]
    neurons = [name for name, group in session.part(Units).store.groups.items() if group.kind == "neuron"]
    penalty = method.penalty(dict(model.named_parameters()), session.part(Units).store.groups)
    touched = torch.autograd.grad(penalty, list(model.parameters()), allow_unused=True)
    names = [name for (name, _), grad in zip(model.named_parameters(), touched, strict=True) if grad is not None]
    assert len(names) == 2 * len(neurons) and not any("qkv" in name or "proj" in name for name in names)
    for _ in range(6):
        session.backward(inputs[:32], targets[:32]), session.step(), optimizer.zero_grad()
    counts = session.unit_counts()
    assert all(counts[name]["alive"] == counts[name]["size"] for name in heads)
    assert all(counts[name]["alive"] < counts[name]["size"] for name in neurons)


def test_the_group_lasso_drives_neurons_out():
    counts = {}
    for strength in (0.0, 0.1):
        options = {"penalty_strength": strength, "multiple": 1, "observe_every": 2, "threshold": 0.7}
        method = NeuronRemoval(score="group_lasso", **options)
        counts[strength] = Training(method).run().session.unit_counts()["2"]["alive"]
    assert counts[0.1] < counts[0.0]


@pytest.mark.parametrize(
    ("score", "fires", "norm", "expected"),
    [
        ("dead", [0, 5e-4, 0.5, 1, 1, 1, 1, 1], [1] * 8, [0, 0, 1, 1, 1, 1, 1, 1]),
        ("group_lasso", [1] * 8, [0.1, 1, 1, 0.2, 1, 1, 1, 1], [0, 1, 1, 0, 1, 1, 1, 1]),
        ("activation_density", [0.3] * 4 + [0.7] * 4, [1] * 8, [0, 0, 0, 0, 1, 1, 1, 1]),  # 8 x 0.5
        ("activation_density", [0.3] * 4 + [0.71] * 4, [1] * 8, [0, 0, 1, 1, 1, 1, 1, 1]),  # ceil(4.04), whole blocks
    ],
)
def test_each_sign_says_how_many_neurons_leave_and_which(score, fires, norm, expected):
    assert survivors(score, fires, norm).int().tolist() == expected


def survivors(score, fires, norm):
    """Which of eight neurons stay, in blocks of two with a floor of two; importance grows with the position."""
    unit = SimpleNamespace(
        size=8, kind="neuron", alive=torch.ones(8, dtype=torch.bool), observed=torch.full((8,), 3),
        norm=torch.tensor(norm).float(), fires=torch.tensor(fires).float(), importance=torch.arange(1.0, 9.0),
    )
    method = NeuronRemoval(score=score, multiple=2, floor=0.25)
    return method.update_topology(5, SimpleNamespace(units={"a": unit})).units["a"]


@pytest.mark.parametrize(("num_dead", "num_left"), [(2, 6), (3, 6), (5, 4), (8, 2)])
def test_dead_neurons_leave_in_whole_blocks_down_to_the_floor_and_no_living_one_does(num_dead, num_left):
    alive = survivors("dead", [0.0] * num_dead + [1.0] * (8 - num_dead), [1] * 8)
    assert int(alive.sum()) == num_left and alive[num_dead:].all()


def test_a_neuron_that_left_never_returns():
    alive = {"2": torch.ones(64, dtype=torch.bool), "4": torch.ones(64, dtype=torch.bool)}

    def check(training):
        for name, now in training.session.part(Units).store.alive.items():
            assert not (now & ~alive[name]).any() and int(now.sum()) % 8 == 0
            alive[name] = now.clone()

    Training(NeuronRemoval(observe_every=2)).run(each=check)
    assert int(alive["2"].sum()) < 64


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


def test_dsd_keeps_the_largest_of_every_layer_at_equal_density():
    training = Training(Dsd(sparse_density=0.5, sparse_from=0.25, sparse_until=0.75)).run(12)
    rows = (torch.arange(32) * 5 + 12 * 32) % len(INPUTS)
    training.session.backward(INPUTS[rows], TARGETS[rows], rows)
    training.optimizer.step()
    weights = {name: layer.weight.detach().abs().clone() for name, layer in training.session.layers.items()}
    training.session.after_step()
    for name, weight in weights.items():
        median = weight.flatten().sort().values[weight.numel() // 2]
        assert torch.equal(training.session.active[name], weight >= median)


def test_dsd_follows_the_density_that_it_states():
    method = Dsd(sparse_density=0.6, sparse_from=0.3, sparse_until=0.8)

    def check(training):
        stated = method.density_at(training.session.step_index - 1, STEPS)
        assert training.session.density() == pytest.approx(stated, abs=1e-4)

    Training(method).run(each=check)
    assert [method.density_at(s, 10) for s in (0, 2, 3, 7, 8, 9)] == [1, 1, 0.6, 0.6, 1, 1]


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
    torch.testing.assert_close(training.method.value(unit), expected)
    head = unit._replace(kind="head", mean=None, second=None, fires=torch.ones(64))
    torch.testing.assert_close(training.method.value(head), unit.importance)


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
        (lambda: Dsc(dense_tail=0.6), "dense_tail=0.6"),
    ],
)
def test_bad_options_are_answered_with_the_value(make, message):
    with pytest.raises(ValueError, match=message):
        make()
