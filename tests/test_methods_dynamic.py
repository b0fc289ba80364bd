"""Oracles of dynamic sparse training: small cases by hand, closed forms, and slow references from the papers."""

import copy
import dataclasses
import math
from fractions import Fraction

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from hundredfold.methods.dynamic.acdc import Acdc
from hundredfold.methods.dynamic.cht import Cht, flops_of_scores, link_scores, sampling_keys, without_dead_ends
from hundredfold.methods.dynamic.deepr import Deepr
from hundredfold.methods.dynamic.dsr import Dsr, divide
from hundredfold.methods.dynamic.granet import Granet
from hundredfold.methods.dynamic.mest import Mest
from hundredfold.methods.dynamic.rigl import Rigl
from hundredfold.methods.dynamic.rigl_itop import RiglItop, explored
from hundredfold.methods.dynamic.set import Set
from hundredfold.methods.dynamic.snfs import Snfs
from hundredfold.methods.dynamic.top_kast import TopKast
from hundredfold.methods.execution.parts import Gradient, Weights
from hundredfold.methods.execution.session import Session
from hundredfold.methods.topology import UpdateSchedule
from hundredfold.methods.views import LayerView
from hundredfold.replication.registry import create
from tests.conformance import BATCH, INPUTS, TARGETS, Training, network

EVERY_6 = UpdateSchedule(6, 0.0, 0.75)
WHOLE_RUN = UpdateSchedule(6, 0.0, 1.0)
METHODS = {
    "set": Set(density=0.25, update=EVERY_6),
    "set separate": Set(density=0.25, update=EVERY_6, sign="separate"),
    "rigl": Rigl(density=0.25, update=EVERY_6),
    "deepr": Deepr(density=0.25, l1=1e-2, noise=1e-2),
    "dsr": Dsr(density=0.25, update=WHOLE_RUN, threshold=1e-2),
    "snfs": Snfs(density=0.25, update=WHOLE_RUN),
    "rigl_itop": RiglItop(density=0.25, update=WHOLE_RUN),
    "set_itop": RiglItop(density=0.25, update=WHOLE_RUN, grow="random"),
    "top_kast": TopKast(density=0.25, update=UpdateSchedule(3, 0.0, 1.0)),
    "granet": Granet(density=0.25, update=WHOLE_RUN),
    "mest em": Mest(density=0.25, update=WHOLE_RUN, mode="em"),
    "mest em_s": Mest(density=0.25, update=WHOLE_RUN),
    "acdc": Acdc(density=0.25),
    "cht": Cht(density=0.25, update=EVERY_6),
}


COUNT_STEPS_TAKEN = (Cht, Dsr, Granet, Mest, RiglItop, Snfs)  # no update at the first step, as in their authors' code


@pytest.fixture
def updates_at_once(monkeypatch):
    """The first update at the first step, where a test looks at a single one."""
    for cls in COUNT_STEPS_TAKEN:
        monkeypatch.setattr(cls, "updates_at_zero", True)


@pytest.mark.parametrize("cls", [*COUNT_STEPS_TAKEN, Rigl, Set])
def test_the_first_update_comes_when_it_does_in_the_authors_code(cls):
    stop = 0.75 if cls in (Cht, Rigl, Set) else 1.0
    due = [s for s in range(20) if cls(density=0.25, update=UpdateSchedule(6, 0.0, stop)).due(s, 20)]
    assert due[0] == (6 if cls in COUNT_STEPS_TAKEN else 0) and 6 in due and 12 in due


def session_of(method, *weights, total_steps=100, seed=0, optimizer=torch.optim.SGD, **options):
    """A session on layers "0", "1", ... with the given weights [O, I]; nothing is run forward."""
    model = nn.Sequential(*(nn.Linear(w.shape[1], w.shape[0], bias=False) for w in weights))
    with torch.no_grad():
        for layer, weight in zip(model, weights, strict=True):
            layer.weight.copy_(weight)
    options = {"lr": 0.1} | options
    return Session(model, method, optimizer(model.parameters(), **options), total_steps=total_steps, seed=seed)


def step(session, *gradients):
    """One step with these gradients; default zero."""
    for name, layer in session.layers.items():
        grad = gradients[int(name)].clone() if gradients else torch.zeros_like(layer.weight)
        layer.weight.grad = grad if session.part(Weights).dense_grad_now else grad * session.trained.get(name, 1)
    session.step()
    session.optimizer.zero_grad()


def weights_of(session):
    return {name: layer.weight.detach().clone() for name, layer in session.layers.items()}


def places(mask):
    return {tuple(p) for p in mask.nonzero().tolist()}


def largest(places_, score, count):
    return set(sorted(places_, key=lambda p: -abs(float(score[p])))[:count])


def everywhere(tensor):
    return {(i, j) for i in range(tensor.shape[0]) for j in range(tensor.shape[1])}


# ---- traps that concern all --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_t7_the_number_of_weights_is_exact_at_any_density_from_the_first_step(name):
    method = dataclasses.replace(METHODS[name], density=0.137)
    training, wrong = Training(method), []
    total, steps = sum(training.session.accounts.prunable.values()), training.session.total_steps

    def expected(done):
        return round((method.density_at(done, steps) if hasattr(method, "density_at") else 0.137) * total)

    def check(t):
        if any(method.due(s, steps) for s in range(t.session.step_index)):
            done = max(s for s in range(t.session.step_index) if method.due(s, steps))
            active = sum(int(mask.sum()) for mask in t.session.active.values())
            if active != expected(done):
                wrong.append((done, active, expected(done)))

    first = sum(int(mask.sum()) for mask in training.session.active.values())
    assert first == expected(0)
    training.run(each=check)
    assert not wrong


