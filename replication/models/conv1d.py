"""Three convolutions along the rows of an image: the network that MNIST-1D is made for."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from hundredfold.methods.options import Count
from hundredfold.replication.models.base import Model, scaled_neurons


@dataclass(frozen=True)
class Conv1d(Model):
    """Convolutions of 5, 3 and 3 numbers, each with a stride of 2, then a linear layer; torch's own initialisation.

    They are convolutions of two dimensions with kernels one row high, which every method knows.
    Source: Greydanus and Kobak 2024, arXiv:2011.14439; 5,210 parameters with 25 channels on MNIST-1D.
    """

    channels: Count = 25  # of each convolution

    kinds: ClassVar[tuple[str, ...]] = ("image",)
    small: ClassVar[dict[str, Any]] = {"channels": 8}

    def construct(self, spec, width):
        channels = scaled_neurons(self.channels, width)
        layers = []
        for inputs, kernel in ((spec.input_shape[0], 5), (channels, 3), (channels, 3)):
            layers += [nn.Conv2d(inputs, channels, (1, kernel), stride=(1, 2), padding=(0, 1)), nn.ReLU()]
        body = nn.Sequential(*layers, nn.Flatten())
        with torch.no_grad():
            features = body(torch.zeros(1, *spec.input_shape)).shape[1]
        return nn.Sequential(*body, nn.Linear(features, spec.num_classes))
