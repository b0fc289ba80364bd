import copy
import dataclasses

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hundredfold.methods.base import Method
from hundredfold.methods.control.placebo import Placebo
from hundredfold.methods.dense.dense import Dense
from hundredfold.methods.dynamic.rigl import Rigl
from hundredfold.methods.dynamic.set import Set
from hundredfold.methods.execution.parts import Gradient, Modules, Operands, Units, Weights
from hundredfold.methods.execution.prunable import prunable_layers
from hundredfold.methods.execution.session import Session
from hundredfold.methods.neurons.dsc import Dsc
from hundredfold.methods.products import ALL, Product, Selection, exact
from hundredfold.methods.selective.selective_backprop import SelectiveBackprop
from hundredfold.methods.static.snip import Snip
from hundredfold.methods.topology import Topology, UpdateSchedule
from hundredfold.replication.datasets.base import DataSpec
from hundredfold.replication.lightning_callback import SessionCallback
from hundredfold.replication.models.gpt import Gpt
from tests.conformance import BATCH, INPUTS, TARGETS, Training, network


def loss_of(model):
    return F.cross_entropy(model(INPUTS[:BATCH]), TARGETS[:BATCH])


@pytest.mark.parametrize("make", [torch.optim.AdamW, torch.optim.SGD, torch.optim.RMSprop])
def test_dense_through_the_session_is_plain_torch_bitwise(make):
    plain, session_model = network(), network()
    plain_optimizer, optimizer = make(plain.parameters(), 1e-2), make(session_model.parameters(), 1e-2)
    session = Session(session_model, Dense(), optimizer, total_steps=20)
    assert type(session_model[0]) is nn.Linear
    for _ in range(20):
        loss_of(plain).backward(), plain_optimizer.step(), plain_optimizer.zero_grad()
        loss_of(session_model).backward(), session.step(), optimizer.zero_grad()
    for a, b in zip(plain.parameters(), session_model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_wrapped_layers_without_a_mask_train_like_plain_ones():
    @dataclasses.dataclass(frozen=True)
    class Everything(Method):
        def parts(self):
            return [Operands(self, lambda product, layer, left, right, forward: exact(product, forward))]

    plain, model = network(), network()
    optimizers = [torch.optim.SGD(m.parameters(), 0.1) for m in (plain, model)]
    session = Session(model, Everything(), optimizers[1], total_steps=5)
    for _ in range(5):
        loss_of(plain).backward(), optimizers[0].step(), optimizers[0].zero_grad()
        loss_of(model).backward(), session.step(), optimizers[1].zero_grad()
    for a, b in zip(plain.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_a_superset_of_trained_weights_gets_gradients_but_no_forward_pass():
    active = {"2": torch.arange(64 * 64).view(64, 64) % 4 == 0}
    trained = {"2": torch.arange(64 * 64).view(64, 64) % 2 == 0}

    @dataclasses.dataclass(frozen=True)
    class Superset(Method):
        def parts(self):
            return [Weights(self)]

        def init_topology(self, net):
            return Topology(active, trained)

    training = Training(Superset())
    reference = network()
    with torch.no_grad():
        reference[2].weight.mul_(active["2"])
    torch.testing.assert_close(training.model(INPUTS), reference(INPUTS))
    loss_of(training.model).backward()
    grad = training.model[2].weight.grad
    assert grad[trained["2"] & ~active["2"]].any() and not grad[~trained["2"]].any()


def test_the_session_keeps_a_method_within_its_topology():
    @dataclasses.dataclass(frozen=True)
    class Leaky(Set):
        """Asks for every weight gradient, dropped weights too."""

        def parts(self):
            return [*super().parts(), Operands(self, self.select)]

        def select(self, product, layer, left, right, forward):
            return ALL if product is Product.WEIGHT_GRAD else forward

    training = Training(Leaky(density=0.2)).run()
    for name, mask in training.session.trained.items():
        assert not training.session.layers[name].weight.detach()[~mask].any()


def test_of_parameters_that_a_method_adds_matrices_decay_and_vectors_do_not():
    @dataclasses.dataclass(frozen=True)
    class Wider(Method):
        def parts(self):
            return [Modules(self, self.adapt)]

        def adapt(self, model, site):
            model.append(nn.Linear(4, 4))

    training = Training(Wider())
    added = {training.model[-1].weight: 0.1, training.model[-1].bias: 0.0}
    decays = {p: group["weight_decay"] for group in training.optimizer.param_groups for p in group["params"]}
    assert {p: decays[p] for p in added} == added


def test_autocast_reaches_the_selected_products():
    training = Training(Set(density=0.5))
    with torch.autocast("cpu", torch.bfloat16):
        assert training.model[0](INPUTS).dtype == torch.bfloat16
        loss_of(training.model).backward()
    assert training.model[0].weight.grad.dtype == torch.float32


def test_a_decision_that_the_back_end_cannot_execute_is_refused():
    @dataclasses.dataclass(frozen=True)
    class Confused(Method):
        def parts(self):
            return [Units(self)]

        def init_topology(self, net):
            return Topology(active={"0": torch.ones(64, 16, dtype=torch.bool)})

    with pytest.raises(ValueError, match="confused|test_session decided about 0, and its parts select units"):
        Training(Confused())


class Language(nn.Module):
    """A language model whose context, hidden size and vocabulary are all 8."""

    def __init__(self, tied):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(8, 8), nn.Embedding(8, 8)
        self.hidden = nn.Linear(8, 8)
        setattr(self, "out" if tied else "lm_head", nn.Linear(8, 8))
        if tied:
            self.out.weight = self.tokens.weight


@pytest.mark.parametrize("tied", [True, False])
def test_vocabulary_heads_are_known_by_what_they_are_and_not_by_their_size(tied):
    assert list(prunable_layers(Language(tied))) == ["hidden"]


@pytest.mark.parametrize("context", [32, 256])
def test_every_feed_forward_layer_of_a_gpt_is_prunable_whatever_its_context(context):
    model = Gpt(dim=32, heads=2, hidden=256).build(DataSpec("text", (context,), 32, "loss"))
    names = {name.rpartition(".")[2] for name in prunable_layers(model)}
    assert names == {"c_attn", "c_proj", "c_fc"} and len(prunable_layers(model)) == 2 * 4


# ---- what the authors' code of RigL, SET and SNIP does, and many ports do not ----------------------------------------


def rigl_by_hand(weight, active, grad, num_dropped):
    """Drop the smallest active weights, grow the largest gradients among all that are not kept: Algorithm 1."""
    order = sorted(active.nonzero().tolist(), key=lambda p: -abs(float(weight[tuple(p)])))
    kept = {tuple(p) for p in order[: len(order) - num_dropped]}
    rest = [(i, j) for i in range(weight.shape[0]) for j in range(weight.shape[1]) if (i, j) not in kept]
    grown = sorted(rest, key=lambda p: -abs(float(grad[p])))[:num_dropped]
    mask = torch.zeros_like(active)
    for p in kept | set(grown):
        mask[p] = True
    return mask


def one_layer(method, weight, total_steps=100):
    layer = nn.Linear(4, 4, bias=False)
    with torch.no_grad():
        layer.weight.copy_(weight)
    model = nn.Sequential(layer)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    return model, optimizer, Session(model, method, optimizer, total_steps=total_steps)


def step_with_gradient(model, session, gradient):
    """One step whose dense weight gradient is `gradient`, [4, 4]."""
    (model(torch.eye(4)) * gradient.T).sum().backward()
    session.step()
    session.optimizer.zero_grad()


def test_rigl_drops_and_grows_like_the_algorithm_on_a_4x4_matrix():
    torch.manual_seed(1)
    weight, gradient = torch.randn(4, 4), torch.randn(4, 4)
    model, optimizer, session = one_layer(Rigl(density=0.5, drop=0.5, distribution="uniform"), weight)
    active, start = session.active["0"].clone(), model[0].weight.detach().clone()
    step_with_gradient(model, session, gradient)
    expected = rigl_by_hand(start, active, gradient, num_dropped=4)
    assert torch.equal(session.active["0"], expected)
    torch.testing.assert_close(model[0].weight.detach(), start * (active & expected))  # no optimizer step; new are zero


def test_rigl_update_at_step_zero_replaces_the_optimizer_step():
    model, optimizer, session = one_layer(Rigl(density=0.5, update=UpdateSchedule(3)), torch.randn(4, 4))
    changed = []
    for _ in range(7):
        before = model[0].weight.detach().clone()[session.active["0"]].abs().sum()
        step_with_gradient(model, session, torch.ones(4, 4))
        momentum = optimizer.state.get(model[0].weight, {})
        changed.append(("momentum_buffer" in momentum, float(before)))
    assert not changed[0][0] and changed[1][0]


def test_a_dropped_weight_that_grows_again_keeps_value_and_momentum():
    weight = torch.full((4, 4), 1.0)
    weight[0, 0] = 0.01  # the smallest: dropped first
    model, optimizer, session = one_layer(Rigl(density=1.0, drop=0.07, update=UpdateSchedule(2, 0.01)), weight)
    step_with_gradient(model, session, torch.full((4, 4), 1e-4))
    momentum = optimizer.state[model[0].weight]["momentum_buffer"].clone()
    kept = model[0].weight.detach().clone()
    step_with_gradient(model, session, torch.eye(4))  # update: drops (0, 0), whose gradient is the largest
    assert torch.equal(model[0].weight.detach(), kept)
    assert torch.equal(optimizer.state[model[0].weight]["momentum_buffer"], momentum)


def test_the_dense_gradient_that_rigl_reads_is_not_masked_and_plain_steps_are():
    training = Training(Rigl(density=0.1, update=UpdateSchedule(2)))
    seen = []
    for _ in range(4):
        loss_of(training.model).backward()
        seen.append(bool(training.model[2].weight.grad[~training.session.active["2"]].any()))
        training.session.step()
        training.optimizer.zero_grad()
    assert seen == [True, False, True, False]


def test_asking_for_the_dense_gradient_costs():
    training = Training(Rigl(density=0.1, update=UpdateSchedule(2)))
    cost = lambda: training.session.count_step(lambda: loss_of(training.model).backward()).ideal  # noqa: E731
    at_update = cost()
    training.run(1)
    assert at_update > cost()


def test_every_signal_that_costs_is_charged():
    """Each pair differs in one signal alone: dense gradients at every step, a forward pass first, unit statistics."""

    def flops(method):
        session = Training(method).run().session
        return session.ideal_flops + session.selection_flops

    @dataclasses.dataclass(frozen=True)
    class Watching(Set):
        """SET that keeps an average of the dense gradient."""

        def parts(self):
            return [Weights(self, gradient=Gradient.MEAN)]

    assert flops(Watching(density=0.25, update=UpdateSchedule(6))) > flops(Set(density=0.25, update=UpdateSchedule(6)))
    assert flops(SelectiveBackprop(keep=1.0)) > flops(Dense())
    assert flops(Placebo(interval=6, observe_every=2)) > flops(Dense())


def test_snip_ranks_by_gradient_times_weight_over_the_network():
    training = Training(Snip(density=0.2))
    loss_of(training.model).backward()
    scores = torch.cat([(v.weight.grad * v.weight).abs().flatten() for v in training.session.layers.values()])
    weights = [layer.weight.detach().clone() for layer in training.session.layers.values()]
    threshold = scores.sort(descending=True).values[round(0.2 * len(scores)) - 1]
    training.session.step()
    active = torch.cat([training.session.active[name].flatten() for name in training.session.layers])
    assert torch.equal(active, scores >= threshold)
    for layer, before in zip(training.session.layers.values(), weights, strict=True):  # the step trained nothing
        mask = training.session.active[layer.name]
        assert torch.equal(layer.weight.detach(), before * mask)


def test_snip_score_is_the_effect_of_removing_a_weight_to_first_order():
    torch.manual_seed(0)
    model = network().double()
    x, y = INPUTS[:BATCH].double(), TARGETS[:BATCH]
    loss = F.cross_entropy(model(x), y)
    (grad,) = torch.autograd.grad(loss, model[0].weight)
    score, epsilon = (grad * model[0].weight).abs(), 1e-4
    with torch.no_grad():
        for i, j in ((0, 0), (5, 3), (63, 15)):
            model[0].weight[i, j] *= 1 - epsilon
            change = abs(float(F.cross_entropy(model(x), y) - loss)) / epsilon
            model[0].weight[i, j] /= 1 - epsilon
            assert change == pytest.approx(float(score[i, j]), rel=2e-3, abs=1e-9)


# ---- other loops ---------------------------------------------------------------------------------------------------


def test_gradient_accumulation_feeds_the_mask_update():
    training = Training(Rigl(density=0.2, update=UpdateSchedule(2)))
    for _ in range(2):
        (loss_of(training.model) / 2).backward()
    accumulated = training.model[2].weight.grad.clone()
    reference = copy.deepcopy(training.model)
    reference.zero_grad()
    loss_of(reference).backward()
    torch.testing.assert_close(accumulated, reference[2].weight.grad)


def test_lightning_callback_equals_the_plain_loop():
    class Module(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = network()

        def training_step(self, rows, index):
            return F.cross_entropy(self.model(INPUTS[rows]), TARGETS[rows])

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), 3e-3, weight_decay=0.1)

    rows = [(torch.arange(BATCH) * 5 + step * BATCH) % len(INPUTS) for step in range(48)]
    for method in (Rigl(density=0.25, update=UpdateSchedule(6)), Dsc(density=0.25, interval=6, observe_every=2)):
        module = Module()
        trainer = L.Trainer(
            max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu",
            enable_model_summary=False, callbacks=[SessionCallback(method)],
        )
        trainer.fit(module, torch.utils.data.DataLoader(rows, batch_size=None))
        plain = Training(method)
        plain.rates = [3e-3] * len(rows)
        plain.run()
        for a, b in zip(module.model.parameters(), plain.model.parameters(), strict=True):
            assert a.shape == b.shape
            torch.testing.assert_close(a, b)


def test_selection_default_is_everything():
    assert ALL == Selection(None, None, None)
