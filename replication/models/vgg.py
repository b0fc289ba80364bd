"""VGG with batch norm: 3 x 3 convolutions in five stages, with CIFAR's or ImageNet's head."""

import itertools
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import nn

from hundredfold.methods.options import Count, Probability
from hundredfold.replication.models._convolution import init_he
from hundredfold.replication.models.base import Model, scaled_neurons
from hundredfold.replication.pretrained import load_weights

STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}  # convolutions


@dataclass(frozen=True)
class Vgg(Model):
    """VGG with batch norm, a linear layer on the pooled channels (CIFAR's head), timm's initialisation.

    ImageNet's head, which reads 7 x 7 pixels, is head=[4096, 4096] pool=7 dropout=0.5.
    Source: Simonyan and Zisserman 2014, arXiv:1409.1556.
    """

    depth: Literal[11, 13, 16, 19] = 19  # layers of the original
    channels: Count = 64  # of the first stage; the others have 2, 4, 8 and 8 times as many
    head: tuple[Count, ...] = ()  # hidden neurons between the channels and the classes
    pool: Count = 1  # side of the map that the head reads
    dropout: Probability = 0.0  # of the head's hidden neurons
    weights: str | None = None  # .safetensors file of timm's vgg16_bn and the like

    kinds: ClassVar[tuple[str, ...]] = ("image",)
    small: ClassVar[dict[str, Any]] = {"depth": 11, "channels": 8}

    def construct(self, spec, width):
        inputs, layers = spec.input_shape[0], []
        for repeats, factor in zip(STAGES[self.depth], (1, 2, 4, 8, 8), strict=True):
            outputs = scaled_neurons(factor * self.channels, width)
            for _ in range(repeats):
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
                inputs = outputs
            layers.append(nn.MaxPool2d(2, ceil_mode=True))  # rounded up, so that 28 x 28 pixels last for five stages
        sizes = [inputs * self.pool**2, *(scaled_neurons(neurons, width) for neurons in self.head)]
        layers += [nn.AdaptiveAvgPool2d(self.pool), nn.Flatten()]
        for fan_in, fan_out in itertools.pairwise(sizes):
            layers += [nn.Linear(fan_in, fan_out), nn.ReLU(), nn.Dropout(self.dropout)]
        network = init_he(nn.Sequential(*layers, nn.Linear(sizes[-1], spec.num_classes)))
        linear = [name for name, layer in network.named_children() if isinstance(layer, nn.Linear)]
        for name in linear:
            nn.init.normal_(network.get_submodule(name).weight, std=0.01)
            nn.init.zeros_(network.get_submodule(name).bias)
        if self.weights is not None:
            load_weights(network, self.weights, head=linear[-1], convert=lambda state: _from_timm(state, linear))
        return network


def _from_timm(state, linear):
    """Rename timm's weights to the numbers of the layers; the hidden head is left out where the network has none.

    Args:
        linear: names of the network's linear layers.
    """
    sources = ["pre_logits.fc1", "pre_logits.fc2", "head.fc"] if len(linear) == 3 else ["head.fc"]
    names = dict(zip(sources, linear, strict=True))
    renamed = {}
    for key, value in state.items():
        layer, _, kind = key.rpartition(".")
        if layer in names:  # timm's hidden layers are convolutions of the whole map
            renamed[f"{names[layer]}.{kind}"] = value.flatten(1) if kind == "weight" else value
        elif not key.startswith("pre_logits."):
            renamed[key.removeprefix("features.")] = value
    return renamed
