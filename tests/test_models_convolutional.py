"""Convolutional models have the published sizes, narrow only inside their blocks and keep what callers choose."""

import pytest
import torch
from torch import nn

from hundredfold.replication import registry
from hundredfold.replication.datasets.base import DataSpec
from hundredfold.replication.models._srelu import SReLU
from hundredfold.replication.models.base import Model
from tests.conformance import CNNS

MODELS = registry.discover("hundredfold.replication.models", Model)
MNIST, CIFAR, IMAGENET = (1, 28, 28), (3, 32, 32), (3, 224, 224)

# Counts as published, or of the reference code that a model names, to the digit where one is known.
SIZES = [
    ("mlp", MNIST, 10, {"widths": (300, 100)}, 266_610),
    ("mlp", CIFAR, 10, {"widths": (4000, 1000, 4000), "activation": "srelu"}, 20_337_010 + 4 * 9000),
    ("airbench", CIFAR, 10, {}, 1.97e6),
    ("lenet5", MNIST, 10, {}, 431_080),
    ("lenet1998", MNIST, 10, {}, 61_706),
    ("resnet", CIFAR, 10, {"depth": 20, "multiplier": 1, "shortcut": "pad"}, 0.27e6),
    ("resnet", CIFAR, 10, {"depth": 32, "multiplier": 1, "shortcut": "pad"}, 0.46e6),
    ("resnet", CIFAR, 10, {"depth": 110, "multiplier": 1, "shortcut": "pad"}, 1.73e6),
    ("wrn", CIFAR, 10, {"depth": 22, "widen": 2}, 1.08e6),
    ("wrn", CIFAR, 10, {"depth": 16, "widen": 8}, 11.0e6),
    ("wrn", CIFAR, 10, {"depth": 28, "widen": 10}, 36.5e6),
    ("wrn", CIFAR, 10, {"depth": 40, "widen": 4}, 8.9e6),
    ("resnet18", CIFAR, 10, {}, 11_173_962),
    ("resnet18", IMAGENET, 1000, {}, 11_689_512),
    ("resnet50", CIFAR, 100, {}, 23_705_252),
    ("resnet50", IMAGENET, 1000, {}, 25_557_032),
    ("vgg", CIFAR, 10, {"depth": 16}, 14.73e6),
    ("vgg", CIFAR, 10, {"depth": 19}, 20.04e6),
    ("vgg", IMAGENET, 1000, {"depth": 16, "head": (4096, 4096), "pool": 7}, 138_365_992),
    ("mobilenet", IMAGENET, 1000, {}, 3_504_872),
    ("vit", IMAGENET, 1000, {"variant": "tiny", "patch": 16, "class_token": True}, 5_717_416),
    ("vit", IMAGENET, 1000, {"variant": "small", "patch": 16, "class_token": True}, 22_050_664),
    ("vit", IMAGENET, 1000, {"variant": "base", "patch": 16, "class_token": True}, 86_567_656),
    ("gpt", (1024,), 50257, {"variant": "small"}, 124_439_808),
    ("gpt", (1024,), 50257, {"variant": "medium"}, 354_823_168),
    ("gpt", (1024,), 50257, {"variant": "large"}, 774_030_080),
    ("gpt", (1024,), 50257, {"variant": "xl"}, 1_557_611_200),
    ("llama", (2048,), 32000, {"variant": "1.1b"}, 1_100_048_384),
    ("llama", (2048,), 32000, {"variant": "7b"}, 6_738_415_616),
]


def build(name, shape=None, width=1.0, classes=10, **options):
    side = max(8, MODELS[name].smallest_image)
    torch.manual_seed(0)
    spec = DataSpec("image", shape or (1, side, side), classes, "accuracy")
    return registry.create("model", MODELS, name, **options).build(spec, width)


def batch(shape, size=4):
    return torch.randn(size, *shape, generator=torch.Generator().manual_seed(1))


def channels(network, prefix=""):
    """Channels in and out of every convolution."""
    found = network.named_modules()
    return {n: (m.in_channels, m.out_channels) for n, m in found if isinstance(m, nn.Conv2d) and n.startswith(prefix)}


