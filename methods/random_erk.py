"""A random subset of the weights, chosen before the first step and fixed: the null hypothesis of importance.

Source: Mocanu et al. 2018, arXiv:1707.04780 (Erdos-Renyi); Evci et al. 2020, arXiv:1911.11134 (ERK);
Liu et al. 2022, arXiv:2202.02643 (how far random goes). The number of weights is exact where the authors' ports draw
each weight by itself. Extra cost: none.
"""

from collections.abc import Collection
from dataclasses import dataclass

from methods.allocation import DISTRIBUTIONS, allocate
from methods.base import Method, NetView, Topology, check_fraction
from methods.importance import random_scores, top


@dataclass(frozen=True)
class RandomErk(Method):
    """A random subset of the weights, fixed before training."""

    family = "static"
    source = "arXiv:1707.04780; arXiv:1911.11134"
    extra_cost = "none"
    selects = frozenset({"weights"})
    physicality = "masked"

    density: float = 0.1  # fraction of the prunable weights
    distribution: str = "erk"  # over the layers: erk, er or uniform

    def __post_init__(self):
        check_fraction("density", self.density)
        if self.distribution not in DISTRIBUTIONS:
            raise ValueError(f"distribution={self.distribution}: choose one of {', '.join(sorted(DISTRIBUTIONS))}")

    def init_topology(self, net: NetView) -> Topology:
        return self.random(net, self.density)

    def random(self, net: NetView, density: float, names: Collection[str] | None = None) -> Topology:
        """A random subset of the weights of some layers (default all) at a density."""
        names = net.shapes if names is None else names
        counts = allocate({name: net.shapes[name] for name in names}, density, self.distribution)
        weights = {name: net.layers[name].weight for name in names}
        return Topology({name: top(random_scores(w, net.generator), counts[name]) for name, w in weights.items()})
