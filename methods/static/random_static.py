"""Random weights, fixed before the first step, with the layers' densities as one likes: the null hypothesis, widened.

Source: Liu et al. 2022, arXiv:2202.02643; the first layer dense as in RigL's ERK experiments at 99 % sparsity (Evci et
al. 2020, arXiv:1911.11134). Extra cost: none.
"""

from dataclasses import dataclass

from hundredfold.methods.static.random_erk import RandomErk
from hundredfold.methods.tools.allocation import Distribution
from hundredfold.methods.topology import Topology
from hundredfold.methods.views import NetView


@dataclass(frozen=True)
class RandomStatic(RandomErk):
    """A random subset of the weights, uniform or Erdos-Renyi, with the first layer dense if wanted."""

    source = "arXiv:2202.02643"

    distribution: Distribution = "uniform"  # over the layers
    dense_first: bool = False  # keep the first layer whole; the others make up for it

    def init_topology(self, net: NetView) -> Topology:
        if not self.dense_first:
            return super().init_topology(net)
        first, *others = net.layers
        total = sum(layer.weight.numel() for layer in net.layers.values())
        rest = total - net.layers[first].weight.numel()
        left = round(self.density * total) - net.layers[first].weight.numel()
        if left < 0:
            raise ValueError(
                f"density={self.density:g}: the first layer alone is {1 - rest / total:.3g} of the weights; "
                "use a higher density or dense_first=false"
            )
        whole = net.layers[first].active
        return Topology({first: whole} | dict(self.random(net, left / rest, others).active))
