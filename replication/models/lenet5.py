"""LeNet-5 as in Caffe and the pruning literature: two convolutions, two linear layers, 431,080 parameters on MNIST."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from hundredfold.methods.options import Count
from hundredfold.replication.models.base import Model, scaled_neurons


@dataclass(frozen=True)
class Lenet5(Model):
    """Caffe's LeNet-5: 20 and 50 channels of 5 x 5, 500 neurons; torch's default initialisation.

    Caffe's own, and SNIP's, has no ReLU after its convolutions (`conv_relu=false`); most later work has.
    Source: LeCun et al. 1998, doi:10.1109/5.726791; sizes of BVLC Caffe's examples/mnist; Lee et al. 2019,
    arXiv:1810.02340.
    """

    channels: tuple[Count, Count] = (20, 50)
    hidden: Count = 500  # neurons
    conv_relu: bool = True

    kinds: ClassVar[tuple[str, ...]] = ("image",)
    small: ClassVar[dict[str, Any]] = {"channels": (8, 16), "hidden": 32}
    smallest_image: ClassVar[int] = 16  # two valid convolutions of 5 x 5, each halved

    def construct(self, spec, width):
        inputs, height, breadth = spec.input_shape
        first, second = (scaled_neurons(channels, width) for channels in self.channels)
        hidden = scaled_neurons(self.hidden, width)
        sides = [((side - 4) // 2 - 4) // 2 for side in (height, breadth)]
        activation = nn.ReLU if self.conv_relu else nn.Identity
        return nn.Sequential(
            nn.Conv2d(inputs, first, 5),
            activation(),
            nn.MaxPool2d(2),
            nn.Conv2d(first, second, 5),
            activation(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(second * sides[0] * sides[1], hidden),
            nn.ReLU(),
            nn.Linear(hidden, spec.num_classes),
        )
