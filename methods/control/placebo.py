"""The price of selection alone: dsc computes every statistic, score and fold, and nothing follows from them.

Source: this project. Extra cost: unit statistics and one gram matrix per group and update, on the dense network.
"""

from dataclasses import dataclass

from hundredfold.methods.execution.parts import Part, UnitStatistics
from hundredfold.methods.neurons.dsc import Dsc
from hundredfold.methods.topology import Topology
from hundredfold.methods.views import NetView


@dataclass(frozen=True)
class Placebo(Dsc):
    """Computes the scores of dsc and ignores them."""

    extra_cost = "unit statistics and gram matrices on the dense network"

    def parts(self) -> list[Part]:
        return [UnitStatistics(self, observes=self.observes)]

    def label(self) -> str:
        return self.name()

    def init_topology(self, net: NetView) -> Topology:
        self._schedule().last(net.total_steps)  # refuses a run too short for the stages
        return Topology()

    def update_topology(self, step: int, net: NetView) -> None:
        for unit in net.units.values():
            self.value(unit)
            self.useless(unit, net)
