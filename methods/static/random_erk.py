"""A random subset of the weights, chosen before the first step and fixed: the null hypothesis of importance.

Source: Mocanu et al. 2018, arXiv:1707.04780 (Erdos-Renyi); Evci et al. 2020, arXiv:1911.11134 (ERK);
Liu et al. 2022, arXiv:2202.02643 (how far random goes). The number of weights is exact where the authors' ports draw
each weight by itself. Extra cost: none.
"""

from collections.abc import Collection
from dataclasses import dataclass

from hundredfold.methods.base import Method
from hundredfold.methods.execution.parts import Part, Weights
from hundredfold.methods.options import Fraction
from hundredfold.methods.tools.allocation import Distribution, allocate
from hundredfold.methods.tools.importance import random_scores, top
from hundredfold.methods.topology import Topology
from hundredfold.methods.views import NetView


@dataclass(frozen=True)
class RandomErk(Method):
    """A random subset of the weights, fixed before training."""

    source = "arXiv:1707.04780; arXiv:1911.11134"
    extra_cost = "none"

    density: Fraction = 0.1  # fraction of the prunable weights
    distribution: Distribution = "erk"  # over the layers

    def parts(self) -> list[Part]:
        return [Weights(self)]

    def init_topology(self, net: NetView) -> Topology:
        return self.random(net, self.density)

    def random(self, net: NetView, density: float, names: Collection[str] | None = None) -> Topology:
        """A random subset of the weights of some layers (default all) at a density."""
        names = net.shapes if names is None else names
        counts = allocate({name: net.shapes[name] for name in names}, density, self.distribution)
        weights = {name: net.layers[name].weight for name in names}
        return Topology({name: top(random_scores(w, net.generator), counts[name]) for name, w in weights.items()})
