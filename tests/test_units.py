import copy
import dataclasses

import pytest
import torch
from torch import nn

from hundredfold.methods.control.dsc_random import DscRandom
from hundredfold.methods.execution.parts import Units
from hundredfold.methods.execution.units.groups import find_units
from hundredfold.methods.execution.units.store import UnitStore
from hundredfold.methods.neurons.dsc import Dsc
from hundredfold.methods.tools.importance import top
from hundredfold.methods.tools.unit_choice import choose_blocks, find_fold, keep_valid
from hundredfold.methods.topology import Fold
from hundredfold.methods.views import UnitView
from hundredfold.replication.datasets.base import DataSpec
from hundredfold.replication.models.gpt import Gpt
from hundredfold.replication.models.llama import Llama
from hundredfold.replication.models.mlp import Mlp
from hundredfold.replication.models.vit import Vit
from tests.conformance import INPUTS, Training, network

IMAGE = DataSpec("image", (1, 8, 8), 10, "accuracy")
TEXT = DataSpec("text", (16,), 32, "loss")
MODELS = {"mlp": (Mlp(widths=(32, 24)), IMAGE), "vit": (Vit(), IMAGE), "gpt": (Gpt(), TEXT), "llama": (Llama(), TEXT)}


def build(name):
    config, spec = MODELS[name]
    torch.manual_seed(0)
    shape = (3, *spec.input_shape)
    x = torch.randn(shape) if spec.kind == "image" else torch.randint(0, spec.num_classes, shape)
    return config.build(spec), x


