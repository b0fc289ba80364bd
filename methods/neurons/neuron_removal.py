"""Neurons leave for good while the network trains, by one of three published signs that they are not needed.

`dead`: those that no longer fire (DemP). `group_lasso`: a penalty on the norm of every neuron's weights drives some to
zero, and the network is reconfigured each tenth of the run (PruneTrain). `activation_density`: a layer shrinks to its
width times the fraction of its activations that are not zero. Tensors really shrink; how far is an outcome. Source:
Dufort-Labbe et al. 2024, arXiv:2403.07688; Lym et al. 2019, arXiv:1901.09290; Foldy-Porto et al. 2020,
arXiv:2002.02949. Differs: DemP's noise and its regularised batch norms are left out; a neuron leaves by its norm over
the group's mean where PruneTrain compares with 1e-4, and the penalty has a fixed strength where PruneTrain derives it
from the first losses; activation density removes the least important neurons and keeps the others' weights, where the
authors start again. Neurons that are never exactly zero (GELU, SiLU) are neither dead nor thin out. Extra cost: unit
statistics of observed steps; none for the group lasso, which reads the weights alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from hundredfold.methods.base import Method
from hundredfold.methods.execution.parts import Part, Penalty, Units
from hundredfold.methods.options import Count, Fraction, FractionOrZero, Strength
from hundredfold.methods.tools.unit_choice import top_units
from hundredfold.methods.topology import Topology, UpdateSchedule
from hundredfold.methods.views import NetView, UnitView


@dataclass(frozen=True)
class NeuronRemoval(Method):
    """Neurons that are dead, penalised away or superfluous leave for good."""

    source = "arXiv:2403.07688; arXiv:1901.09290; arXiv:2002.02949"
    extra_cost = "unit statistics"
    outcome = True

    score: Literal["activation_density", "dead", "group_lasso"] = "activation_density"
    dead: FractionOrZero = 1e-3  # a neuron that fires on fewer tokens is dead
    penalty_strength: Strength = 1e-3  # of the group lasso
    threshold: FractionOrZero = 0.3  # group lasso: a neuron of less norm than this share of the group's mean leaves
    floor: FractionOrZero = 0.05  # least fraction of a group
    multiple: Count = 8  # neurons leave in blocks of this many
    observe_every: Count = 10  # steps between observations
    tenth: Fraction = 0.1  # fraction of the run between two reconfigurations
    stop: Fraction = 0.75  # fraction of the run after which no neuron leaves

    def parts(self) -> list[Part]:
        units = Units(self, observes=self.observes)
        lasso = self.score == "group_lasso" and self.penalty_strength
        return [Penalty(self, self.penalty), units] if lasso else [units]

    def label(self) -> str:
        return f"neuron_removal {self.score}"

    def due(self, step: int, total: int) -> bool:
        interval = max(1, round(self.tenth * total))
        return step > 0 and UpdateSchedule(interval, 0.0, self.stop).due(step, total)

    def observes(self, step: int, total: int) -> bool:
        return self.score != "group_lasso" and step % self.observe_every == 0 and step < self.stop * total

    def penalty(self, net: Mapping[str, Tensor], units: Mapping[str, Any]) -> Tensor | None:
        total: Any = 0.0
        for group in units.values():
            if group.kind == "neuron":
                weights = [(axis, net[f"{axis.module}.weight"]) for axis in group.axes if axis.attribute == "weight"]
                squares: Any = sum(
                    weight.square().transpose(0, axis.dim).flatten(1).sum(1).view(-1, axis.index.shape[1]).sum(1)
                    for axis, weight in weights
                    if weight.ndim > 1
                )
                total = total + (squares + 1e-12).sqrt().sum()
        return self.penalty_strength * total

    def update_topology(self, step: int, net: NetView) -> Topology | None:
        units = {}
        for name, unit in net.units.items():
            known = self.score == "group_lasso" or bool((unit.observed[unit.alive] >= 1).all())
            if unit.kind == "neuron" and known:
                size = self.multiple if unit.size % self.multiple == 0 else 1
                wanted = max(self.num_needed(unit), self.floor * unit.size, 1)
                count = -(-int(wanted) // size) * size
                if count < int(unit.alive.sum()):
                    order = unit.norm if self.score == "group_lasso" else unit.importance * (unit.fires >= self.dead)
                    units[name] = top_units(order, unit.alive, count)
        return Topology(units=units) if units else None

    def num_needed(self, unit: UnitView) -> int:
        """Neurons of a group that the score would keep."""
        if self.score == "dead":
            return int((unit.alive & (unit.fires >= self.dead)).sum())
        if self.score == "group_lasso":
            return int((unit.alive & (unit.norm >= self.threshold * unit.norm[unit.alive].mean())).sum())
        return int(torch.ceil(unit.fires[unit.alive].sum()))
