"""The final units of a finished `dsc` run, trained from their initial values without any change: do dynamics matter?

Source: this project, after Frankle and Carbin 2019, arXiv:1803.03635. Reads the run of `dsc` with the same options and
seed, whose energy is not in this run's: the search comes on top.
"""

from dataclasses import dataclass

from hundredfold.methods.neurons.dsc import Dsc
from hundredfold.methods.topology import Topology
from hundredfold.methods.views import NetView


@dataclass(frozen=True)
class DscFrozen(Dsc):
    """The units that dsc ended with, trained from scratch."""

    source = "this project"
    extra_cost = "the run of dsc that it reads, not in its energy"
    reference = "dsc"

    def due(self, step: int, total: int) -> bool:
        return False

    def num_updates(self, total: int) -> None:
        return None

    def observes(self, step: int, total: int) -> bool:
        return False

    def init_topology(self, net: NetView) -> Topology:
        return Topology(units={name: alive.bool() for name, alive in net.reference.items()})
