"""A plain multilayer perceptron: the smallest model with prunable neurons."""

import itertools
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import nn

from hundredfold.methods.options import Count, Probability
from hundredfold.replication.models._srelu import SReLU
from hundredfold.replication.models.base import Model, scaled_neurons

ACTIVATIONS = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}


@dataclass(frozen=True)
class Mlp(Model):
    """Multilayer perceptron, torch's default initialisation.

    LeNet-300-100 has widths [300, 100]; SET's network for CIFAR-10 (arXiv:1707.04780) has widths [4000, 1000, 4000],
    activation srelu and dropout 0.3.
    """

    widths: tuple[Count, ...] = (1024, 1024)  # hidden neurons per layer; none: logistic regression
    activation: Literal["relu", "leaky_relu", "gelu", "silu", "tanh", "srelu"] = "relu"  # srelu learns its thresholds
    dropout: Probability = 0.0  # of every hidden layer's output

    kinds: ClassVar[tuple[str, ...]] = ("image",)
    small: ClassVar[dict[str, Any]] = {"widths": (32, 24)}

    def construct(self, spec, width):
        channels, height, breadth = spec.input_shape
        sizes = [channels * height * breadth, *(scaled_neurons(hidden, width) for hidden in self.widths)]
        layers = [nn.Flatten()]
        for fan_in, fan_out in itertools.pairwise(sizes):
            activation = SReLU(fan_out) if self.activation == "srelu" else ACTIVATIONS[self.activation]()
            layers += [nn.Linear(fan_in, fan_out), activation]
            if self.dropout:
                layers.append(nn.Dropout(self.dropout))
        return nn.Sequential(*layers, nn.Linear(sizes[-1], spec.num_classes))
