"""Weights kept by connection sensitivity |g w| of one batch before training, over the whole network.

Source: Lee et al. 2019, arXiv:1810.02340, eq. 5-6; per layer as in RigL's comparison. Differs from the authors' code:
the pruned initialisation is the one that is trained, and biases are never pruned. The batch is the run's first, and it
trains no weight. Extra cost: one forward and dense backward pass; kept small by replacing the first training step.
"""

from dataclasses import dataclass
from typing import Literal

from hundredfold.methods.base import Method
from hundredfold.methods.execution.parts import Gradient, Part, Weights
from hundredfold.methods.options import Fraction
from hundredfold.methods.tools.allocation import allocate
from hundredfold.methods.tools.importance import top, top_global
from hundredfold.methods.topology import Topology
from hundredfold.methods.views import NetView


@dataclass(frozen=True)
class Snip(Method):
    """Keeps the weights with the largest |gradient x weight| of the first batch."""

    source = "arXiv:1810.02340"
    extra_cost = "one forward and dense backward pass"

    density: Fraction = 0.1  # fraction of the prunable weights
    scope: Literal["global", "layer"] = "global"  # rank over the network, or within each layer at Erdos-Renyi densities

    def parts(self) -> list[Part]:
        return [Weights(self, gradient=Gradient.ALL, replaces_step=True)]

    def due(self, step: int, total: int) -> bool:
        return step == 0

    def update_topology(self, step: int, net: NetView) -> Topology:
        scores = {name: (layer.grad * layer.weight).abs() for name, layer in net.layers.items()}
        if self.scope == "layer":
            counts = allocate(net.shapes, self.density, "erk")
            return Topology({name: top(score, counts[name]) for name, score in scores.items()})
        return Topology(top_global(scores, round(self.density * sum(s.numel() for s in scores.values()))))
