"""Channels of convolutions leave and return with their batch norm, weights, moments and running statistics."""

import copy

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from hundredfold.methods.execution.loss import cross_entropy
from hundredfold.methods.execution.session import Session
from hundredfold.methods.execution.units.groups import find_units
from hundredfold.methods.execution.units.store import UnitStore
from hundredfold.methods.neurons.neuron_removal import NeuronRemoval
from hundredfold.methods.tools.importance import top
from hundredfold.replication.config import registry
from hundredfold.replication.datasets.base import DataSpec
from hundredfold.replication.registry import create
from tests.conformance import CNNS
from tests.test_conv import selective

IMAGE = DataSpec("image", (3, 16, 16), 10, "accuracy")
X = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
Y = torch.arange(6)


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


class Head(nn.Module):
    """Two convolutions, a way from images to rows of numbers, two linear layers."""

    def __init__(self, reshape, inputs):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.hidden, self.output, self.reshape = nn.Linear(inputs, 6), nn.Linear(6, 2), reshape

    def forward(self, x):
        x = torch.tanh(self.conv2(F.relu(self.conv1(x))))
        return self.output(F.gelu(self.hidden(self.reshape(x))))


@pytest.mark.parametrize(
    "reshape, inputs, width",
    [
        (lambda x: torch.flatten(x, 1), 256, 64),
        (lambda x: x.flatten(start_dim=1), 256, 64),
        (lambda x: x.view(x.size(0), -1), 256, 64),
        (lambda x: x.reshape((x.shape[0], -1)), 256, 64),
        (lambda x: x.mean((2, 3)), 4, 1),
        (lambda x: torch.mean(x, dim=[-2, -1]), 4, 1),
        (lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1), 4, 1),
        (lambda x: F.max_pool2d(x, 4).flatten(1), 16, 4),
        (lambda x: x, 8, None),  # reads the last dimension, whose entries are pixels
        (lambda x: x.flatten(2), 64, None),
        (lambda x: x.view(x.size(0), 256), 256, None),  # the size could not follow the channels
        (lambda x: x.mean(1).flatten(1), 64, None),
        (lambda x: x.mean((2, 3), keepdim=True).mean(3).flatten(1), 4, None),  # right, and not recognised
    ],
)
def test_a_linear_layer_reads_channels_only_of_flattened_images(reshape, inputs, width):
    model = Head(reshape, inputs)
    x = torch.randn(2, 3, 8, 8)
    before = model(x)
    groups = find_units(model)
    assert set(groups) == {"conv2", "output"} | ({"hidden"} if width else set())
    if width:
        assert groups["hidden"].size == 4 and groups["hidden"].width == width
    store = UnitStore(model, groups, compact=True)
    for name, group in groups.items():
        store.set_alive(name, half(group, 0), None, None)
    assert model(x).shape == before.shape


class Around(nn.Module):
    """A network around a sequence, whose own forward pass a tracer cannot follow."""

    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        return self.body(x) if float(x.sum()) < 1e9 else x


@pytest.mark.slow
def test_parts_of_a_model_that_does_not_trace_are_followed():
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    assert set(find_units(Around(Around(body)))) == {"body.body.2"}
    assert set(find_units(timm.create_model("vgg11_bn", num_classes=10))) == {
        f"features.{index}" for index in (4, 8, 11, 15, 18, 22, 25)
    }


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.again, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return self.last(self.again(torch.relu(self.again(torch.relu(self.first(x))))))


class NamedLikeACall(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.relu, self.last = nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return self.last(self.relu(self.first(x)))


def shared_weight():
    model = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(0), nn.Identity())
    model[2].weight = model[0].weight
    return model


def with_weight_norm():
    return nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.ReLU(), nn.Conv2d(4, 2, 3))


@pytest.mark.parametrize("make", [Twice, NamedLikeACall, shared_weight, with_weight_norm])
def test_layers_whose_channels_cannot_leave_form_no_group(make):
    assert find_units(make()) == {}