@pytest.mark.parametrize("name", [name for name in METHODS if name != "top_kast"])
def test_t9_t10_weight_decay_and_momentum_never_move_a_missing_weight(name):
    training = Training(METHODS[name], make=lambda p, _: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=0.1))

    def check(t):
        for layer, mask in t.session.active.items():
            weight = t.session.layers[layer].weight
            assert not weight.detach()[~mask].any()
            momentum = t.optimizer.state.get(weight, {}).get("momentum_buffer")
            assert momentum is None or not momentum[~mask].any()

    training.run(each=check)


@pytest.mark.parametrize("name", METHODS)
def test_t13_masks_and_memory_come_back_bitwise_and_the_run_goes_on_alike(name):
    whole = Training(METHODS[name]).run(20)
    saved = copy.deepcopy((whole.session.state_dict(), whole.model.state_dict(), whole.optimizer.state_dict()))
    resumed = Training(METHODS[name], seed=99)
    before = {layer: mask.clone() for layer, mask in resumed.session.active.items()}
    resumed.session.load_state_dict(saved[0])
    resumed.model.load_state_dict(saved[1])
    resumed.optimizer.load_state_dict(saved[2])
    assert any(not torch.equal(before[layer], mask) for layer, mask in whole.session.active.items())
    for t in (whole, resumed):
        t.run()
    kept = [(t.session.active, t.session.trained, t.session.members[0].memory) for t in (whole, resumed)]
    for a, b in zip(*kept, strict=True):
        assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("name", ["rigl", "rigl_itop", "granet", "snfs"])
def test_t1_growth_reads_a_dense_gradient_and_pays_for_it(name):
    def cost(method, step):
        training = Training(method).run(step)
        session = training.session
        x, y = INPUTS[:BATCH], TARGETS[:BATCH]
        return session.count_step(lambda: session.context.loss(training.model, x, y, "mean").backward()).ideal

    method = METHODS[name]
    sparse = cost(Set(density=0.25, update=EVERY_6), 6)
    layers = [(16, 64), (64, 64), (64, 4)]
    missing = 0.75 * sum(a * b for a, b in layers)
    if name != "granet":  # whose density is another
        assert cost(method, 6) - sparse == pytest.approx(2 * BATCH * missing, rel=0.02)
    if name == "snfs":  # at every step
        assert cost(method, 7) - sparse == pytest.approx(2 * BATCH * missing, rel=0.02)
    else:
        assert cost(method, 7) < cost(method, 6) or name == "granet"


@pytest.mark.parametrize("name", ["snfs", "rigl_itop", "granet"])
def test_t6_the_topology_never_freezes_where_the_fraction_ends_above_zero(name):
    torch.manual_seed(0)
    schedule = UpdateSchedule(10, 0.0, 1.0)
    method = dataclasses.replace(METHODS[name], density=0.4, update=schedule)
    frozen = Rigl(density=0.4, update=UpdateSchedule(10, 0.0, 0.75))
    changes = {}
    for arm in (method, frozen):
        session = session_of(arm, torch.randn(64, 64))
        for index in range(100):
            before = session.active["0"].clone()
            step(session, torch.randn(64, 64))
            if not torch.equal(before, session.active["0"]):
                changes[arm] = index
    assert changes[method] == 90 and changes[frozen] < 75


BAD = [
    (Set, {"sign": "both"}, "sign=both: choose one of joint, separate"),
    (Deepr, {"l1": -1}, "l1=-1"),
    (Deepr, {"noise": -0.5}, "noise=-0.5"),
    (Deepr, {"newborn": 0.0}, "newborn=0: expected a magnitude above 0"),
    (Dsr, {"drop": 0.0}, "drop=0"),
    (Dsr, {"threshold": 0.0}, "threshold=0"),
    (Dsr, {"tolerance": 2.0}, "tolerance=2"),
    (Snfs, {"drop": 0.3, "least": 0.4}, "least=0.4: expected a fraction between 0 and drop=0.3"),
    (Snfs, {"grad_decay": 1.5}, "grad_decay=1.5"),
    (RiglItop, {"grow": "topology"}, "grow=topology"),
    (RiglItop, {"drop": 0.001}, "least=0.005"),
    (TopKast, {"extra": 1.5}, "extra=1.5"),
    (TopKast, {"decay": -1.0}, "decay=-1"),
    (TopKast, {"distribution": "even"}, "distribution=even"),
    (Granet, {"initial": 0.05}, "initial=0.05: expected at least density=0.1"),
    (Granet, {"until": 1.5}, "until=1.5"),
    (Granet, {"least": 0.7}, "least=0.7"),
    (Mest, {"mode": "soft"}, "mode=soft"),
    (Mest, {"lam": -1.0}, "lam=-1"),
    (Mest, {"stages": (0.8, 0.5)}, r"stages=\[0.8, 0.5\]"),
    (Acdc, {"phase": 0.0}, "phase=0"),
    (Acdc, {"finish": 0.1}, "finish=0.1"),
    (Cht, {"growth": "random"}, "growth=random"),
]


