"""LeNet-5 as it was drawn in 1998, with rectifiers and maxima: three convolutions, two linear layers."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from hundredfold.methods.options import Count
from hundredfold.replication.models.base import Model, scaled_neurons


@dataclass(frozen=True)
class Lenet1998(Model):
    """The LeNet-5 of the paper, padded to its 32 x 32 pixels; torch's default initialisation; 61,706 parameters.

    The third convolution sees the whole image and is written as the linear layer that it is.
    Source: LeCun et al. 1998, doi:10.1109/5.726791, with ReLU and maxima as in github.com/jsalbert/biotorch, whose last
    two layers have no activation between them (`last_relu=false`).
    """

    channels: tuple[Count, Count] = (6, 16)
    widths: tuple[Count, Count] = (120, 84)  # neurons
    last_relu: bool = True  # between the last two layers

    kinds: ClassVar[tuple[str, ...]] = ("image",)
    small: ClassVar[dict[str, Any]] = {"channels": (8, 8), "widths": (32, 16)}
    smallest_image: ClassVar[int] = 12  # two convolutions of 5 x 5, the first padded by 2, each halved

    def construct(self, spec, width):
        inputs, height, breadth = spec.input_shape
        first, second = (scaled_neurons(channels, width) for channels in self.channels)
        third, fourth = (scaled_neurons(neurons, width) for neurons in self.widths)
        sides = [(side // 2 - 4) // 2 for side in (height, breadth)]
        return nn.Sequential(
            nn.Conv2d(inputs, first, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(first, second, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(second * sides[0] * sides[1], third),
            nn.ReLU(),
            nn.Linear(third, fourth),
            nn.ReLU() if self.last_relu else nn.Identity(),
            nn.Linear(fourth, spec.num_classes),
        )
