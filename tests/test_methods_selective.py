"""Selective computation against hand-worked cases, closed forms and slow references."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hundredfold.methods.dense.dense import Dense
from hundredfold.methods.execution.blocks import find_blocks, run_on_tokens
from hundredfold.methods.execution.kernels.gathered import Gathered
from hundredfold.methods.execution.kernels.masked import Masked
from hundredfold.methods.execution.parts import Samples
from hundredfold.methods.execution.session import Session
from hundredfold.methods.products import ALL, Product, Selection
from hundredfold.methods.selective.activation_topk import ActivationTopk
from hundredfold.methods.selective.infobatch import Infobatch
from hundredfold.methods.selective.layer_drop import LayerDrop
from hundredfold.methods.selective.layer_freeze import LayerFreeze
from hundredfold.methods.selective.meprop import Meprop
from hundredfold.methods.selective.mesimp import Mesimp
from hundredfold.methods.selective.moe import Experts, Moe
from hundredfold.methods.selective.progressive_length import ProgressiveLength
from hundredfold.methods.selective.progressive_resolution import ProgressiveResolution
from hundredfold.methods.selective.random_ltd import RandomLtd
from hundredfold.methods.selective.relu_l1 import PenalisedRelu, ReluL1
from hundredfold.methods.selective.selective_backprop import SelectiveBackprop
from hundredfold.methods.selective.swat import Swat
from hundredfold.methods.topology import UpdateSchedule
from hundredfold.methods.views import Batch
from tests.conformance import BATCH, INPUTS, TARGETS, TOKENS, Training, network, transformer

X, Y = INPUTS[:BATCH], TARGETS[:BATCH]


def session_of(model, method, total_steps=10, **options):
    return Session(model, method, torch.optim.SGD(model.parameters(), 0.1), total_steps=total_steps, **options)


# ---- whole rows and columns as smaller products ----------------------------------------------------------------------


@pytest.mark.parametrize("product", list(Product), ids=lambda p: p.name)
def test_gathered_products_equal_masked_ones(product):
    generator = torch.Generator().manual_seed(0)
    shapes = {"FORWARD": ((6, 5), (4, 5)), "INPUT_GRAD": ((6, 4), (4, 5)), "WEIGHT_GRAD": ((6, 4), (6, 5))}
    left, right = (torch.randn(shape, generator=generator) for shape in shapes[product.name])
    result = Masked().run(product, left, right, ALL)

    def masks(shape):
        lines = [torch.rand(n, generator=generator) < 0.6 for n in shape]
        return [None, lines[0][:, None], lines[1][None]]

    for choice in itertools.product(masks(left.shape), masks(right.shape), masks(result.shape)):
        selection = Selection(*choice)
        expected = Masked().run(product, left.clone(), right.clone(), selection)
        torch.testing.assert_close(Gathered().run(product, left, right, selection), expected)
        given = [mask for mask in choice if mask is not None]
        if len(given) == 1:  # a method that knows how many says so
            known = selection._replace(size=int(given[0].sum()))
            torch.testing.assert_close(Gathered().run(product, left, right, known), expected)


def test_single_entries_are_refused_by_the_gathering_back_end():
    with pytest.raises(ValueError, match=r"a mask of shape \(2, 3\) selects single entries.*no smaller product"):
        Gathered().run(Product.FORWARD, torch.ones(2, 3), torch.ones(4, 3), Selection(left=torch.ones(2, 3) > 0))


# ---- meProp ----------------------------------------------------------------------------------------------------------


def meprop_by_hand(model, x, y, fraction, scope):
    """Weight gradients of 16-64-64-4 by explicit formulas, the output layer exact."""
    w, b = ([getattr(model[i], kind).detach() for i in (0, 2, 4)] for kind in ("weight", "bias"))
    h1 = (x @ w[0].T + b[0]).relu()
    h2 = (h1 @ w[1].T + b[1]).relu()
    logits = (h2 @ w[2].T + b[2]).requires_grad_()
    F.cross_entropy(logits, y).backward()
    gradients, dy = [logits.grad.T @ h2], (logits.grad @ w[2]) * (h2 > 0)
    for layer, inputs, gate in ((1, h1, h1 > 0), (0, x, None)):
        k = round(fraction * dy.shape[1])
        if scope == "batch":
            keep = dy.abs().sum(0).argsort(descending=True)[:k]
            kept = torch.zeros_like(dy)
            kept[:, keep] = dy[:, keep]
        else:
            keep = dy.abs().argsort(dim=1, descending=True)[:, :k]
            kept = torch.zeros_like(dy).scatter(1, keep, dy.gather(1, keep))
        gradients.insert(0, kept.T @ inputs)
        dy = (kept @ w[layer]) * gate if gate is not None else None
    return gradients


@pytest.mark.parametrize("scope", ["batch", "example"])
def test_meprop_gradients_are_those_worked_by_hand(scope):
    expected = meprop_by_hand(network(), X, Y, 0.25, scope)
    model = network()
    session_of(model, Meprop(fraction=0.25, scope=scope)).backward(X, Y)
    for index, gradient in zip((0, 2, 4), expected, strict=True):
        torch.testing.assert_close(model[index].weight.grad, gradient)


def test_meprop_that_keeps_everything_is_exact_back_propagation():
    model, plain = network(), network()
    session_of(model, Meprop(fraction=1.0)).backward(X, Y)
    F.cross_entropy(plain(X), Y).backward()
    for a, b in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_the_unified_form_really_skips_and_the_other_is_declared_simulated():
    cost = {}
    for method in (Dense(), Meprop(fraction=0.25), Meprop(fraction=0.25, scope="example")):
        session = session_of(network(), method)
        session.backward(X, Y)
        cost[method.label()] = (session.executed_flops, session.ideal_flops)
    assert cost["meprop"][0] == cost["meprop"][1] < 0.7 * cost["dense"][0]
    assert cost["meprop (example)"][0] == cost["dense"][0] and cost["meprop (example)"][1] == cost["meprop"][1]


def test_mesimp_lets_neurons_of_little_activeness_leave():
    method = Mesimp(fraction=0.25, observe_every=1, multiple=1, threshold=0.5, update=UpdateSchedule(6, 0.1, 0.75))
    counts = Training(method).run().session.unit_counts()
    assert all(8 <= count["alive"] < 64 for count in counts.values())


# ---- SWAT ------------------------------------------------------------------------------------------------------------


def test_swat_uses_other_masks_forward_and_backward_and_trains_every_weight():
    model, reference = network(), network()
    session = session_of(model, Swat(density=0.25))
    sparse, layers = [], (0, 2, 4)
    for i in layers:
        w = reference[i].weight.detach()
        threshold = w.abs().flatten().sort(descending=True).values[round(0.25 * w.numel()) - 1]
        sparse.append(w * (w.abs() >= threshold))
    h, inputs = X, []
    for i, w in zip(layers, sparse, strict=True):
        inputs.append(h)
        h = h @ w.T + reference[i].bias.detach()
        h = h.relu() if i != 4 else h
    torch.testing.assert_close(model(X), h)  # evaluation is sparse too
    session.backward(X, Y)
    logits = h.requires_grad_()
    F.cross_entropy(logits, Y).backward()
    dy = logits.grad
    for i, w, x in reversed(list(zip(layers, sparse, inputs, strict=True))):
        kept = x.abs() >= x.abs().flatten().sort(descending=True).values[round(0.25 * x.numel()) - 1]
        torch.testing.assert_close(model[i].weight.grad, dy.T @ (x * kept))
        dy = (dy @ w) * (x > 0)
    assert model[2].weight.grad[~session.active["2"]].any(), "weights outside the forward mask are trained"


def test_structured_swat_runs_on_smaller_products():
    session, dense = session_of(network(), Swat(density=0.25, structured=True)), session_of(network(), Dense())
    session.backward(X, Y), dense.backward(X, Y)
    assert session.executed_flops == session.ideal_flops
    assert session.executed_flops == pytest.approx(0.25 * dense.executed_flops, rel=0.05)


# ---- activations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["batch", "token"])
def test_the_most_active_neurons_compute_and_the_gradient_is_exact(scope):
    model, reference = network(), network()
    session_of(model, ActivationTopk(density=0.25, scope=scope)).backward(X, Y)

    def select(h):
        if scope == "batch":
            kept = h.square().sum(0).argsort(descending=True)[:16]
            return h * torch.zeros(64).index_fill(0, kept, 1.0)
        kept = h.argsort(dim=1, descending=True)[:, :16]
        return h * torch.zeros_like(h).scatter(1, kept, 1.0)

    h = select(reference[:2](X))
    F.cross_entropy(reference[4](select(reference[3](reference[2](h)))), Y).backward()
    for a, b in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_the_l1_penalty_has_the_gradient_of_its_formula():
    x = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    weights = torch.arange(7.0)
    (PenalisedRelu(0.1)(a) * weights).sum().backward()
    ((b.relu() * weights).sum() + 0.1 * b.relu().sum(1).mean()).backward()
    torch.testing.assert_close(a.grad, b.grad)


def test_ideal_flops_fall_as_activations_become_sparse():
    strong, weak = Training(ReluL1(l1=1.0)).run().session, Training(ReluL1(l1=0.0)).run().session
    assert strong.ideal_flops < weak.ideal_flops < weak.executed_flops == strong.executed_flops


# ---- experts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("top", [1, 2])
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("inputs, part, outputs", [(6, 2, 5), (16, 8, 24)], ids=["odd sizes", "grouped"])
def test_experts_compute_what_a_loop_over_tokens_computes(top, gated, inputs, part, outputs):
    torch.manual_seed(0)
    producers, act = [nn.Linear(inputs, 4 * part) for _ in range(1 + gated)], nn.SiLU()
    reader = nn.Linear(4 * part, outputs)
    block, x = Experts(producers, act, reader, 4, top, 0.0), torch.randn(9, inputs)
    expected = torch.zeros(9, outputs)
    for t in range(9):
        p = (block.router.weight @ x[t]).softmax(0)
        for e in p.topk(top).indices.tolist():
            rows = slice(part * e, part * e + part)
            h = act(producers[0].weight[rows] @ x[t] + producers[0].bias[rows])
            h = h * (producers[1].weight[rows] @ x[t] + producers[1].bias[rows]) if gated else h
            expected[t] += 4 * p[e] * (4 / top) ** 0.5 * (reader.weight[:, rows] @ h)
        expected[t] += reader.bias
    torch.testing.assert_close(block(x), expected)


def test_the_balancing_loss_is_the_one_of_switch_transformers():
    torch.manual_seed(0)
    block, x = Experts([nn.Linear(6, 8)], nn.ReLU(), nn.Linear(8, 5), 4, 1, 0.5), torch.randn(9, 6)
    block(x).sum().backward()
    with_loss = block.router.weight.grad.clone()
    block.router.weight.grad, block.balance = None, 0.0
    block(x).sum().backward()
    p = (x @ block.router.weight.T).softmax(1)
    shares = F.one_hot(p.argmax(1), 4).float().mean(0)
    (expected,) = torch.autograd.grad(0.5 * 4 * (shares * p.mean(0)).sum(), block.router.weight)
    torch.testing.assert_close(with_loss - block.router.weight.grad, expected)


@pytest.mark.parametrize("kind", ["vit", "gpt"])
def test_every_feed_forward_block_becomes_experts_and_costs_a_part(kind):
    cost = {}
    for method in (Dense(), Moe(experts=4)):
        model, inputs, targets = transformer(kind, 1.0)
        session = session_of(model, method)
        session.backward(inputs[:8], targets[:8])
        cost[method.name()] = session.executed_flops
        found = sum(isinstance(module, Experts) for module in model.modules())
        assert found == (2 if method.parts() else 0)
    assert cost["moe"] < 0.85 * cost["dense"]


# ---- examples --------------------------------------------------------------------------------------------------------


def test_infobatch_keeps_the_expectation_of_the_gradient():
    """Over every possible draw of a batch of six, weighted by its probability: the expected weight of each is 1."""
    losses, method = torch.tensor([0.1, 0.2, 3.0, 0.3, 4.0, torch.nan]), Infobatch(ratio=0.25)
    learned = [0, 1, 3]  # below the mean of what is known
    expected = torch.zeros(6)
    for dropped in itertools.product([False, True], repeat=3):
        weights = torch.ones(6)
        for row, gone in zip(learned, dropped, strict=True):
            weights[row] = 0.0 if gone else 1 / 0.75
        expected += weights * 0.25 ** sum(dropped) * 0.75 ** (3 - sum(dropped))
    torch.testing.assert_close(expected, torch.ones(6))
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([method.select(0, 100, losses, generator) for _ in range(4000)])
    assert draws.unique().tolist() == pytest.approx([0.0, 1.0, 4 / 3])
    torch.testing.assert_close(draws.mean(0), torch.ones(6), atol=0.03, rtol=0)
    assert method.select(88, 100, losses, generator) is None, "the last eighth sees everything"


def test_the_session_remembers_the_losses_and_trains_the_weighted_sum():
    training = Training(Infobatch()).run(1)
    session, rows = training.session, torch.arange(BATCH) * 5
    assert int((~session.part(Samples).example_losses.isnan()).sum()) == BATCH
    loss = F.cross_entropy(network()(INPUTS[rows]), TARGETS[rows], reduction="none")
    torch.testing.assert_close(session.part(Samples).example_losses[rows], loss.detach())
    before = session.executed_flops
    session.backward(INPUTS[rows], TARGETS[rows], rows)
    assert session.executed_flops - before < before, "the second pass over the same examples is smaller"


def test_selective_backprop_keeps_half_prefers_high_losses_and_pays_for_looking():
    method, losses = SelectiveBackprop(), torch.arange(16.0)
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([method.select(50, 100, losses, generator) for _ in range(500)])
    assert (draws.gt(0).sum(1) == 8).all() and set(draws.unique().tolist()) == {0.0, 2.0}
    kept = draws.gt(0).float().mean(0)
    assert kept[12:].mean() > 0.75 > 0.35 > kept[:4].mean()
    assert method.select(51, 100, losses, generator) is None and not method.reads_losses(10, 100)
    sessions = {m.name(): session_of(network(), m, total_steps=1) for m in (Dense(), SelectiveBackprop(start=0.0))}
    for session in sessions.values():
        session.backward(X, Y)
    step = sessions["dense"].executed_flops
    whole_forward = 2 * BATCH * sum(p.numel() for p in network().parameters() if p.ndim > 1)
    assert sessions["selective_backprop"].executed_flops == step / 2 + whole_forward


def test_a_method_of_batches_tells_a_plain_loop_what_to_call():
    model = network()
    session = session_of(model, SelectiveBackprop())
    F.cross_entropy(model(X), Y).backward()
    with pytest.raises(ValueError, match="call session.backward"):
        session.step()
    with pytest.raises(ValueError, match="pass the training split"):
        session_of(network(), Infobatch())
    session = session_of(network(), Infobatch(), training=Batch(INPUTS, TARGETS))
    with pytest.raises(ValueError, match="pass ids"):
        session.backward(X, Y)


# ---- tokens, blocks, layers, inputs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["vit", "gpt"])
def test_tokens_left_out_pass_unchanged_and_the_others_see_only_each_other(kind):
    model, inputs, _ = transformer(kind, 1.0)
    names = find_blocks(model)
    block, tokens = model.get_submodule(names[0]), torch.tensor([1, 3, 4])
    x = torch.randn(2, 7, 16, generator=torch.Generator().manual_seed(0))
    out = run_on_tokens(block.forward, x, tokens)
    rest = torch.tensor([0, 2, 5, 6])
    assert torch.equal(out[:, rest], x[:, rest])
    torch.testing.assert_close(out[:, tokens], block(x[:, tokens]))
    assert run_on_tokens(block.forward, x, torch.tensor([], dtype=torch.long)) is x


def test_random_ltd_starts_with_a_part_of_the_tokens_and_ends_with_all():
    method, generator = RandomLtd(start=0.25, end=0.5, whole=1), torch.Generator().manual_seed(0)
    assert len(method.select(0, 100, 1, 4, 64, generator)) == 16
    half = method.select(25, 100, 2, 4, 64, generator)
    assert len(half) == 40 and torch.equal(half, half.unique())  # ascending, so that causal order stays
    assert method.select(50, 100, 1, 4, 64, generator) is None
    assert all(method.select(0, 100, end, 4, 64, generator) is None for end in (0, 3))


def test_layers_drop_by_depth_in_training_alone():
    method, generator = LayerDrop(drop=0.8), torch.Generator().manual_seed(0)
    dropped = [
        sum(method.select(0, 1, i, 4, 9, generator) is not None for _ in range(2000)) / 2000 for i in range(4)
    ]
    assert dropped == pytest.approx([0.2, 0.4, 0.6, 0.8], abs=0.04)
    model, inputs, targets = transformer("vit", 1.0)
    whole = model.eval()(inputs[:4]).detach()
    session = session_of(model, LayerDrop(drop=1.0))
    torch.testing.assert_close(model(inputs[:4]), whole)
    session.model.train()
    session.backward(inputs[:4], targets[:4])
    assert model.blocks[1].mlp.fc1.weight.grad is None, "the last block is always dropped"


def test_layers_freeze_from_the_bottom_and_their_backward_pass_goes_away():
    training = Training(LayerFreeze(start=0.2, stop=0.8, update=UpdateSchedule(1, 0.0, 1.0)))
    states, costs = [], []

    def watch(t):
        states.append([m.weight.detach().clone() for m in (t.model[0], t.model[2], t.model[4])])
        costs.append(t.session.executed_flops)

    training.run(each=watch)
    moved = [[not torch.equal(a, b) for a, b in zip(*pair, strict=True)] for pair in itertools.pairwise(states)]
    frozen_at = [sum(row[i] for row in moved) for i in range(3)]
    assert frozen_at[0] < frozen_at[1] < frozen_at[2] == len(moved)
    assert abs(frozen_at[0] - 0.2 * 48) <= 2 and abs(frozen_at[1] - 0.4 * 48) <= 2
    steps = [b - a for a, b in itertools.pairwise(costs)]
    assert steps[-1] < 0.6 * steps[0]


def test_sequences_grow_to_their_length_and_targets_follow():
    method = ProgressiveLength(start=0.25, end=0.5, multiple=8)
    assert [method.length_at(step, 100, 64) for step in (0, 25, 50, 99)] == [16, 40, 64, 64]
    inputs, targets = method.transform(0, 100, TOKENS.repeat(1, 8)[:, :-1], TOKENS.repeat(1, 8)[:, 1:])
    assert inputs.shape == targets.shape == (256, 16) and torch.equal(inputs[:, 1:], targets[:, :-1])


def test_images_grow_and_the_vision_transformer_reads_every_size():
    method = ProgressiveResolution(start=0.5, end=0.5, multiple=2)
    assert [method.side_at(step, 100, 8) for step in (0, 25, 50)] == [4, 6, 8]
    model, inputs, targets = transformer("vit", 1.0)
    whole = model.eval()(inputs[:4]).detach()
    session = session_of(model, ProgressiveResolution(start=0.5, end=0.5, multiple=2), total_steps=100)
    torch.testing.assert_close(model(inputs[:4]), whole)
    session.model.train()
    session.backward(inputs[:4], targets[:4])
    small = session.executed_flops
    session.context.step = 60
    session.backward(inputs[:4], targets[:4])
    assert session.executed_flops - small > 3 * small


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Meprop(scope="layer"), "scope=layer"),
        (lambda: Mesimp(scope="example"), "scope=example"),
        (lambda: ActivationTopk(density=2.0), "density=2"),
        (lambda: ReluL1(l1=-1), "l1=-1"),
        (lambda: Moe(top=9), "top=9"),
        (lambda: Infobatch(ratio=1.0), "ratio=1"),
        (lambda: SelectiveBackprop(interval=0), "interval=0"),
        (lambda: RandomLtd(start=0), "start=0"),
        (lambda: LayerDrop(drop=2), "drop=2"),
        (lambda: LayerFreeze(start=1.0), "start=1.0"),
        (lambda: ProgressiveLength(multiple=0), "multiple=0"),
        (lambda: ProgressiveResolution(end=0), "end=0"),
    ],
)
def test_bad_options_are_answered_with_the_value(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (LayerDrop(), "layer_drop selects tokens of residual blocks, and this model has none"),
        (ProgressiveLength(), "progressive_length: cuts sequences of tokens"),
        (ProgressiveResolution(), "progressive_resolution: the model reads images of one size"),
        (Moe(experts=7), "experts=7: expected a divisor of 64 hidden neurons"),
    ],
)
def test_a_model_that_a_method_cannot_train_is_refused(method, message):
    with pytest.raises(ValueError, match=message):
        session_of(network(), method)