@pytest.mark.parametrize(("cls", "options", "message"), BAD, ids=lambda value: str(value)[:40])
def test_options_out_of_range_are_refused_with_their_value(cls, options, message):
    with pytest.raises(ValueError, match=message):
        cls(**options)


def test_options_come_from_plain_configuration_values():
    made = create("method", {"mest": Mest}, "mest", stages=[0.25, 0.5], mode="em")
    assert tuple(made.stages) == (0.25, 0.5)


def test_schedules_that_do_not_fit_the_run_are_refused():
    weight = torch.randn(8, 8)
    with pytest.raises(ValueError, match="until=0.99: no update of this run comes later"):
        session_of(Granet(until=0.99, update=UpdateSchedule(30, 0.0, 1.0)), weight)
    with pytest.raises(ValueError, match="no update of this run comes after the last stage"):
        session_of(Mest(update=UpdateSchedule(40, 0.0, 0.8), stages=(0.1, 0.5)), weight)
    with pytest.raises(ValueError, match="phase=0.001: less than one of 100 steps"):
        session_of(Acdc(phase=0.001), weight)


# ---- SET and RigL ------------------------------------------------------------------------------------------------


def test_set_by_sign_drops_the_fraction_of_the_smallest_positive_and_of_the_largest_negative_weights():
    torch.manual_seed(0)
    weight = torch.randn(9, 11)
    weight[weight < 0] *= 10  # so that jointly almost only positive weights would leave
    active = torch.rand(9, 11) < 0.6
    view = LayerView(weight * active, active, active, None, None)
    positive = sorted((p for p in places(active) if weight[p] >= 0), key=lambda p: float(weight[p]))
    negative = sorted((p for p in places(active) if weight[p] < 0), key=lambda p: -float(weight[p]))
    expected = set(positive[int(0.3 * len(positive)) :]) | set(negative[int(0.3 * len(negative)) :])
    assert places(Set(sign="separate").kept({"0": view}, 0.3)["0"]) == expected
    together = largest(places(active), weight, len(places(active)) - int(0.3 * len(places(active))))
    assert places(Set().kept({"0": view}, 0.3)["0"]) == together != expected


def test_set_by_sign_keeps_the_number_of_weights():
    torch.manual_seed(0)
    session = session_of(Set(density=0.3, sign="separate", update=UpdateSchedule(1)), torch.randn(20, 30))
    counts = set()
    for _ in range(10):
        before = session.active["0"].clone()
        step(session)
        counts.add(int(session.active["0"].sum()))
        assert not torch.equal(before, session.active["0"])
    assert counts == {180}


def test_t2_t9_rigl_under_momentum_keeps_the_moments_of_the_kept_and_zeroes_those_of_the_dropped_and_the_new():
    torch.manual_seed(3)
    method = Rigl(density=0.5, drop=0.4, update=UpdateSchedule(4, 0.04, 1.0))  # first update at step 4
    session = session_of(method, torch.randn(10, 10), momentum=0.9)
    for _ in range(4):
        step(session, torch.randn(10, 10))
    weight = session.layers["0"].weight
    buffer = session.optimizer.state[weight]["momentum_buffer"]
    value, moment, active = weight.detach().clone(), buffer.clone(), session.active["0"].clone()
    gradient = torch.randn(10, 10)
    step(session, gradient)
    count = 50 - int(0.2 * (1 + math.cos(math.pi * 4 / 100)) * 50)
    kept = largest(places(active), value, count)
    grown = largest(everywhere(value) - kept, gradient, 50 - count)
    assert places(session.active["0"]) == kept | grown
    again, new = grown & places(active), grown - places(active)
    assert again and new and places(active) - kept - grown
    for place in everywhere(value):
        stays = place in kept | again  # a dropped weight that grows at once keeps what it had
        assert float(weight.detach()[place]) == (float(value[place]) if stays else 0)
        assert float(buffer[place]) == (float(moment[place]) if stays else 0)


def test_t3_t4_rigl_updates_at_step_zero_on_the_first_gradient_in_place_of_the_optimizer_step():
    torch.manual_seed(0)
    weight, gradient = torch.randn(6, 6), torch.randn(6, 6)
    session = session_of(Rigl(density=0.5, drop=0.5, update=UpdateSchedule(10)), weight)
    active = session.active["0"].clone()
    assert session.due
    step(session, gradient)
    kept = largest(places(active), weight, 9)
    assert places(session.active["0"]) == kept | largest(everywhere(weight) - kept, gradient, 9)
    expected = weight * active * session.active["0"]
    assert torch.equal(session.layers["0"].weight.detach(), expected)
    session_itop = session_of(RiglItop(density=0.5, update=UpdateSchedule(10, 0.0, 1.0)), weight)
    active = session_itop.active["0"].clone()
    step(session_itop, gradient)
    trained = weight * active - 0.1 * gradient * active  # ITOP takes the optimizer step of the same batch
    torch.testing.assert_close(session_itop.layers["0"].weight.detach(), trained * session_itop.active["0"])


