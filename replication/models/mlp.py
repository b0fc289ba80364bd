"""A plain multilayer perceptron: the smallest model with prunable neurons."""

import itertools
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from replication.models.base import Model, scaled_neurons


@dataclass(frozen=True)
class Mlp(Model):
    """Multilayer perceptron with ReLU, torch's default initialisation."""

    widths: tuple[int, ...] = (1024, 1024)  # hidden neurons per layer

    kinds: ClassVar[tuple[str, ...]] = ("image",)

    def __post_init__(self):
        if any(width < 1 for width in self.widths):
            raise ValueError(f"widths={list(self.widths)}: expected at least 1 neuron in every hidden layer")

    def construct(self, spec, width):
        channels, height, breadth = spec.input_shape
        sizes = [channels * height * breadth, *(scaled_neurons(hidden, width) for hidden in self.widths)]
        hidden = [(nn.Linear(fan_in, fan_out), nn.ReLU()) for fan_in, fan_out in itertools.pairwise(sizes)]
        return nn.Sequential(nn.Flatten(), *itertools.chain(*hidden), nn.Linear(sizes[-1], spec.num_classes))
