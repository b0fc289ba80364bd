"""meProp whose rarely chosen neurons leave the network for good.

Source: Sun et al. 2017, arXiv:1711.06528 (meSimp). Differs: the activeness of a neuron is its Taylor score, an average
of |h dL/dh|, in place of a count of how often its gradient was among the largest; neurons leave in blocks. Extra cost:
as meprop, and unit statistics of observed steps.
"""

from dataclasses import dataclass

import torch

from hundredfold.methods.execution.parts import Part, Units
from hundredfold.methods.options import Count, FractionOrZero
from hundredfold.methods.selective.meprop import Meprop
from hundredfold.methods.tools.unit_choice import top_units
from hundredfold.methods.topology import Topology, UpdateSchedule
from hundredfold.methods.views import NetView


@dataclass(frozen=True)
class Mesimp(Meprop):
    """meProp whose rarely chosen neurons leave for good."""

    source = "arXiv:1711.06528"
    extra_cost = "sorting output gradients, unit statistics"
    outcome = True

    threshold: FractionOrZero = 0.1  # a neuron of less activeness than this share of the group's mean leaves
    floor: FractionOrZero = 0.05  # least fraction of a group
    multiple: Count = 8  # neurons leave in blocks of this many
    observe_every: Count = 10  # steps between observations
    update: UpdateSchedule = UpdateSchedule(interval=100, start=0.1, stop=0.75)

    def __post_init__(self):
        super().__post_init__()
        if self.scope != "batch":
            raise ValueError(f"scope={self.scope}: mesimp shrinks tensors and works with scope=batch alone")

    def parts(self) -> list[Part]:
        return [*super().parts(), Units(self, observes=self.observes)]

    def observes(self, step: int, total: int) -> bool:
        return step % self.observe_every == 0 and step < self.update.stop * total

    def update_topology(self, step: int, net: NetView) -> Topology:
        units = {}
        for name, unit in net.units.items():
            size = self.multiple if unit.size % self.multiple == 0 else 1
            if unit.kind != "neuron" or not bool((unit.observed[unit.alive] >= 3).all()):
                continue
            active = unit.alive & (unit.importance >= self.threshold * unit.importance[unit.alive].mean())
            least = max(int(active.sum()), int(self.floor * unit.size), 1)
            count = -(-least // size) * size
            units[name] = top_units(unit.importance, unit.alive, count)
        changed = any(not torch.equal(alive, net.units[name].alive) for name, alive in units.items())
        return Topology(units=units) if changed else None