@pytest.mark.parametrize("cls", [Set, Rigl])
def test_t5_the_cosine_counts_from_step_zero_also_when_updates_begin_later(cls):
    torch.manual_seed(0)
    method = cls(density=0.5, drop=0.4, update=UpdateSchedule(10, 0.2, 0.8))
    session = session_of(method, torch.randn(50, 80))
    for index in range(100):
        before = session.active["0"].clone()
        kept = method.kept(session.view().layers, method.fraction_at(index, 100))["0"]
        step(session, torch.randn(50, 80))
        if 20 <= index < 80 and index % 10 == 0:
            expected = int(0.4 / 2 * (1 + math.cos(math.pi * index / 80)) * 2000)
            assert 2000 - int(kept.sum()) == expected
            assert not torch.equal(before, session.active["0"])
        else:
            assert torch.equal(before, session.active["0"])


# ---- DeepR -------------------------------------------------------------------------------------------------------


def test_deepr_shrinks_kills_at_the_sign_change_and_bears_at_the_fixed_sign():
    torch.manual_seed(0)
    first = torch.randn(12, 12)
    session = session_of(Deepr(density=0.5, l1=0.2, noise=0.0), first, lr=0.5)
    sign = first.sign()
    before, active = weights_of(session)["0"], session.active["0"].clone()
    gradient = torch.randn(12, 12)
    step(session, gradient)
    after, now = weights_of(session)["0"], session.active["0"]
    dead = set()
    for place in places(active):
        theta = float(sign[place] * (before[place] - 0.5 * gradient[place])) - 0.5 * 0.2
        if theta <= 0:
            dead.add(place)
        else:
            assert now[place] and float(after[place]) == pytest.approx(float(sign[place]) * theta, rel=1e-5)
    born = places(now) - (places(active) - dead)
    assert dead and len(born) == len(dead) and int(now.sum()) == 72
    assert all(float(after[place]) == pytest.approx(float(sign[place]) * 1e-12) for place in born)


def test_deepr_noise_and_pull_have_the_stated_size():
    session = session_of(Deepr(density=1.0, l1=3e-3, noise=1e-2), torch.ones(200, 200), lr=0.5)
    step(session)
    change = weights_of(session)["0"] - 1
    assert float(change.mean()) == pytest.approx(-0.5 * 3e-3, rel=0.05)
    assert float(change.std()) == pytest.approx(0.5 * 1e-2, rel=0.02)


def test_deepr_signs_never_change_and_the_number_stays_over_many_deaths():
    torch.manual_seed(0)
    for density in (0.1, 0.9, 1.0):  # near 1 there are fewer places than deaths
        session = session_of(Deepr(density=density, l1=0.0, noise=3.0), torch.randn(16, 16))
        sign, ever = session.members[0].memory["sign.0"].clone(), session.active["0"].clone()
        number = round(density * 256)
        for _ in range(20):
            step(session, torch.randn(16, 16))
            assert int(session.active["0"].sum()) == number
            assert torch.equal(weights_of(session)["0"].sign(), sign * session.active["0"])
            ever |= session.active["0"]
        assert torch.equal(session.members[0].memory["sign.0"], sign)
        assert density > 0.5 or int(ever.sum()) > 2 * number


def test_deepr_draws_signs_for_weights_that_start_at_zero():
    session = session_of(Deepr(density=0.5), torch.zeros(40, 40))
    sign = session.members[0].memory["sign.0"]
    assert set(sign.unique().tolist()) == {-1.0, 1.0} and abs(float(sign.mean())) < 0.1


# ---- DSR ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "shares", "room", "expected"),
    [
        (10, {"a": 3, "b": 1, "c": 1}, {"a": 99, "b": 99, "c": 99}, {"a": 6, "b": 2, "c": 2}),
        (10, {"a": 3, "b": 1, "c": 1}, {"a": 2, "b": 99, "c": 99}, {"a": 2, "b": 4, "c": 4}),
        (2, {"a": 1, "b": 5, "c": 4}, {"a": 9, "b": 9, "c": 9}, {"a": 0, "b": 1, "c": 1}),
        (4, {"a": 0, "b": 0}, {"a": 9, "b": 9}, {"a": 2, "b": 2}),
        (3, {"a": 5, "b": 0}, {"a": 1, "b": 9}, {"a": 1, "b": 2}),
        (0, {"a": 1}, {"a": 0}, {"a": 0}),
    ],
)
def test_what_grows_is_divided_in_proportion_within_the_room(amount, shares, room, expected):
    assert divide(amount, shares, room) == expected


def test_what_grows_adds_up_for_any_shares():
    torch.manual_seed(0)
    for _ in range(200):
        names = [str(i) for i in range(int(torch.randint(1, 7, ())))]
        room = {name: int(torch.randint(0, 50, ())) for name in names}
        amount = int(torch.randint(0, sum(room.values()) + 1, ()))
        given = divide(amount, {name: float(torch.rand(()) ** 4) for name in names}, room)
        assert sum(given.values()) == amount and all(0 <= given[name] <= room[name] for name in names)
    with pytest.raises(ValueError, match="cannot divide 5 weights over room for 4"):
        divide(5, {"a": 1.0}, {"a": 4})


