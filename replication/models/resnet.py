"""CIFAR's ResNet: a 3 x 3 stem and three stages of 6n+2 layers, 32 of them and twice as wide by default."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import nn

from hundredfold.methods.options import Count
from hundredfold.replication.models._convolution import Block, PadShortcut, init_he
from hundredfold.replication.models.base import Model, scaled_neurons


class ResidualBlock(Block):
    """Convolution, norm, ReLU, convolution, norm, plus the shortcut, then ReLU."""

    def __init__(self, inputs, inner, outputs, stride, shortcut):
        super().__init__(inputs, inner, outputs, stride)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Identity()
        if inputs != outputs and shortcut == "pad":
            self.downsample = PadShortcut(outputs - inputs, stride)
        elif inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(outputs))
        self.act2 = nn.ReLU()

    def forward(self, x):
        return self.act2(self.bn2(self.inner(x)) + self.downsample(x))


@dataclass(frozen=True)
class Resnet(Model):
    """CIFAR's ResNet-6n+2 with batch norm.

    Defaults are the ResNet-32 of the pruning literature (Wang et al. 2020, arXiv:2002.07376): twice the channels, and
    projections as shortcuts; `multiplier=1 shortcut=pad` is the original.
    Source: He et al. 2015, arXiv:1512.03385, section 4.2.
    """

    depth: Count = 32  # layers, 6n + 2
    multiplier: Count = 2  # of the 16, 32 and 64 channels of the three stages
    shortcut: Literal["projection", "pad"] = "projection"  # where the number of channels changes

    kinds: ClassVar[tuple[str, ...]] = ("image",)
    small: ClassVar[dict[str, Any]] = {"depth": 8, "multiplier": 1}

    def __post_init__(self):
        super().__post_init__()
        if self.depth < 8 or self.depth % 6 != 2:
            raise ValueError(f"depth={self.depth}: expected 6n + 2 layers, such as 8, 20, 32, 56 or 110")

    def construct(self, spec, width):
        first, blocks = 16 * self.multiplier, []
        inputs = first
        for index in range((self.depth - 2) // 2):
            stage, place = divmod(index, (self.depth - 2) // 6)
            outputs, stride = first * 2**stage, 2 if stage and not place else 1
            blocks.append(ResidualBlock(inputs, scaled_neurons(outputs, width), outputs, stride, self.shortcut))
            inputs = outputs
        layers = OrderedDict(
            conv=nn.Conv2d(spec.input_shape[0], first, 3, padding=1, bias=False),
            bn=nn.BatchNorm2d(first),
            act=nn.ReLU(),
            blocks=nn.Sequential(*blocks),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            fc=nn.Linear(inputs, spec.num_classes),
        )
        return init_he(nn.Sequential(layers))
