"""Channels of convolutions leave and return with their batch norm, weights, moments and running statistics."""

import copy

import pytest
import timm
import torch
from torch import nn

from methods.execution.session import Session, cross_entropy
from methods.execution.unit_store import UnitStore
from methods.execution.units import find_units
from methods.importance import top
from methods.neuron_removal import NeuronRemoval
from replication.config import registry
from replication.datasets.base import DataSpec
from replication.registry import create

IMAGE = DataSpec("image", (3, 16, 16), 10, "accuracy")
X = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
Y = torch.arange(6)
CNNS = ("lenet5", "mobilenet", "resnet", "resnet18", "resnet50", "small_cnn", "vgg", "wrn")


def build(name):
    model = registry("model")[name]
    torch.manual_seed(0)
    return create("model", registry("model"), name, **model.small).build(IMAGE)


def half(group, seed):
    draw = torch.rand(group.size, generator=torch.Generator().manual_seed(seed))
    return top(draw, max(1, group.size // 2))


class PreActivation(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.bn1, self.conv1 = nn.BatchNorm2d(8), nn.Conv2d(8, 12, 3, padding=1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(12), nn.Conv2d(12, 8, 3, padding=1, bias=False)
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.conv2(torch.relu(self.bn2(self.conv1(torch.relu(self.bn1(x))))))
        return self.head(x.mean((2, 3)))


def test_only_channels_inside_a_residual_block_form_a_group():
    groups = find_units(PreActivation())
    assert set(groups) == {"conv2"} and groups["conv2"].size == 12
    assert {(a.module, a.attribute) for a in groups["conv2"].axes} == {
        ("conv1", "weight"), ("bn2", "weight"), ("bn2", "bias"), ("bn2", "running_mean"), ("bn2", "running_var"),
        ("conv2", "weight"),
    }  # fmt: skip


@pytest.mark.parametrize(
    "name, blocks, per_block",
    [("resnet18", 8, 1), ("resnet50", 16, 2)],
)
def test_inner_channels_of_timm_blocks_are_found(name, blocks, per_block):
    groups = find_units(timm.create_model(name, num_classes=10))
    assert len(groups) == blocks * per_block
    assert all(".conv2" in name or ".conv3" in name for name in groups)


def test_a_depthwise_convolution_belongs_to_the_channels_around_it():
    groups = find_units(timm.create_model("mobilenetv2_100", num_classes=10))
    group = groups["blocks.1.0.conv_pwl"]
    assert group.size == 96 and group.resized == {"blocks.1.0.conv_dw": {"groups": 1}}
    assert {a.module.rpartition(".")[2] for a in group.axes} == {"conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl"}


def test_a_channel_that_is_flattened_owns_its_pixels():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4), nn.Conv2d(4, 6, 1), nn.Flatten(), nn.Linear(96, 10)
    )
    group = find_units(model)["5"]
    assert group.size == 6 and group.width == 16
    assert torch.equal(group.axes[-1].index[1], torch.arange(16, 32))


@pytest.mark.parametrize("name", CNNS)
@pytest.mark.parametrize("training", [False, True])
def test_compact_computes_what_masked_does(name, training):
    masked = build(name).train(training)
    compact = copy.deepcopy(masked)
    full = sum(p.numel() for p in masked.parameters())
    for model, is_compact in ((masked, False), (compact, True)):
        torch.manual_seed(0)
        store = UnitStore(model, find_units(model), compact=is_compact)
        for seed, (group_name, group) in enumerate(store.groups.items()):
            store.set_alive(group_name, half(group, seed), None, None)
    torch.testing.assert_close(compact(X), masked(X), rtol=1e-3, atol=1e-4)
    assert sum(p.numel() for p in compact.parameters()) < full and store.num_zeroed() == 0


@pytest.mark.parametrize("name", ["small_cnn", "resnet18", "mobilenet"])
def test_growth_does_not_change_the_function_and_restores_every_shape(name):
    model = build(name).to(memory_format=torch.channels_last).eval()
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    store = UnitStore(model, find_units(model), compact=True)
    for seed, (group_name, group) in enumerate(store.groups.items()):
        store.set_alive(group_name, half(group, seed), None, None)
    before = model(X)
    for group_name, group in store.groups.items():
        store.set_alive(group_name, torch.ones(group.size, dtype=torch.bool), None, None)
    torch.testing.assert_close(model(X), before, rtol=1e-3, atol=1e-4)
    assert {key: value.shape for key, value in model.state_dict().items()} == shapes
    weights = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1)]
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)


@pytest.mark.parametrize("name", ["small_cnn", "wrn", "mobilenet"])
def test_compact_and_masked_training_agree(name):
    results = []
    for compact in (True, False):
        model = build(name)
        optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.0)
        store = UnitStore(model, find_units(model), compact=compact)
        for step in range(6):
            if step in (1, 3):
                for seed, (group_name, group) in enumerate(store.groups.items()):
                    store.set_alive(group_name, half(group, seed + step), None, optimizer)
            cross_entropy(model, X, Y, "mean").backward()
            optimizer.step()
            optimizer.zero_grad()
        results.append(model.eval()(X))
    torch.testing.assert_close(results[0], results[1], rtol=1e-2, atol=1e-3)


def test_a_session_trains_measures_and_resumes_channels():
    method = registry("method")["dsc"](density=0.5, interval=4, observe_every=2)

    def start():
        model = build("small_cnn")
        optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
        return model, optimizer, Session(model, method, optimizer, total_steps=24)

    def run(model, optimizer, session, stop):
        while session.step_index < stop:
            session.backward(X, Y)
            session.step()
            optimizer.zero_grad()

    model, optimizer, session = start()
    run(model, optimizer, session, 12)
    again, other, resumed = start()
    resumed.load_state_dict(copy.deepcopy(session.state_dict()))
    again.load_state_dict(copy.deepcopy(model.state_dict()))
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    run(model, optimizer, session, 24)
    run(again, other, resumed, 24)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), again.buffers(), strict=True))
    views = session.view().units.values()
    assert all(float(view.importance.sum()) > 0 and view.cost > 0 for view in views)
    assert session.executed_flops < 24 * max(cost.executed for cost in session.costs.values()) + 1


def test_a_unit_of_many_pixels_costs_more():
    model = build("small_cnn")
    store = UnitStore(model, find_units(model), compact=True)
    before = {name: store.unit_cost(name) for name in store.groups}
    model(X)
    after = {name: store.unit_cost(name) for name in store.groups}
    first = next(iter(after))
    assert after[first] > 50 * before[first]


def test_group_lasso_reads_every_weight_of_a_channel():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3))
    penalty = NeuronRemoval(score="group_lasso").penalty(dict(model.named_parameters()), find_units(model))
    squares = model[0].weight.square().sum((1, 2, 3)) + model[3].weight.square().sum((0, 2, 3))
    expected = NeuronRemoval(score="group_lasso").penalty_strength * squares.sqrt().sum()
    torch.testing.assert_close(penalty, expected, rtol=1e-4, atol=1e-6)