@pytest.mark.usefixtures("updates_at_once")
def test_dsr_drops_below_the_threshold_and_grows_in_proportion_to_the_survivors():
    torch.manual_seed(0)
    first = [torch.rand(20, 20) + 0.5, torch.rand(30, 30) + 0.5]
    first[0][:10] *= 1e-4
    method = Dsr(density=0.2, distribution="uniform", threshold=0.01, drop=0.5)
    session = session_of(method, *first)
    active = {name: mask.clone() for name, mask in session.active.items()}
    step(session)
    survivors = {n: int((active[n] & (first[int(n)] >= 0.01)).sum()) for n in active}
    dropped = 80 + 180 - sum(survivors.values())
    assert survivors["1"] == 180 and survivors["0"] < 80
    for name in active:
        kept = places(active[name] & (first[int(name)] >= 0.01))
        assert kept <= places(session.active[name])
        share = dropped * survivors[name] / sum(survivors.values())
        assert abs(int(session.active[name].sum()) - survivors[name] - share) < 1
    assert sum(int(mask.sum()) for mask in session.active.values()) == 260


@pytest.mark.usefixtures("updates_at_once")
@pytest.mark.parametrize(("threshold", "factor"), [(0.001, 2.0), (0.5, 0.5), (0.1, 1.0)])
def test_dsr_adapts_the_threshold_to_the_wanted_number(threshold, factor):
    weight = torch.linspace(0.0, 1.0, 2500).view(50, 50)  # a tenth lies below 0.1
    session = session_of(Dsr(density=1.0, threshold=threshold, drop=0.1, tolerance=0.1), weight)
    step(session)
    assert float(session.members[0].memory["threshold"]) == pytest.approx(threshold * factor)


# ---- SNFS --------------------------------------------------------------------------------------------------------


def test_snfs_redistributes_by_mean_momentum_and_grows_at_the_largest_momentum():
    torch.manual_seed(1)
    weights, gradients = [torch.randn(10, 12), torch.randn(20, 10)], [torch.randn(10, 12), 3 * torch.randn(20, 10)]
    method = Snfs(density=0.25, distribution="uniform", update=UpdateSchedule(3, 0.01, 1.0))
    session = session_of(method, *weights, lr=0)
    active = {name: places(mask) for name, mask in session.active.items()}
    step(session, *gradients)
    step(session, *(2 * g for g in gradients))  # the update, at step 1
    momentum = [0.9 * 0.1 * g + 0.1 * 2 * g for g in gradients]
    for name in active:
        torch.testing.assert_close(session.part(Weights).grad_mean[name], momentum[int(name)])
    fraction = 0.005 + (0.5 - 0.005) / 2 * (1 + math.cos(math.pi / 100))
    kept, mean, dropped = {}, {}, 0
    for name, present in active.items():
        index = int(name)
        kept[name] = largest(present, weights[index], len(present) - int(fraction * len(present)))
        mean[name] = sum(abs(float(momentum[index][p])) for p in present) / len(present)
        dropped += len(present) - len(kept[name])
    total = 0
    for name in active:
        grown = places(session.active[name]) - kept[name]
        assert abs(len(grown) - dropped * mean[name] / sum(mean.values())) <= 1
        candidates = everywhere(weights[int(name)]) - kept[name]
        assert grown == largest(candidates, momentum[int(name)], len(grown))
        total += len(grown)
    assert total == dropped


@pytest.mark.usefixtures("updates_at_once")
def test_snfs_respects_the_capacity_of_a_layer_and_keeps_the_total():
    torch.manual_seed(0)
    weights, gradients = [torch.randn(4, 5), torch.randn(40, 40)], [100 * torch.randn(4, 5), torch.randn(40, 40)]
    session = session_of(Snfs(density=0.5, distribution="uniform"), *weights, lr=0)
    step(session, *gradients)
    assert session.active["0"].all()
    assert sum(int(mask.sum()) for mask in session.active.values()) == 810


# ---- ITOP --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grow", ["gradient", "random"])
def test_itop_remembers_the_fraction_of_weights_that_ever_existed(grow):
    method, union = RiglItop(density=0.2, grow=grow, update=WHOLE_RUN), {}
    training = Training(method)
    union = {name: mask.clone() for name, mask in training.session.active.items()}
    assert explored(training.session.members[0].memory) == pytest.approx(0.2, abs=1e-3)

    def collect(t):
        for name, mask in t.session.active.items():
            union[name] |= mask

    training.run(each=collect)
    rate = sum(int(mask.sum()) for mask in union.values()) / sum(mask.numel() for mask in union.values())
    assert explored(training.session.members[0].memory) == rate > 0.3
    assert method.parts()[0].gradient is (Gradient.ALL if grow == "gradient" else Gradient.NONE)


@pytest.mark.usefixtures("updates_at_once")
def test_itop_grows_by_the_gradient_of_the_batch_after_its_step():
    torch.manual_seed(2)
    weight, gradient = torch.randn(10, 10), 5 * torch.randn(10, 10)
    session = session_of(RiglItop(density=0.4, distribution="uniform"), weight)
    active = session.active["0"].clone()
    step(session, gradient)
    moved = weight - 0.1 * gradient
    kept = largest(places(active), moved, 20)  # ranked after the step, half of them dropped
    assert kept != largest(places(active), weight, 20)
    assert places(session.active["0"]) == kept | largest(everywhere(weight) - kept, gradient, 20)


# ---- Top-KAST ----------------------------------------------------------------------------------------------------


