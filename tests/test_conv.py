"""Convolutions under weight masks and operand selections equal the oracle of masked and unfolded products."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hundredfold.methods.execution.cost import executed_flops
from hundredfold.methods.execution.kernels.masked import Masked
from hundredfold.methods.execution.loss import cross_entropy
from hundredfold.methods.execution.parts import Weights
from hundredfold.methods.execution.prunable import prunable_layers
from hundredfold.methods.execution.session import Session
from hundredfold.methods.execution.storage.masked import mask_layer
from hundredfold.methods.execution.storage.selected import select_layer
from hundredfold.replication.config import registry


def selective(conv, mask=None, operands=False):
    """A copy of a convolution under a mask [O, I kh kw], through its products or as a convolution; weights are kept."""
    layer = mask_layer(copy.deepcopy(conv), "conv", keeps=True)
    if operands:
        select_layer(layer, "conv", None, Masked())
    if mask is not None:
        layer.active = mask.view_as(layer.weight)
    return layer


@settings(max_examples=30, deadline=None)
@given(
    channels=st.integers(1, 4), outputs=st.integers(1, 5), kernel=st.sampled_from([1, 2, 3]),
    stride=st.sampled_from([1, 2]), padding=st.sampled_from([0, 1]), bias=st.booleans(), operands=st.booleans(),
    seed=st.integers(0, 1000),
)  # fmt: skip
def test_both_ways_equal_a_convolution_with_masked_weights(
    channels, outputs, kernel, stride, padding, bias, operands, seed
):
    torch.manual_seed(seed)
    conv = nn.Conv2d(channels, outputs, kernel, stride, padding, bias=bias)
    mask = torch.rand(outputs, channels * kernel**2) < 0.5
    layer = selective(conv, mask, operands)
    x = torch.randn(2, channels, 7, 6, requires_grad=True)
    other = x.detach().clone().requires_grad_()
    kernel_mask = mask.view_as(conv.weight)
    expected = F.conv2d(other, conv.weight * kernel_mask, conv.bias, stride, padding)
    y = layer(x)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
    dy = torch.randn_like(y)
    y.backward(dy)
    expected.backward(dy)
    torch.testing.assert_close(x.grad, other.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(layer.weight.grad.view_as(conv.weight), conv.weight.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("operands", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
        {"kernel_size": (3, 5), "padding": (1, 2), "padding_mode": "circular", "stride": 2},
        {"kernel_size": 2, "padding": "same"},
        {"kernel_size": 3, "padding": "same", "dilation": 2},
        {"kernel_size": 3, "padding": "valid"},
        {"kernel_size": (1, 3), "padding": (0, 1), "dilation": (1, 2), "stride": (2, 1)},
    ],
)
def test_every_padding_of_a_convolution_is_kept(options, operands):
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 3, **options)
    layer, x = selective(conv, None, operands), torch.randn(2, 2, 7, 6, requires_grad=True)
    other = x.detach().clone().requires_grad_()
    layer(x).square().sum().backward()
    conv(other).square().sum().backward()
    torch.testing.assert_close(layer(x), conv(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(x.grad, other.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(layer.weight.grad.view_as(conv.weight), conv.weight.grad, rtol=1e-4, atol=1e-4)


class Standardised(nn.Conv2d):
    def forward(self, x):
        return F.conv2d(x, self.weight / self.weight.std(), self.bias)


@pytest.mark.parametrize(
    "conv", [Standardised(2, 3, 3), nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 3, 3))], ids=["own", "norm"]
)
def test_a_convolution_of_another_kind_is_refused(conv):
    with pytest.raises(ValueError, match=r"conv: .* is a \w+ with a forward pass or a parametrization"):
        selective(conv)


@pytest.mark.parametrize("operands", [False, True])
def test_both_ways_cost_the_same_flops(operands):
    layer = selective(nn.Conv2d(4, 6, 3, padding=1), None, operands)
    x = torch.randn(2, 4, 8, 8, requires_grad=True)
    assert executed_flops(lambda: layer(x).sum().backward()) == 3 * 2 * (2 * 64) * 6 * 4 * 9


def test_autocast_reaches_the_convolution():
    layer = selective(nn.Conv2d(4, 6, 3))
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(2, 4, 8, 8)).dtype is torch.bfloat16


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, bias=False), nn.ReLU(),
        nn.Flatten(), nn.Linear(144, 4),
    )  # fmt: skip


@pytest.mark.parametrize("name", ["random_erk", "mest", "srigl"])
def test_erdos_renyi_counts_the_kernel_of_a_convolution(name):
    model = network()
    session = Session(
        model, registry("method")[name](density=0.2), torch.optim.SGD(model.parameters(), 0.1), total_steps=600
    )
    shapes = {"0": (8, 3, 3, 3), "3": (16, 8, 3, 3), "6": (4, 144)}
    rule = {name: sum(shape) / math.prod(shape) for name, shape in shapes.items()}  # arXiv:1911.11134, section 3
    found = session.densities()
    assert found["3"] / found["6"] == pytest.approx(rule["3"] / rule["6"], rel=0.2)  # whole fan-ins are coarse


@pytest.mark.parametrize("name", ["random_erk", "set", "rigl", "snip", "top_kast"])
def test_methods_of_weights_train_convolutions_at_their_density(name):
    cls = registry("method")[name]
    options = {"density": 0.3} | dict(getattr(cls, "small", {}))
    if hasattr(cls(), "update") and cls().update is not None:
        options["update"] = type(cls().update)(interval=3)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    session = Session(model, cls(**options), optimizer, total_steps=12)
    x, y = torch.randn(8, 3, 8, 8), torch.arange(8) % 4
    first = None
    for _ in range(12):
        loss = session.backward(x, y)
        first = float(loss) if first is None else first
        session.step()
        optimizer.zero_grad()
    assert float(cross_entropy(model, x, y, "mean").detach()) < first
    assert set(session.layers) == {"0", "3", "6"} and session.layers["3"].weight.shape == (16, 8, 3, 3)
    if name not in ("top_kast",):
        assert abs(session.density() - 0.3) < 0.01
        for layer, mask in session.active.items():
            weight = session.layers[layer].weight
            assert not weight.detach().flatten(1)[~mask].any()
            state = optimizer.state[weight]["momentum_buffer"]
            assert state.shape == weight.shape and not state.flatten(1)[~mask].any()
        assert session.ideal_flops < session.executed_flops


@pytest.mark.parametrize("name", ["meprop", "swat"])
def test_methods_of_operands_train_convolutions(name):
    cls = registry("method")[name]
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    session = Session(model, cls(**dict(getattr(cls, "small", {}))), optimizer, total_steps=6)
    x, y = torch.randn(8, 3, 8, 8), torch.arange(8) % 4
    losses = []
    for _ in range(6):
        losses.append(float(session.backward(x, y)))
        session.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0]


def test_back_ends_that_store_refuse_convolutions_and_auto_leaves_them():
    method = registry("method")["random_erk"](density=0.2)
    model = network()
    with pytest.raises(ValueError, match="is a convolution.*use masked or auto"):
        Session(model, method, torch.optim.SGD(model.parameters(), 0.1), total_steps=4, storage="csr")
    model = network()
    session = Session(model, method, torch.optim.SGD(model.parameters(), 0.1), total_steps=4, storage="auto")
    session.backward(torch.randn(8, 3, 8, 8), torch.arange(8) % 4)
    session.step()
    assert {decision.layer for decision in session.part(Weights).store.decisions} == {"6"}


def test_a_patch_embedding_and_grouped_convolutions_are_not_prunable():
    vit = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.Flatten(2), nn.Linear(4, 4))
    assert set(prunable_layers(vit)) == {"2"}
    grouped = nn.Sequential(nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 2, 1))
    assert set(prunable_layers(grouped)) == {"0", "2"}
