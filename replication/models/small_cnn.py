"""A small strong convolutional network for images of 28 x 28 or 32 x 32 pixels, cheap enough for processor cores."""

import itertools
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from hundredfold.methods.options import Count
from hundredfold.replication.models._convolution import init_he
from hundredfold.replication.models.base import Model, scaled_neurons


@dataclass(frozen=True)
class SmallCnn(Model):
    """Convolution, norm and ReLU per stage, halving the image before the next one, then the mean over pixels.

    Source: this project; He initialisation (arXiv:1502.01852).
    """

    channels: tuple[Count, ...] = (16, 32, 64, 128)  # of the stages

    kinds: ClassVar[tuple[str, ...]] = ("image",)
    small: ClassVar[dict[str, Any]] = {"channels": (8, 16)}

    def __post_init__(self):
        super().__post_init__()
        if not self.channels:
            raise ValueError("channels=[]: expected at least one stage, such as [16, 32]")

    def construct(self, spec, width):
        sizes = [spec.input_shape[0], *(scaled_neurons(channels, width) for channels in self.channels)]
        layers = []
        for index, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
            if index:
                layers.append(nn.MaxPool2d(2, ceil_mode=True))
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(sizes[-1], spec.num_classes)]
        return init_he(nn.Sequential(*layers, *head))