def test_top_kast_computes_with_a_and_trains_b():
    model = network()
    start = {name: layer.weight.detach().clone() for name, layer in model.named_children() if hasattr(layer, "weight")}
    session = Session(model, TopKast(density=0.2, extra=0.3), torch.optim.SGD(model.parameters(), 0.1), total_steps=10)
    reference = network()
    for name, weight in start.items():
        size = weight.numel()
        a, b = (largest(everywhere(weight), weight, round(part * size)) for part in (0.2, 0.5))
        assert abs(len(places(session.active[name]) ^ a)) <= 1  # fractions of weights are rounded over the layers
        assert abs(len(places(session.trained[name]) ^ b)) <= 1
        assert torch.equal(session.layers[name].weight.detach(), weight)  # stored dense
        with torch.no_grad():
            reference[int(name)].weight.mul_(session.active[name])
    torch.testing.assert_close(model(INPUTS), reference(INPUTS))
    session.context.loss(model, INPUTS, TARGETS, "mean").backward()
    session.context.loss(reference, INPUTS, TARGETS, "mean").backward()
    for name in start:
        expected = reference[int(name)].weight.grad * session.trained[name]
        torch.testing.assert_close(session.layers[name].weight.grad, expected)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda parameters: torch.optim.AdamW(parameters, 0.01, weight_decay=0.5),
        lambda parameters: torch.optim.SGD(parameters, 0.05, momentum=0.9, weight_decay=0.5),
    ],
    ids=["adamw", "sgd"],
)
def test_t9_t10_top_kast_leaves_weights_outside_b_alone_whatever_the_optimizer_does(optimizer):
    method = TopKast(density=0.1, extra=0.1, update=UpdateSchedule(5, 0.0, 1.0))
    training = Training(method, make=lambda parameters, _: optimizer(parameters))
    session = training.session
    before, seen = {}, {"returned": 0}

    def remember():
        before.update(
            {
                name: (layer.weight.detach().clone(), session.trained[name].clone())
                for name, layer in session.layers.items()
            }
        )

    def check(t):
        for name, layer in session.layers.items():
            value, trained = before[name]
            assert torch.equal(layer.weight.detach()[~trained], value[~trained])
            assert value[~trained].any() and int(session.active[name].sum()) > 0
            seen["returned"] += int((session.trained[name] & ~trained).sum())
            for key, moment in t.optimizer.state[layer.weight].items():
                assert not torch.is_tensor(moment) or moment.ndim == 0 or not moment[~session.trained[name]].any(), key
        remember()

    remember()
    training.run(each=check)
    assert seen["returned"]


def test_top_kast_pulls_weights_of_b_outside_a_by_one_over_the_density():
    torch.manual_seed(0)
    first = torch.randn(20, 20)
    method = TopKast(density=0.2, extra=0.2, decay=0.3, update=UpdateSchedule(50, 0.02, 1.0))
    session = session_of(method, first, lr=0.1)
    active, trained = session.active["0"], session.trained["0"]
    for _ in range(2):
        step(session)
    after = weights_of(session)["0"]
    expected = torch.where(trained & ~active, first * (1 - 0.1 * 0.3 / 0.2) ** 2, first)
    torch.testing.assert_close(after, expected)
    step(session)  # chosen anew after the third pull
    assert places(session.active["0"]) == largest(everywhere(first), weights_of(session)["0"], 80)


# ---- GraNet ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("initial", [0.5, 1.0])
def test_granet_prunes_globally_and_then_exchanges_by_gradient_in_each_layer(initial):
    torch.manual_seed(0)
    weights, gradients = [torch.randn(10, 12), 0.3 * torch.randn(20, 10)], [torch.randn(10, 12), torch.randn(20, 10)]
    method = Granet(density=0.1, initial=initial, update=UpdateSchedule(10, 0.3, 1.0), until=0.8)
    session = session_of(method, *weights, lr=0)
    assert sum(int(mask.sum()) for mask in session.active.values()) == round(initial * 320)
    for _ in range(41):
        before = {name: (places(mask), weights_of(session)[name]) for name, mask in session.active.items()}
        step(session, *gradients)
    density = 0.1 + (initial - 0.1) * (1 - (40 - 30) / (80 - 30)) ** 3
    ranked = sorted(
        ((abs(float(weight[p])), name, p) for name, (present, weight) in before.items() for p in present), reverse=True
    )
    fraction = 0.005 + (0.5 - 0.005) / 2 * (1 + math.cos(math.pi * 40 / 100))
    left = ranked[: round(density * 320)]
    for name in before:
        mine = {p for _, n, p in left if n == name}
        kept = largest(mine, before[name][1], len(mine) - int(fraction * len(mine)))
        grown = largest(everywhere(weights[int(name)]) - kept, gradients[int(name)], len(mine) - len(kept))
        assert places(session.active[name]) == kept | grown


def test_granet_density_is_the_cubic_and_stays_while_weights_are_exchanged():
    method = Granet(density=0.1, initial=0.5, until=0.7)
    assert method.density_at(0, 1000) == 0.5 and method.density_at(700, 1000) == method.density_at(999, 1000) == 0.1
    assert method.density_at(350, 1000) == pytest.approx(0.1 + 0.4 / 8)


