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
from typing import Any

import torch
from torch import Tensor

from methods.base import Method, NetView, Topology, UnitView, UpdateSchedule, check_fraction
from methods.unit_choice import choose_blocks

SCORES = ("activation_density", "dead", "group_lasso")


@dataclass(frozen=True)
class NeuronRemoval(Method):
    """Neurons that are dead, penalised away or superfluous leave for good."""

    family = "neurons"
    source = "arXiv:2403.07688; arXiv:1901.09290; arXiv:2002.02949"
    extra_cost = "unit statistics"
    selects = frozenset({"units"})
    needs = frozenset({"unit_statistics"})
    backend = "compact"

    score: str = "activation_density"  # activation_density, dead or group_lasso
    dead: float = 1e-3  # a neuron that fires on fewer tokens is dead
    penalty_strength: float = 1e-3  # of the group lasso
    threshold: float = 0.3  # group lasso: a neuron of less norm than this share of the group's mean leaves
    floor: float = 0.05  # least fraction of a group
    multiple: int = 8  # neurons leave in blocks of this many
    observe_every: int = 10  # steps between observations
    tenth: float = 0.1  # fraction of the run between two reconfigurations
    stop: float = 0.75  # fraction of the run after which no neuron leaves

    def __post_init__(self):
        if self.score not in SCORES:
            raise ValueError(f"score={self.score}: choose one of {', '.join(SCORES)}")
        for name in ("dead", "threshold", "floor"):
            check_fraction(name, getattr(self, name), zero=True)
        check_fraction("tenth", self.tenth)
        check_fraction("stop", self.stop)
        for name in ("multiple", "observe_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: expected 1 or more")
        if self.penalty_strength < 0:
            raise ValueError(f"penalty_strength={self.penalty_strength:g}: expected 0 or more")

    def label(self) -> str:
        return f"neuron_removal {self.score}"

    def due(self, step: int, total: int) -> bool:
        interval = max(1, round(self.tenth * total))
        return step > 0 and UpdateSchedule(interval, 0.0, self.stop).due(step, total)

    def observes(self, step: int, total: int) -> bool:
        return self.score != "group_lasso" and step % self.observe_every == 0 and step < self.stop * total

    def penalty(self, net: Mapping[str, Tensor], units: Mapping[str, Any]) -> Tensor | None:
        if self.score != "group_lasso" or not self.penalty_strength:
            return None
        total = 0.0
        for group in units.values():
            if group.kind == "neuron":
                weights = [(axis, net[f"{axis.module}.weight"]) for axis in group.axes if axis.attribute == "weight"]
                squares = sum(
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
                    units |= choose_blocks({name: order}, {name: unit.alive}, count, size, {name: 0})
        return Topology(units=units) if units else None

    def num_needed(self, unit: UnitView) -> int:
        """Neurons of a group that the score would keep."""
        if self.score == "dead":
            return int((unit.alive & (unit.fires >= self.dead)).sum())
        if self.score == "group_lasso":
            return int((unit.alive & (unit.norm >= self.threshold * unit.norm[unit.alive].mean())).sum())
        return int(torch.ceil(unit.fires[unit.alive].sum()))
