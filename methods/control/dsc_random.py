"""The random twin of `dsc`: the same schedule, sizes, kernels and probes; what units are ranked by is dealt out anew.

Source: this project, as `random_twin`. Extra cost: as `dsc`, less the gram matrices.
"""

from dataclasses import dataclass, replace

import torch

from hundredfold.methods.control.random_twin import twin_view
from hundredfold.methods.neurons.dsc import Dsc
from hundredfold.methods.topology import Topology
from hundredfold.methods.views import NetView


@dataclass(frozen=True)
class DscRandom(Dsc):
    """The schedule of dsc with random choices: does importance matter?"""

    source = "this project"
    extra_cost = "as dsc, less the gram matrices"
    twin_of = "dsc"

    def init_topology(self, net: NetView) -> Topology:
        seed = torch.randint(2**62, (), generator=net.generator)
        return replace(super().init_topology(net), memory={"twin": seed})

    def update_topology(self, step: int, net: NetView) -> Topology:
        return super().update_topology(step, twin_view(net))