# ---- MEST --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "kept_part", "total_part"), [("em", 0.2 * 0.8, 0.2), ("em_s", 0.2, 0.25)])
@pytest.mark.parametrize("lam", [0.0, 1.0])
def test_mest_keeps_the_largest_weight_plus_gradient_and_grows_random_ones(mode, kept_part, total_part, lam):
    torch.manual_seed(0)
    weight, gradient = torch.randn(20, 20), torch.randn(20, 20)
    method = Mest(density=0.2, mode=mode, lam=lam, update=UpdateSchedule(10, 0.0, 1.0))
    session = session_of(method, weight, lr=0)
    active = session.active["0"].clone()
    assert int(active.sum()) == round(total_part * 400)
    step(session, gradient)
    importance = weight.abs() + lam * gradient.abs()
    kept = largest(places(active), importance, round(kept_part * 400))
    now = places(session.active["0"])
    assert kept <= now and len(now) == round(total_part * 400)
    without = largest(places(active), weight, len(kept))
    assert (kept == without) == (lam == 0)
    assert now - kept != largest(everywhere(weight) - kept, gradient, len(now) - len(kept))


@pytest.mark.usefixtures("updates_at_once")
def test_mest_mutation_halves_and_ends_and_so_does_the_soft_bound():
    torch.manual_seed(0)
    schedule = UpdateSchedule(10, 0.0, 1.0)
    soft = Mest(density=0.1, update=schedule, stages=(0.5, 0.8))
    bounds = [soft.density_at(index, 100) for index in (0, 49, 50, 79, 80, 99)]
    assert bounds == pytest.approx([0.15, 0.15, 0.125, 0.125, 0.1, 0.1])
    session = session_of(Mest(density=0.2, mode="em", update=schedule, stages=(0.5, 0.8)), torch.randn(50, 50))
    exchanged = []
    for index in range(100):
        before = session.active["0"].clone()
        kept_at_most = int(before.sum())
        step(session)
        if index % 10 == 0:
            exchanged.append(int((session.active["0"] & ~before).sum()))
            assert int(session.active["0"].sum()) == kept_at_most == 500
    assert all(60 < n <= 100 for n in exchanged[:5])  # of 100 drawn some fall on those just dropped
    assert all(30 < n <= 50 for n in exchanged[5:8]) and exchanged[8:] == [0, 0]


