"""Dense, sparse, dense: a sparse phase in the middle of dense training, for accuracy and not for energy.

The smallest weights of every layer are pruned, the rest trains on, and in the last phase the missing ones return from
zero. Source: Han et al. 2017, arXiv:1607.04381, algorithm 1: 30 to 50 % of the weights pruned. Differs: the three
phases share one schedule of the learning rate, where the paper adds the last two to a finished training, the last one
at a tenth of the rate. Extra cost: none beside dense training.
"""

from dataclasses import dataclass

import torch

from hundredfold.methods.base import Method
from hundredfold.methods.execution.parts import Part, Weights
from hundredfold.methods.options import Fraction
from hundredfold.methods.tools.allocation import allocate
from hundredfold.methods.tools.importance import top
from hundredfold.methods.topology import Topology
from hundredfold.methods.views import NetView


@dataclass(frozen=True)
class Dsd(Method):
    """Trains densely, sparsely and densely again."""

    source = "arXiv:1607.04381"

    sparse_density: Fraction = 0.7  # fraction of a layer's weights in the sparse phase
    sparse_from: Fraction = 0.4  # fraction of the run
    sparse_until: Fraction = 0.7  # fraction of the run

    def __post_init__(self):
        super().__post_init__()
        if self.sparse_from >= self.sparse_until:
            raise ValueError(
                f"sparse_from={self.sparse_from:g}, sparse_until={self.sparse_until:g}: expected the first to be less"
            )

    def parts(self) -> list[Part]:
        return [Weights(self)]

    def density_at(self, step: int, total: int) -> float:
        """Fraction of the weights after a step."""
        return self.sparse_density if int(self.sparse_from * total) <= step < int(self.sparse_until * total) else 1.0

    def due(self, step: int, total: int) -> bool:
        return step in (int(self.sparse_from * total), int(self.sparse_until * total))

    def update_topology(self, step: int, net: NetView) -> Topology:
        if self.density_at(step, net.total_steps) == 1:
            return Topology({name: torch.ones_like(layer.active) for name, layer in net.layers.items()})
        shapes = {name: tuple(layer.weight.shape) for name, layer in net.layers.items()}
        counts = allocate(shapes, self.sparse_density, "uniform")
        return Topology({name: top(layer.weight.abs(), counts[name]) for name, layer in net.layers.items()})
