"""One-shot structured magnitude pruning: train densely, remove whole neurons of small norm once, train the rest on.

A neuron's norm is that of the weights that produce and read it, as a share of its group's mean norm, so that groups are
comparable. Source: Li et al. 2017, arXiv:1608.08710 (filters by the norm of their weights); question of Liu et al.
2019, arXiv:1810.05270. Differs: one ranking over all groups. Extra cost: one ranking; the steps before it are dense.
"""

from dataclasses import dataclass

import torch

from hundredfold.methods.base import Method
from hundredfold.methods.execution.parts import Part, Units
from hundredfold.methods.options import Count, Fraction, FractionOrZero
from hundredfold.methods.tools.unit_choice import Kind, choose_blocks
from hundredfold.methods.topology import Topology
from hundredfold.methods.views import NetView


@dataclass(frozen=True)
class MagnitudeStructured(Method):
    """Removes the neurons with the smallest weights once, in the middle of the run."""

    source = "arXiv:1608.08710"
    extra_cost = "dense steps before pruning"

    density: Fraction = 0.25  # fraction of the hidden neurons
    prune_at: FractionOrZero = 0.5  # fraction of the run that is dense
    floor: FractionOrZero = 0.03  # least fraction of a group
    multiple: Count = 8  # neurons leave in blocks of this many

    def parts(self) -> list[Part]:
        return [Units(self)]

    def due(self, step: int, total: int) -> bool:
        return step == min(int(self.prune_at * total), total - 1)

    def update_topology(self, step: int, net: NetView) -> Topology:
        return Topology(units=self.strongest(net))

    def strongest(self, net: NetView) -> dict[str, torch.Tensor]:
        """The neurons of largest norm: group -> bool [n]."""
        units = {name: unit for name, unit in net.units.items() if unit.kind == "neuron"}
        kind = Kind.of(units, self.density, self.multiple)
        norms = {name: unit.norm / unit.norm[unit.alive].mean().clamp(min=1e-30) for name, unit in units.items()}
        floors = {name: kind.floor(self.floor * unit.size) for name, unit in units.items()}
        alive = {name: unit.alive for name, unit in units.items()}
        return choose_blocks(norms, alive, kind.count(self.density), kind.multiple, floors)