# ---- AC/DC -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("total", [100, 1000, 48, 97])
def test_acdc_phases_are_those_of_the_paper(total):
    method = Acdc()
    if total % 100 == 0:
        sparse = [(10, 15), (20, 25), (30, 35), (40, 45), (50, 55), (60, 65), (70, 75), (85, 100)]
        expected = [any(a <= s * 100 // total < b for a, b in sparse) for s in range(total)]
        assert [method.compressed(s, total) for s in range(total)] == expected
        assert sum(expected) == total // 2
    assert not method.compressed(0, total) and method.compressed(total - 1, total)
    assert not method.due(total - 1, total)


def test_acdc_keeps_the_largest_of_the_network_and_lets_the_others_start_from_zero():
    torch.manual_seed(0)
    weights = [torch.randn(10, 12), 0.2 * torch.randn(20, 10)]
    session = session_of(Acdc(density=0.3), *weights, momentum=0.9)
    for index in range(100):
        gradients = [torch.randn(10, 12), torch.randn(20, 10)]
        before = weights_of(session)
        was = session.method.compressed(index, 100)
        assert was == (not all(mask.all() for mask in session.active.values()))
        optimizer = copy.deepcopy(session.optimizer)
        if session.due and not was:
            moved = copy.deepcopy([layer.weight for layer in session.layers.values()])
            twin = torch.optim.SGD(moved, 0.1, momentum=0.9)
            twin.load_state_dict(optimizer.state_dict())
            for weight, gradient in zip(moved, gradients, strict=True):
                weight.grad = gradient.clone()
            twin.step()
            ranked = sorted(
                (
                    (abs(float(w)), n, i)
                    for n, m in enumerate(moved)
                    for i, w in enumerate(m.detach().flatten())
                ),
                reverse=True,
            )
            chosen = {(n, i) for _, n, i in ranked[: round(0.3 * 320)]}
            step(session, *gradients)
            for n, mask in enumerate(session.active.values()):
                assert set(mask.flatten().nonzero().flatten().tolist()) == {i for m, i in chosen if m == n}
        elif session.due:
            missing = {name: ~mask for name, mask in session.active.items()}
            step(session, *gradients)
            for name, layer in session.layers.items():
                assert session.active[name].all() and not layer.weight.detach()[missing[name]].any()
                assert not session.optimizer.state[layer.weight]["momentum_buffer"][missing[name]].any()
        else:
            step(session, *gradients)
        assert not torch.equal(before["0"], weights_of(session)["0"])


# ---- CHT ---------------------------------------------------------------------------------------------------------


def score_by_paths(active, v, u):
    """CH2-L3n of the missing link from input u to output v, by listing every path u - z1 - z2 - v."""
    neighbours = {}
    for o, i in places(active):
        neighbours.setdefault(("out", o), set()).add(("in", i))
        neighbours.setdefault(("in", i), set()).add(("out", o))
    start, end, community = ("in", u), ("out", v), set()
    for z1 in neighbours.get(start, ()):
        for z2 in neighbours[z1]:
            if z2 != start and end in neighbours[z2] and z1 != end:
                community |= {z1, z2}
    score = Fraction(0)
    for z in community:
        internal = len(neighbours[z] & community)
        external = len(neighbours[z] - community - {start, end})
        score += Fraction(1 + internal, 1 + external)
    return score


@pytest.mark.parametrize(("outputs", "inputs", "density"), [(5, 7, 0.3), (8, 6, 0.5), (4, 9, 0.8), (6, 6, 0.2)])
def test_cht_scores_equal_the_sum_over_paths_of_length_three(outputs, inputs, density):
    generator = torch.Generator().manual_seed(outputs)
    seen = 0
    for _ in range(5):
        active = torch.rand(outputs, inputs, generator=generator) < density
        scores = link_scores(active)
        for v, u in everywhere(active) - places(active):
            expected = score_by_paths(active, v, u)
            assert float(scores[v, u]) == pytest.approx(float(expected), rel=1e-6, abs=0)
            seen += expected > 0
    assert seen


def test_cht_score_by_hand():
    active = torch.tensor([[1, 1, 0], [1, 0, 1]], dtype=torch.bool)  # is the link from input 2 to output 0 likely?
    # one path: input 2 - output 1 - input 0 - output 0; both nodes have one inner link and no outer one: 2 / 1 each
    assert float(link_scores(active)[0, 2]) == 4.0


@pytest.mark.usefixtures("updates_at_once")
def test_cht_charges_what_its_products_cost():
    with FlopCounterMode(display=False) as counter:
        link_scores(torch.rand(12, 30) < 0.4)
    assert counter.get_total_flops() == flops_of_scores(12, 30)
    session = session_of(Cht(density=0.3, update=UpdateSchedule(5)), torch.randn(12, 30), torch.randn(8, 12))
    for _ in range(6):
        step(session)
    assert session.selection_flops == 2 * (flops_of_scores(12, 30) + flops_of_scores(8, 12))


@pytest.mark.usefixtures("updates_at_once")
def test_cht_grows_the_highest_scores_of_what_is_left_after_the_drop():
    torch.manual_seed(0)
    weight = torch.randn(9, 14)
    session = session_of(Cht(density=0.4, growth="hard"), weight, lr=0)
    active = session.active["0"].clone()
    step(session)
    total = int(active.sum())
    kept = largest(places(active), weight, total - int(0.3 * total))
    mask = torch.zeros_like(active)
    for place in kept:
        mask[place] = True
    scores = {place: score_by_paths(mask, *place) for place in everywhere(weight) - kept}
    grown = places(session.active["0"]) - kept
    assert kept <= places(session.active["0"]) and len(grown) == total - len(kept)
    assert min(scores[p] for p in grown) >= max(s for p, s in scores.items() if p not in grown)


def test_cht_samples_links_in_proportion_to_their_score():
    scores, draws = torch.tensor([1.0, 2.0, 5.0, 0.0]), 20000
    uniform = 1 - torch.rand(draws, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    order = sampling_keys(scores, uniform).argsort(1, descending=True)
    for index, p in enumerate((1 / 8, 2 / 8, 5 / 8)):
        assert float((order[:, 0] == index).float().mean()) == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / draws))
    first = order[order[:, 0] == 2]  # without replacement: then 1 to 2
    assert float((first[:, 1] == 1).float().mean()) == pytest.approx(2 / 3, abs=0.025)
    assert (order[:, 3] == 3).all()  # no path, no link while others have one


def test_cht_removes_chains_of_neurons_without_inputs_or_outputs():
    first = torch.tensor([[1, 1], [0, 0], [1, 0]], dtype=torch.bool)  # neuron 1 has no input
    second = torch.tensor([[1, 1, 0], [0, 1, 1]], dtype=torch.bool)
    third = torch.tensor([[1, 0]], dtype=torch.bool)  # neuron 1 of the second layer has no output
    left = without_dead_ends({"a": first, "b": second, "c": third})
    assert left["b"].tolist() == [[True, False, False], [False, False, False]]
    assert left["a"].tolist() == [[True, True], [False, False], [False, False]]
    assert torch.equal(left["c"], third)


@pytest.mark.usefixtures("updates_at_once")
def test_cht_removes_chains_only_where_layers_follow_each_other():
    torch.manual_seed(0)

    def dead_ends(*shapes):
        weights = [torch.rand(shape) + 1 for shape in shapes]
        weights[1][:, 3] *= 1e-3  # what reads neuron 3 leaves
        method = Cht(density=0.6, distribution="uniform", drop=0.3, growth="hard", update=UpdateSchedule(50))
        session = session_of(method, *weights, lr=0)
        row = session.active["0"][3].clone()
        step(session)
        return int(row.sum()), int((session.active["0"][3] & row).sum())

    before, after = dead_ends((8, 10), (12, 8))
    assert before > after
    before, after = dead_ends((8, 10), (12, 9))  # sizes do not fit: no chain
    assert before >= after > 0


def test_cht_reads_no_gradient_and_keeps_the_number():
    assert Cht().parts()[0].gradient is Gradient.NONE
    training = Training(Cht(density=0.1, update=EVERY_6))
    number = {name: int(mask.sum()) for name, mask in training.session.active.items()}
    training.run()
    assert number == {name: int(mask.sum()) for name, mask in training.session.active.items()}