def test_hidden_neurons_of_a_forward_pass_written_by_hand_are_found():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1, self.fc2, self.fc3 = nn.Linear(8, 12), nn.Linear(12, 6), nn.Linear(6, 2)

        def forward(self, x):
            return self.fc3(torch.relu(self.fc2(torch.tanh(self.fc1(x)))))

    assert {name: group.size for name, group in find_units(Net()).items()} == {"fc2": 12, "fc3": 6}


def test_dead_channels_stay_dead_behind_an_activation_that_is_not_zero_at_zero():
    results = []
    for compact in (True, False):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Sigmoid(), nn.Conv2d(8, 8, 3, bias=False),
            nn.BatchNorm2d(8, affine=False), nn.Sigmoid(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10),
        )  # fmt: skip
        optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
        store = UnitStore(model, find_units(model), compact=compact)
        for step in range(6):
            if step in (1, 3):
                for seed, (name, group) in enumerate(store.groups.items()):
                    store.set_alive(name, half(group, seed + step), None, optimizer)
            cross_entropy(model, X, Y, "mean").backward()
            optimizer.step()
            optimizer.zero_grad()
        results.append(model.eval()(X))
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("operands", [False, True])
def test_channels_leave_and_return_under_selected_weights(operands):
    plain = build("small_cnn").eval()
    wrapped = copy.deepcopy(plain)
    for model in (plain, wrapped):
        if model is wrapped:
            for name, conv in list(model.named_children()):
                if isinstance(conv, nn.Conv2d):
                    setattr(model, name, selective(conv, None, operands))
        store = UnitStore(model, find_units(model), compact=True)
        for seed, (name, group) in enumerate(store.groups.items()):
            store.set_alive(name, half(group, seed), None, None)
            store.set_alive(name, half(group, seed + 9), None, None)
    assert len(store.groups) == 2
    torch.testing.assert_close(wrapped(X), plain(X), rtol=1e-4, atol=1e-5)


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
        model = build(name).double()  # in float32 six steps amplify what kernels round
        optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.0)
        store = UnitStore(model, find_units(model), compact=compact)
        for step in range(6):
            if step in (1, 3):
                for seed, (group_name, group) in enumerate(store.groups.items()):
                    store.set_alive(group_name, half(group, seed + step), None, optimizer)
            cross_entropy(model, X.double(), Y, "mean").backward()
            optimizer.step()
            optimizer.zero_grad()
        results.append(model.eval()(X.double()))
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-6)


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
    assert all(float(view.importance.sum()) > 0 for view in views)
    assert session.executed_flops < 24 * max(cost.executed for cost in session.accounts.costs.values()) + 1


def test_group_lasso_reads_every_weight_of_a_channel():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3))
    penalty = NeuronRemoval(score="group_lasso").penalty(dict(model.named_parameters()), find_units(model))
    squares = model[0].weight.square().sum((1, 2, 3)) + model[3].weight.square().sum((0, 2, 3))
    expected = NeuronRemoval(score="group_lasso").penalty_strength * squares.sqrt().sum()
    torch.testing.assert_close(penalty, expected, rtol=1e-4, atol=1e-6)


def test_a_block_that_is_the_whole_model_has_its_units():
    block = timm.layers.Mlp(8, 16, 8)
    assert set(find_units(block)) == {"fc2"}
    attention = timm.models.vision_transformer.Attention(8, 2)
    assert set(find_units(attention)) == {"proj"}


def test_layers_beside_attention_are_followed_too():
    class Hybrid(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 8, 3))
            self.attention = timm.models.vision_transformer.Attention(8, 2)
            self.head = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2))

        def forward(self, x):
            return self.head(self.attention(self.stem(x).flatten(2).transpose(1, 2)).mean(1))

    groups = find_units(Hybrid())
    assert list(groups) == ["stem.2", "attention.proj", "head.2"]
    assert [group.kind for group in groups.values()] == ["neuron", "head", "neuron"]
