"""Wide residual network: norms and ReLUs before the convolutions, many channels, few layers."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from hundredfold.methods.options import Count, Probability
from hundredfold.replication.models._convolution import Block, init_he
from hundredfold.replication.models.base import Model, scaled_neurons


class WideBlock(Block):
    """Norm, ReLU, convolution, norm, ReLU, dropout, convolution, plus the shortcut."""

    def __init__(self, inputs, inner, outputs, stride, dropout):
        super().__init__(inputs, inner, outputs, stride, dropout)
        self.bn0 = nn.BatchNorm2d(inputs)
        self.act0 = nn.ReLU()
        self.downsample = None if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x):
        ready = self.act0(self.bn0(x))
        shortcut = x if self.downsample is None else self.downsample(ready)
        return self.inner(ready) + shortcut


@dataclass(frozen=True)
class Wrn(Model):
    """Wide residual network WRN-depth-widen.

    The default is RigL's WRN-22-2 (arXiv:1911.11134); WRN-16-8, 22-8, 28-2 and 28-10 are other published sizes.
    Source: Zagoruyko and Komodakis 2016, arXiv:1605.07146.
    """

    depth: Count = 22  # layers, 6n + 4
    widen: Count = 2  # times the 16, 32 and 64 channels of the three stages
    dropout: Probability = 0.0  # between the convolutions of a block; the authors' 0.3 is without augmentation

    kinds: ClassVar[tuple[str, ...]] = ("image",)
    small: ClassVar[dict[str, Any]] = {"depth": 10, "widen": 1}

    def __post_init__(self):
        super().__post_init__()
        if self.depth < 10 or self.depth % 6 != 4:
            raise ValueError(f"depth={self.depth}: expected 6n + 4 layers, such as 10, 16, 22, 28 or 40")

    def construct(self, spec, width):
        inputs, blocks = 16, []
        for index in range((self.depth - 4) // 2):
            stage, place = divmod(index, (self.depth - 4) // 6)
            outputs, stride = 16 * self.widen * 2**stage, 2 if stage and not place else 1
            blocks.append(WideBlock(inputs, scaled_neurons(outputs, width), outputs, stride, self.dropout))
            inputs = outputs
        layers = OrderedDict(
            conv=nn.Conv2d(spec.input_shape[0], 16, 3, padding=1, bias=False),
            blocks=nn.Sequential(*blocks),
            bn=nn.BatchNorm2d(inputs),
            act=nn.ReLU(),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            fc=nn.Linear(inputs, spec.num_classes),
        )
        return init_he(nn.Sequential(layers))