@pytest.mark.parametrize(("name", "shape", "classes", "options", "published"), SIZES)
def test_a_published_architecture_has_the_published_number_of_parameters(name, shape, classes, options, published):
    spec = DataSpec("image" if len(shape) == 3 else "text", shape, classes, "accuracy")
    with torch.device("meta"):
        network = registry.create("model", MODELS, name, **options).build(spec)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == (published if isinstance(published, int) else pytest.approx(published, rel=0.02))


@pytest.mark.parametrize("name", ["resnet", "wrn"])
def test_width_scales_the_inner_channels_of_a_residual_block_alone(name):
    full, narrow = (channels(build(name, depth=16 if name == "wrn" else 14, width=width)) for width in (1, 0.5))
    for layer, (inputs, outputs) in full.items():
        expected = {"conv1": (inputs, outputs // 2), "conv2": (inputs // 2, outputs)}
        assert narrow[layer] == expected.get(layer.rpartition(".")[2], (inputs, outputs)), layer


def test_width_scales_the_inner_channels_of_timm_s_blocks_alone():
    for name, last in (("resnet18", "conv2"), ("resnet50", "conv3")):
        full, narrow = (channels(build(name, blocks=(1, 1, 1, 1), channels=16, width=w), "layer") for w in (1, 0.5))
        for layer, (inputs, outputs) in full.items():
            kind = layer.rpartition(".")[2]
            inner_in = inputs // 2 if kind in ("conv2", "conv3") else inputs
            inner_out = outputs // 2 if kind.startswith("conv") and kind != last else outputs
            assert narrow[layer] == (inner_in, inner_out), layer


def test_width_scales_inverted_residuals_and_the_head_of_mobilenet():
    full, narrow = build("mobilenet", multiplier=0.35), build("mobilenet", multiplier=0.35, width=0.5)
    for stage, other in zip(full.blocks[1:], narrow.blocks[1:], strict=True):
        for block, thin in zip(stage, other, strict=True):
            assert thin.conv_pwl.in_channels == pytest.approx(block.conv_pwl.in_channels / 2, abs=4)
            assert thin.conv_dw.groups == thin.conv_dw.in_channels == thin.bn1.num_features == thin.bn2.num_features
            assert thin.conv_pwl.out_channels == block.conv_pwl.out_channels
    assert (full.classifier.in_features, narrow.classifier.in_features) == (1280, 640)
    assert full.conv_stem.out_channels == narrow.conv_stem.out_channels


def test_width_scales_every_hidden_channel_of_a_plain_network():
    assert list(channels(build("small_cnn", channels=(16, 32), width=0.5)).values()) == [(1, 8), (8, 16)]
    assert list(channels(build("lenet5", channels=(16, 48), width=0.5)).values()) == [(1, 8), (8, 24)]
    thin = list(channels(build("vgg", depth=11, channels=16, width=0.5)).values())
    assert thin[:3] == [(1, 8), (8, 16), (16, 32)] and thin[-1] == (64, 64)


@pytest.mark.parametrize("name", CNNS)
def test_channels_last_changes_neither_outputs_nor_gradients(name):
    inputs, gradients = batch((1, 16, 16)).double(), []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        network = build(name, (1, 16, 16), **MODELS[name].small).double().to(memory_format=memory_format)
        network(inputs.contiguous(memory_format=memory_format)).logsumexp(-1).sum().backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", CNNS)
def test_no_activation_overwrites_its_input(name):
    assert not any(getattr(module, "inplace", False) for module in build(name, **MODELS[name].small).modules())


@pytest.mark.parametrize("name", ["small_cnn", "wrn", "resnet18"])
def test_compiling_a_model_keeps_its_outputs(name):
    network = build(name, **MODELS[name].small).eval()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    inputs = batch((1, 8, 8))
    torch.testing.assert_close(compiled(inputs), network(inputs))
    torch._dynamo.reset()


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_small_images_keep_their_resolution_in_the_stem(name):
    small, large = (build(name, (3, side, side), **MODELS[name].small) for side in (64, 65))
    assert small.conv1.kernel_size == (3, 3) and isinstance(small.maxpool, nn.Identity)
    assert large.conv1.kernel_size == (7, 7) and large.maxpool.stride == 2
    chosen = build(name, (3, 32, 32), small_stem=False, **MODELS[name].small)
    assert chosen.conv1.kernel_size == (7, 7)


def test_small_images_are_halved_three_times_by_mobilenet():
    small, large = build("mobilenet", (3, 32, 32), multiplier=0.35), build("mobilenet", (3, 96, 96), multiplier=0.35)
    assert small.forward_features(batch((3, 32, 32))).shape[-2:] == (4, 4)
    assert large.forward_features(batch((3, 96, 96))).shape[-2:] == (3, 3)


def test_every_weight_of_a_fresh_resnet_feels_the_loss():
    network = build("resnet18", **MODELS["resnet18"].small)
    network(batch((1, 8, 8))).logsumexp(-1).sum().backward()
    assert all(block.conv1.weight.grad.abs().sum() > 0 for block in network.layer1)
    network = build("resnet18", zero_init=True, **MODELS["resnet18"].small)
    network(batch((1, 8, 8))).logsumexp(-1).sum().backward()
    assert all(block.conv1.weight.grad.abs().sum() == 0 for block in network.layer1)


def test_a_padded_shortcut_takes_every_other_pixel_and_adds_zero_channels():
    block = build("resnet", depth=8, multiplier=1, shortcut="pad").blocks[1]
    nn.init.zeros_(block.bn2.weight)
    inputs = batch((16, 6, 6)).abs()
    outputs = block(inputs)
    torch.testing.assert_close(outputs[:, 8:24], inputs[:, :, ::2, ::2])
    assert outputs[:, :8].abs().sum() == outputs[:, 24:].abs().sum() == 0


@pytest.mark.parametrize("size", [8, 28, 32])
def test_vgg_reads_images_of_every_usual_size(size):
    network = build("vgg", (1, size, size), **MODELS["vgg"].small)
    assert network(batch((1, size, size))).shape == (4, 10)


def test_lenet_refuses_images_that_its_convolutions_use_up():
    with pytest.raises(ValueError, match="model=lenet5: reads images of 16 pixels a side or more, not 8 x 12"):
        build("lenet5", (1, 8, 12))
    assert build("lenet5", (1, 16, 16))(batch((1, 16, 16))).shape == (4, 10)


def test_lenet_without_relu_after_its_convolutions_is_linear_in_them():
    relus = [sum(isinstance(m, nn.ReLU) for m in build("lenet5", conv_relu=c)) for c in (True, False)]
    assert relus == [3, 1]


def test_srelu_is_the_identity_between_its_thresholds_and_a_line_on_either_side():
    unit = SReLU(1)
    for name, value in (("t_left", -1.0), ("a_left", 0.5), ("t_right", -3.0), ("a_right", 2.0)):
        nn.init.constant_(getattr(unit, name), value)
    inputs = torch.tensor([[-3.0], [-1.0], [0.5], [2.0], [4.0]])  # thresholds -1 and -1 + |-3| = 2
    torch.testing.assert_close(unit(inputs), torch.tensor([[-2.0], [-1.0], [0.5], [2.0], [6.0]]))


def test_the_gradients_of_srelu_are_those_of_finite_differences():
    torch.manual_seed(0)
    unit = SReLU(3).double()
    inputs = (3 * torch.randn(20, 3, dtype=torch.double)).requires_grad_()
    parameters = tuple(unit.parameters())
    names = [name for name, _ in unit.named_parameters()]

    def apply(inputs, *values):
        return torch.func.functional_call(unit, dict(zip(names, values, strict=True)), (inputs,))

    unit.t_left.data.fill_(-0.3)
    assert torch.autograd.gradcheck(apply, (inputs, *parameters))


def test_dropout_stands_behind_every_hidden_activation():
    for name, options in (("mlp", {"widths": (16, 8)}), ("wrn", {"depth": 10, "widen": 1})):
        dropped = [m.p for m in build(name, dropout=0.3, **options).modules() if isinstance(m, nn.Dropout)]
        assert dropped == [0.3] * (2 if name == "mlp" else 3)
        assert not any(isinstance(m, nn.Dropout) for m in build(name, **options).modules())