def half_alive(group, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return top(torch.rand(group.size, generator=generator), max(1, group.size // 2))


@pytest.mark.parametrize("name", MODELS)
def test_every_hidden_unit_of_a_model_is_in_one_group(name):
    model, _ = build(name)
    groups = find_units(model)
    blocks = {"mlp": 2, "vit": 2 * 4, "gpt": 2 * 3, "llama": 2 * 3}[name]
    if name in ("vit", "gpt", "llama"):
        depth = len({g.rpartition(".")[0].rsplit(".", 1)[0] for g in groups})
        assert len(groups) == 2 * depth and {g.kind for g in groups.values()} == {"neuron", "head"}
    else:
        assert len(groups) == blocks
    for group in groups.values():
        for axis in group.axes:  # units own disjoint entries, and together all of the dimension
            length = getattr(model.get_submodule(axis.module), axis.attribute).shape[axis.dim]
            assert torch.equal(axis.index.flatten().sort().values, torch.arange(length))


@pytest.mark.parametrize("name", MODELS)
def test_compact_model_computes_what_the_masked_one_does(name):
    masked, x = build(name)
    compact = copy.deepcopy(masked)
    full = sum(p.numel() for p in masked.parameters())
    for model, is_compact in ((masked, False), (compact, True)):
        store = UnitStore(model, find_units(model), compact=is_compact)
        for group_name, group in store.groups.items():
            store.set_alive(group_name, half_alive(group), None, None)
    torch.testing.assert_close(compact(x), masked(x), rtol=1e-4, atol=1e-5)
    assert sum(p.numel() for p in compact.parameters()) < full
    assert store.num_zeroed() == 0


@pytest.mark.parametrize("name", MODELS)
def test_growth_does_not_change_the_function(name):
    model, x = build(name)
    store = UnitStore(model, find_units(model), compact=True)
    for group_name, group in store.groups.items():
        store.set_alive(group_name, half_alive(group), None, None)
    before = model(x)
    for group_name, group in store.groups.items():
        store.set_alive(group_name, torch.ones(group.size, dtype=torch.bool), None, None)
    torch.testing.assert_close(model(x), before, rtol=1e-4, atol=1e-5)
    assert all(p.shape == q.shape for p, q in zip(model.parameters(), build(name)[0].parameters(), strict=True))


@pytest.mark.parametrize("make", [torch.optim.AdamW, lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9)])
@pytest.mark.parametrize("cls", [Dsc, DscRandom])
def test_compact_and_masked_training_agree_with_units_leaving_and_returning(cls, make):
    method = cls(density=0.25, interval=6, observe_every=2)
    trainings = []
    for units in ("compact", "masked"):
        training = Training(dataclasses.replace(method, units=units), make=make)
        trainings.append(training.run())
    compact, masked = trainings
    for name, alive in compact.session.part(Units).store.alive.items():
        assert torch.equal(alive, masked.session.part(Units).store.alive[name])
    torch.testing.assert_close(compact.model(INPUTS), masked.model(INPUTS), rtol=1e-4, atol=1e-5)
    assert sum(p.numel() for p in compact.model.parameters()) < sum(p.numel() for p in masked.model.parameters())


MOMENTS = {
    torch.optim.AdamW: (["exp_avg"], ["exp_avg_sq", "max_exp_avg_sq"], {"amsgrad": True}),
    torch.optim.RMSprop: (["momentum_buffer"], ["square_avg"], {"momentum": 0.9}),
    torch.optim.Adagrad: ([], ["sum"], {}),
}


@pytest.mark.parametrize("compact", [True, False], ids=["compact", "masked"])
@pytest.mark.parametrize("make", MOMENTS)
def test_survivors_keep_moments_and_new_units_start_at_the_mean_of_the_layer(make, compact):
    first_moments, second_moments, options = MOMENTS[make]
    model = network()
    optimizer = make(model.parameters(), 1e-2, **options)
    model(INPUTS).square().mean().backward()
    optimizer.step()
    store = UnitStore(model, find_units(model), compact=compact)

    def states(name):
        """A moment of the weights into, of and out of the neurons of layer 0, one neuron in each row."""
        assert all(any(p is q for q in optimizer.param_groups[0]["params"]) for p in model.parameters())
        incoming, bias, outgoing = (optimizer.state[p] for p in (model[0].weight, model[0].bias, model[2].weight))
        return [incoming[name].clone(), bias[name].clone(), outgoing[name].T.clone()]

    before = {name: states(name) for name in first_moments + second_moments}
    store.set_alive("2", torch.arange(64) < 32, None, optimizer)
    store.set_alive("2", torch.arange(64) < 40, None, optimizer)
    assert all(state["step"] == 1 for state in optimizer.state.values())
    for name, olds in before.items():
        for old, new in zip(olds, states(name), strict=True):
            assert old[:32].any() and torch.equal(new[:32], old[:32])
            start = old[:32].mean() if name in second_moments else torch.zeros(())
            torch.testing.assert_close(new[32:40], start.expand_as(new[32:40]), rtol=1e-5, atol=0)  # they are tiny
    assert not model[2].weight[:, 32:].any() and model[0].weight[32:].any()


def test_the_reservoir_gives_back_the_weights_a_unit_left_with():
    model = network()
    store = UnitStore(model, find_units(model), compact=True)
    row = model[0].weight[5].detach().clone()
    store.set_alive("2", torch.arange(64) != 5, None, None)
    store.set_alive("2", torch.ones(64, dtype=torch.bool), None, None)
    assert torch.equal(model[0].weight[5], row)


def test_the_last_unit_of_a_group_may_not_leave():
    model = network()
    store = UnitStore(model, find_units(model), compact=True)
    with pytest.raises(ValueError, match="none would be left"):
        store.set_alive("2", torch.zeros(64, dtype=torch.bool), None, None)


# ---- leaves that keep the function -----------------------------------------------------------------------------------


def view_of(outputs, **values):
    """A unit view of observed outputs, [T, n]."""
    size = outputs.shape[1]
    whole = torch.ones(size, dtype=torch.bool)
    fields = dict(
        size=size, kind="neuron", alive=whole, ever=whole, new=~whole,
        norm=torch.ones(size),
        observed=torch.full((size,), 10), importance=torch.arange(size, 0.0, -1), fires=torch.ones(size),
        mean=outputs.mean(0), second=outputs.square().mean(0), sample=outputs, outgoing_grad=torch.zeros(size),
        foldable=True,
    )
    return UnitView(**(fields | values))


@pytest.mark.parametrize("compact", [True, False])
def test_constant_and_duplicate_units_leave_without_changing_the_output(compact):
    model = network()
    with torch.no_grad():  # unit 3 is constant, unit 9 is 2.5 x unit 4
        model[0].weight[3], model[0].bias[3] = 0.0, 0.7
        model[0].weight[9], model[0].bias[9] = 2.5 * model[0].weight[4], 2.5 * model[0].bias[4]
    before, hidden = model(INPUTS), torch.relu(model[0](INPUTS)).detach()
    importance = torch.ones(64)
    importance[4] = 5.0
    fold, flops = find_fold(view_of(hidden, importance=importance), constant=1e-3, duplicate=0.9999)
    assert fold.twin[9] == 4 and fold.scale[9] == pytest.approx(2.5, rel=1e-4)
    assert fold.constant[3] == pytest.approx(0.7)
    assert flops == 2 * len(INPUTS) * 64**2
    alive = torch.ones(64, dtype=torch.bool)
    alive[[3, 9]] = False
    store = UnitStore(model, find_units(model), compact=compact)
    store.set_alive("2", alive, keep_valid(fold, alive), None)
    torch.testing.assert_close(model(INPUTS), before, rtol=1e-4, atol=1e-5)


def test_a_fold_is_dropped_when_its_twin_leaves_too():
    fold = Fold(torch.tensor([-1, 0, -1]), torch.ones(3), torch.tensor([0.0, 0.0, 0.5]))
    kept = torch.tensor([False, False, False])
    assert keep_valid(fold, kept).twin.tolist() == [-1, -1, -1]
    assert keep_valid(fold, torch.tensor([True, False, True])) .twin.tolist() == [-1, 0, -1]
    assert keep_valid(fold, torch.tensor([True, False, True])).constant.tolist() == [0.0, 0.0, 0.0]


def test_flops_of_the_gram_matrix_are_what_pytorch_counts():
    from hundredfold.methods.execution.cost import executed_flops

    outputs = torch.randn(20, 16)
    _, charged = find_fold(view_of(outputs), 1e-3, 0.98)
    assert charged == executed_flops(lambda: find_fold(view_of(outputs), 1e-3, 0.98))


# ---- dsc -------------------------------------------------------------------------------------------------------------


def test_blocks_are_chosen_over_groups_by_value_above_the_floors():
    values = {"a": torch.tensor([9.0, 8.0, 1.0, 1.0]), "b": torch.tensor([5.0, 5.0, 4.0, 4.0])}
    everything = {name: torch.ones(4, dtype=torch.bool) for name in values}
    chosen = choose_blocks(values, everything, 4, 2, {"a": 0, "b": 0})
    assert chosen["a"].tolist() == [True, True, False, False] and chosen["b"].tolist() == [True, True, False, False]
    chosen = choose_blocks(values, everything, 2, 2, {"a": 0, "b": 2})
    assert not chosen["a"].any() and chosen["b"].sum() == 2


def test_importance_is_the_mean_of_activation_times_gradient():
    training = Training(Dsc(density=0.5, interval=6, observe_every=2))
    model = training.model
    x, alive = INPUTS[:32], training.session.part(Units).store.alive["2"]
    hidden = []
    handle = model[2].register_forward_pre_hook(lambda m, a: (a[0].retain_grad(), hidden.append(a[0]))[0])
    model(x).logsumexp(1).mean().backward()
    handle.remove()
    training.session.part(Units).observer.stop()
    expected = torch.zeros(64)
    expected[alive] = (hidden[0].detach() * hidden[0].grad).abs().mean(0)
    torch.testing.assert_close(training.session.view().units["2"].importance, expected)


EXCHANGING = Dsc(density=0.25, interval=6, observe_every=2, regrow=0.5, explore=0.35, contract=0.75)


def test_dsc_follows_its_stages():
    method = EXCHANGING
    counts, frozen = [], []

    def watch(training):
        counts.append(sum(int(a.sum()) for a in training.session.part(Units).store.alive.values()))
        frozen.append([a.clone() for a in training.session.part(Units).store.alive.values()])

    Training(method).run(each=watch)
    assert counts[0] == 64 and counts[-1] == 32  # seed and explore: twice the target
    assert max(counts) > 64  # probes are wider for one step
    last = method._schedule().last(48) + 1
    assert all(torch.equal(a, b) for later in frozen[last:] for a, b in zip(later, frozen[last], strict=True))


def test_once_candidates_are_judged_exactly_the_budget_of_the_schedule_lives():
    living = {}

    def watch(training):
        counts = training.session.unit_counts().values()
        living[training.session.step_index] = sum(group["alive"] for group in counts)

    Training(EXCHANGING).run(each=watch)
    # of 2 x 64 units half until 0.35 of the run (step 16.8), then a quarter + a quarter x (1 - done)^3 by the last
    # update, at step 30, in whole blocks of 8: 3.5 of them in each layer at step 18, 2.2 at 24
    assert [living[step + 2] for step in (6, 12, 18, 24, 30)] == [64, 64, 64, 32, 32]
    assert all(living[step + 1] > living[step + 2] for step in (6, 12)), "candidates were probed"


def test_what_came_is_not_judged_before_it_has_trained_for_an_interval():
    alive = {}

    def watch(training):
        store = training.session.part(Units).store
        alive[training.session.step_index] = torch.cat(list(store.alive.values()))

    Training(dataclasses.replace(EXCHANGING, explore=0.75)).run(each=watch)
    for update in (6, 12):
        came = alive[update + 2] & ~alive[update]
        assert came.any() and not (came & ~alive[update + 7]).any()


def test_every_layer_ends_with_the_density_of_the_equally_small_network():
    groups = Training(Dsc(density=0.25, interval=6, observe_every=2)).run().session.unit_counts().values()
    assert [group["alive"] for group in groups] == [16, 16]


def test_a_network_can_grow():
    training = Training(Dsc(density=0.5, widen=0.25, interval=6, observe_every=2, explore=0.0))
    sizes = []
    training.run(each=lambda t: sizes.append(sum(g["alive"] for g in t.session.unit_counts().values())))
    assert sizes[0] == 16 and sizes[-1] == 64


def test_dsc_random_differs_from_dsc_in_its_choice_alone():
    sizes = []
    for cls in (Dsc, DscRandom):
        counts = []
        Training(cls(density=0.25, interval=6, observe_every=2, dead=0.0, duplicate=1.0, constant=0.0)).run(
            each=lambda t, c=counts: c.append(sum(int(a.sum()) for a in t.session.part(Units).store.alive.values()))
        )
        sizes.append(counts)
    assert sizes[0] == sizes[1]


def test_a_run_too_short_for_the_stages_is_refused():
    with pytest.raises(ValueError, match="update.interval=100: the schedule of this run spans 23 of its 48 steps"):
        Training(Dsc(density=0.25))


def test_dsc_frozen_keeps_the_units_it_was_given():
    from hundredfold.methods.control.dsc_frozen import DscFrozen

    training = Training(DscFrozen(density=0.25)).run()
    for alive in training.session.part(Units).store.alive.values():
        assert torch.equal(alive, torch.arange(64) % 4 == 0)


def test_a_model_without_units_is_refused():
    model = nn.Sequential(nn.Linear(4, 4))
    from hundredfold.methods.execution.session import Session

    with pytest.raises(ValueError, match="none were found in Sequential"):
        Session(model, Dsc(), torch.optim.SGD(model.parameters(), 0.1), total_steps=1000)


def test_counting_flops_leaves_no_trace_in_the_statistics():
    method = Dsc(density=0.5, interval=6, observe_every=1)
    plain, counted = Training(method), Training(method)
    counted.session.count_step(lambda: counted.model(INPUTS[:32]).logsumexp(1).mean().backward())
    plain.run(4), counted.run(4)
    for name, statistics in plain.session.part(Units).observer.statistics.items():
        assert torch.equal(statistics.importance, counted.session.part(Units).observer.statistics[name].importance)
