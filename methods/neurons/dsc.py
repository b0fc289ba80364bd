"""Dynamic selective computation: the viral text taken at its word, physically.

Every hidden neuron and attention head is scored by the activations of the training step itself; those of least
importance per unit of cost leave, candidates from the reservoir are probed and grown, tensors really shrink. Stages
as fractions of the run: seed (a random set), explore (`widen` x the target) to `explore`, contract (cubic) to
`contract`, then the network is frozen and trained like any small dense one.

Source: this project; Taylor score of Molchanov et al. 2017, arXiv:1611.06440, eq. 9; growth by the gradient of
outgoing weights after Evci et al. 2022 (GradMax), arXiv:2201.05125. The cost of a unit is modelled by its FLOPs, not
read from a meter, so that equal seeds give equal networks.
Extra cost: averages of observed steps, one gram matrix per group and update, and one step per update that is wider
by the candidates; all inside the measured window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from hundredfold.methods.base import Method
from hundredfold.methods.execution.parts import Part, Units
from hundredfold.methods.options import Count, Fraction, FractionOrZero, Within
from hundredfold.methods.tools.schedules import cosine, cubic, progress
from hundredfold.methods.tools.unit_choice import (
    Kind,
    candidate_scores,
    choose_blocks,
    find_fold,
    keep_valid,
    least_important,
)
from hundredfold.methods.topology import Fold, Topology, UpdateSchedule
from hundredfold.methods.views import NetView, UnitView


@dataclass(frozen=True)
class Dsc(Method):
    """Neurons and heads really leave and return, by importance per cost."""

    source = "this project"
    extra_cost = "unit statistics, one gram matrix per update, wider probe steps"

    density: Fraction = 0.125  # fraction of the hidden neurons at the end
    head_density: Fraction = 1.0  # fraction of the attention heads at the end
    units: Literal["compact", "masked"] = "compact"  # or the same decisions on full tensors, for tests
    interval: Annotated[int, Within(2, what="a whole number")] = 100  # steps between updates
    observe_every: Count = 10  # steps between observations
    explore: FractionOrZero = 0.35  # end of the explore stage, fraction of the run
    contract: FractionOrZero = 0.75  # end of the contract stage, fraction of the run
    widen: Annotated[float, Within(1)] = 2.0  # density of the explore stage over the final one
    regrow: FractionOrZero = 0.3  # fraction of the units that is exchanged per update, annealed to 0
    candidates: Annotated[float, Within(1)] = 3.0  # units probed for each one that is grown
    tail: FractionOrZero = 0.01  # least important units that together carry this share leave, within the budget
    dead: FractionOrZero = 1e-3  # a unit that fires on fewer tokens leaves
    constant: FractionOrZero = 1e-3  # a unit with less variance (over second moment) leaves into the next bias
    duplicate: FractionOrZero = 0.98  # a unit closer than this to another (cosine) merges into it
    floor: FractionOrZero = 0.03  # least fraction of a group
    multiple: Count = 8  # neurons leave and come in blocks of this many
    bonus: float = 0.5  # exploration bonus of the reservoir's order
    rescale: bool = True  # initial outgoing weights as wide as those of a network of the seed's size
    dense_start: FractionOrZero = 0.0  # fraction of the run with every unit, an ablation
    dense_tail: FractionOrZero = 0.0  # fraction of the run with every unit at the end, an ablation
    score: Literal["taylor", "rms", "fires"] = "taylor"  # |h dL/dh|, the rms of h, or how often h is not zero

    def __post_init__(self):
        super().__post_init__()
        if self.density < self.floor:
            raise ValueError(f"density={self.density:g}: below floor={self.floor:g}; lower the floor too")
        if self.contract > 1 - self.dense_tail:
            raise ValueError(f"dense_tail={self.dense_tail:g}: overlaps contract={self.contract:g}; shorten one")
        if self.explore > self.contract:
            raise ValueError(f"explore={self.explore}, contract={self.contract}: explore must end first")

    def parts(self) -> list[Part]:
        return [Units(self, observes=self.observes, compact=self.units == "compact", rescale=self.rescale)]

    # ---- when -------------------------------------------------------------------------------------------------------
    def _schedule(self) -> UpdateSchedule:
        return UpdateSchedule(self.interval, 0.0, self.contract)

    def due(self, step: int, total: int) -> bool:
        """An update at every interval; the step after it judges the candidates."""
        schedule = self._schedule()
        if self.dense_tail and step == int((1 - self.dense_tail) * total):
            return True
        return (step > 0 and schedule.due(step, total)) or (step > 1 and schedule.due(step - 1, total))

    def observes(self, step: int, total: int) -> bool:
        return step % self.observe_every == 0 and step <= self.contract * total

    def density_at(self, step: int, total: int, target: float) -> float:
        """Fraction of the units of one kind at a step, candidates under probe left out."""
        if target == 1 or step < self.dense_start * total:
            return 1.0
        done = progress(step, self.explore * total, self._schedule().last(total))
        return cubic(done, min(1.0, self.widen * target), target)

    # ---- what -------------------------------------------------------------------------------------------------------
    def value(self, unit: UnitView, net: NetView) -> Tensor:
        """Worth of every unit, [n]: importance per cost; heads have no single output and keep the Taylor score."""
        if self.score == "rms" and unit.second is not None:
            return unit.second.sqrt() / unit.cost
        return (unit.fires if self.score == "fires" and unit.kind == "neuron" else unit.importance) / unit.cost

    def probe_value(self, unit: UnitView, net: NetView) -> Tensor:
        """Worth of candidates after one step, [n]: how much the loss wants their outgoing weights, per cost."""
        return unit.outgoing_grad / unit.cost

    def useless(self, unit: UnitView, net: NetView) -> tuple[Tensor, Fold | None]:
        """Units that can leave without a loss, bool [n], and the fold that makes it so."""
        fold, flops = find_fold(unit, self.constant, self.duplicate)
        net.charge(flops)
        dead = unit.alive & (unit.observed >= 3) & (unit.fires < self.dead)
        return dead | (fold.twin >= 0) | (fold.constant != 0) | least_important(unit, self.tail), fold

    def init_topology(self, net: NetView) -> Topology:
        self._schedule().last(net.total_steps)  # refuses a run too short for the stages
        alive = {}
        for kind in self._kinds(net):
            values = {name: torch.rand(unit.size, generator=net.generator) for name, unit in kind.units.items()}
            count = kind.count(self.density_at(0, net.total_steps, kind.target))
            even = {name: kind.floor(unit.size * count // kind.total) for name, unit in kind.units.items()}
            while sum(even.values()) > count:  # small groups round up to a block
                even[max(even, key=even.__getitem__)] -= kind.multiple
            everything = {name: unit.alive for name, unit in kind.units.items()}
            alive |= choose_blocks(values, everything, count, kind.multiple, even)
        return Topology(units=alive)

    def update_topology(self, step: int, net: NetView) -> Topology:
        if self.dense_tail and step >= int((1 - self.dense_tail) * net.total_steps):
            return Topology(units={name: torch.ones(unit.size, dtype=torch.bool) for name, unit in net.units.items()})
        units, folds = {}, {}
        for kind in self._kinds(net):
            if self._schedule().due(step, net.total_steps):
                part = self._leave(kind, step, net)
            else:
                part = self._judge(kind, step - 1, net)
            units |= part.units
            folds |= part.folds
        return Topology(units=units, folds=folds)

    def _kinds(self, net: NetView) -> list[Kind]:
        targets = {"neuron": self.density, "head": self.head_density}
        kinds = [
            Kind.of({name: u for name, u in net.units.items() if u.kind == kind}, target, self.multiple)
            for kind, target in targets.items()
            if target < 1
        ]
        return [kind for kind in kinds if kind.units]

    def _leave(self, kind: Kind, step: int, net: NetView) -> Topology:
        """Units leave; candidates come to be probed by the next step."""
        total = net.total_steps
        budget = kind.count(self.density_at(step, total, kind.target))
        if budget == kind.total:
            return Topology(units={name: torch.ones(u.size, dtype=torch.bool) for name, u in kind.units.items()})
        found = {name: self.useless(unit, net) for name, unit in kind.units.items()}
        values = {name: self.value(unit, net).masked_fill(found[name][0], -1.0) for name, unit in kind.units.items()}
        share = cosine(progress(step, 0, self._schedule().last(total)), self.regrow)
        num_useless = sum(int(flags.sum()) for flags, _ in found.values())
        num_grown = max(share * budget, min(num_useless, budget / 2)) if share > 0 else 0.0
        num_grown = min(num_grown, sum(int((~unit.alive).sum()) for unit in kind.units.values()))
        floors = {name: kind.floor(self.floor * unit.size) for name, unit in kind.units.items()}
        count = max(budget - int(num_grown / kind.multiple) * kind.multiple, sum(floors.values()))
        kept = choose_blocks(values, {name: u.alive for name, u in kind.units.items()}, count, kind.multiple, floors)
        folds = {name: keep_valid(fold, kept[name]) for name, (_, fold) in found.items() if fold is not None}
        return Topology(units=self._with_candidates(kind, kept, budget, net), folds=folds)

    def _with_candidates(self, kind: Kind, kept: dict[str, Tensor], budget: int, net: NetView) -> dict[str, Tensor]:
        missing = budget - sum(int(mask.sum()) for mask in kept.values())
        count = int(self.candidates * missing / kind.multiple) * kind.multiple
        scores = {name: candidate_scores(unit, self.bonus, net.generator) for name, unit in kind.units.items()}
        reservoir = {name: ~unit.alive for name, unit in kind.units.items()}
        chosen = choose_blocks(scores, reservoir, count, kind.multiple, dict.fromkeys(kept, 0))
        return {name: mask | chosen[name] for name, mask in kept.items()}

    def _judge(self, kind: Kind, step: int, net: NetView) -> Topology:
        """The candidates of update `step` that the loss wants most stay, up to its budget."""
        if not any(bool(unit.new.any()) for unit in kind.units.values()):
            return Topology()
        settled = {name: unit.alive & ~unit.new for name, unit in kind.units.items()}
        new = {name: unit.alive & unit.new for name, unit in kind.units.items()}
        budget = kind.count(self.density_at(step, net.total_steps, kind.target))
        values = {name: self.probe_value(unit, net) for name, unit in kind.units.items()}
        missing = budget - sum(int(mask.sum()) for mask in settled.values())
        won = choose_blocks(values, new, missing, kind.multiple, dict.fromkeys(settled, 0))
        return Topology(units={name: mask | won[name] for name, mask in settled.items()})
