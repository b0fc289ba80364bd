"""Blocks of neurons chosen for every example: exact against a loop, even load, gradients of the predictor."""

import pytest
import torch
from torch import nn

from hundredfold.methods.execution.session import Session
from hundredfold.methods.selective.dsc_input import Blocks, DscInput
from tests.conformance import INPUTS, TARGETS, Training


def perceptron():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 4))


def adapted(method, model=None):
    model = model or perceptron()
    session = Session(model, method, torch.optim.AdamW(model.parameters(), 3e-3), total_steps=50)
    return session, next(m for m in model.modules() if isinstance(m, Blocks))


def by_loop(blocks, x, top):
    """Every example by itself, block by block, from the definition."""
    out = []
    for row in x:
        scores = blocks.predictor(row)
        total = blocks.bias.clone()
        for e in (scores.sigmoid() + blocks.evening).topk(top).indices.tolist():
            h = row
            for layer in (*blocks.producers, *blocks.middle):
                h = (layer.weight[e] @ h + layer.bias.view(len(layer.weight), -1)[e]).relu()
            total = total + 2 * scores[e].sigmoid() * (blocks.reader.weight[e] @ h)
        out.append(total)
    return torch.stack(out)


@pytest.mark.parametrize("top", [1, 2])
def test_an_example_computes_its_best_blocks_and_nothing_else(top):
    _, blocks = adapted(DscInput(density=0.25, top=top))
    blocks.eval()
    with torch.no_grad():
        for layer in (*blocks.producers, *blocks.middle):
            layer.bias.normal_()
        blocks.evening.normal_()
    x = torch.randn(37, 16)
    torch.testing.assert_close(blocks(x), by_loop(blocks, x, top))
    alone = torch.cat([blocks(row[None]) for row in x])  # no example sees another
    torch.testing.assert_close(blocks(x), alone)


SIZES = [(0.25, 1.0, 1), (0.125, 0.5, 1), (0.25, 4.0, 1), (0.5, 1.0, 2)]


@pytest.mark.parametrize(("density", "capacity", "top"), SIZES)
def test_capacity_and_computation_are_two_numbers(density, capacity, top):
    session, blocks = adapted(DscInput(density=density, capacity=capacity, top=top))
    hidden = len(blocks.producers[0].weight) * blocks.producers[0].weight.shape[1]
    assert hidden == round(64 * capacity) and blocks.count == round(capacity / density * top)
    session.backward(torch.randn(512, 16), torch.randint(4, (512,)))
    step = session.executed_flops / 512
    size = [round(64 * density / top), round(32 * density / top)]
    products = top * (16 * size[0] + size[0] * size[1] + size[1] * 4)
    least = 2 * (3 * products - 16 * size[0] * top)  # the input has no gradient
    assert least < step < 2.2 * least + 6 * 16 * blocks.count  # padding and the predictor come on top


def test_the_load_becomes_even():
    torch.manual_seed(1)
    session, blocks = adapted(DscInput(density=0.25, balance=0.05))
    x = torch.randn(256, 16) + torch.randn(16)  # most examples look alike
    share = []
    for _ in range(50):
        with torch.no_grad():
            chosen = (blocks.predictor(x).sigmoid() + blocks.evening).argmax(1)
        share.append(float(torch.bincount(chosen, minlength=4).max()) / 256)
        blocks(x)
    assert share[0] > 0.5 and share[-1] < 0.4


@pytest.mark.parametrize("predictor", ["gate", "activation"])
def test_the_predictor_learns(predictor):
    session, blocks = adapted(DscInput(density=0.25, predictor=predictor))
    session.backward(torch.randn(64, 16), torch.randint(4, (64,)))
    assert blocks.predictor.weight.grad.abs().sum() > 0
    if predictor == "activation":  # towards the root mean square of the block's activations, and to nothing else
        before, x = blocks.predictor.weight.detach().clone(), torch.randn(64, 16)
        blocks(x)
        assert torch.equal(before, blocks.predictor.weight)


def test_random_blocks_are_dealt_by_a_hash_of_the_example():
    _, blocks = adapted(DscInput(density=0.25, choice="random"))
    _, plain = adapted(DscInput(density=0.25))
    blocks.eval(), plain.eval()
    x = torch.randn(2000, 16)
    torch.testing.assert_close(blocks(x), blocks(x))
    assert not torch.allclose(blocks(x), plain(x))


def test_it_trains_a_network_better_than_blocks_at_random():
    losses = {}
    for choice in ("predicted", "random"):
        training = Training(DscInput(density=0.25, choice=choice)).run()
        training.model.eval()
        losses[choice] = float(nn.functional.cross_entropy(training.model(INPUTS), TARGETS).detach())
    assert losses["predicted"] < losses["random"]


def test_bad_options_are_answered():
    with pytest.raises(ValueError, match="capacity=0.1: below density=0.25; raise it or lower that"):
        DscInput(density=0.25, capacity=0.1)
    with pytest.raises(ValueError, match="a block would have no neuron; raise density"):
        adapted(DscInput(density=0.001))
