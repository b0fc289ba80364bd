"""Dynamic selective computation: the viral text taken at its word, physically.

Every hidden neuron and attention head is scored by the activations of the training step itself; the least important of
each layer leave, and tensors really shrink. Stages as fractions of the run: a random set of `widen` times the target to
`explore`, contraction (cubic) to `contract`, then the network is frozen and trained like any small dense one. Every
layer has the same density, that of the equally small dense network. With `regrow`, candidates from the reservoir are
probed by the next step, and those whose outgoing weights the loss wants most take the places of others; what came is
not judged before it has trained for an interval. Regrowth has not won anywhere, so that leaving only is the default.

Source: this project; Taylor score of Molchanov et al. 2017, arXiv:1611.06440, eq. 9; growth by the gradient of
outgoing weights after Evci et al. 2022 (GradMax), arXiv:2201.05125.
Extra cost: averages of observed steps, one gram matrix per group and update, and with regrowth one step per update that
is wider by the candidates; all inside the measured window.
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
from hundredfold.methods.tools.unit_choice import block_size, candidate_scores, find_fold, keep_valid, top_units, whole
from hundredfold.methods.topology import Fold, Topology, UpdateSchedule
from hundredfold.methods.views import NetView, UnitView


@dataclass(frozen=True)
class Dsc(Method):
    """Neurons and heads really leave, and return, by importance."""

    source = "this project"
    extra_cost = "unit statistics, one gram matrix per update; with regrowth wider probe steps"

    density: Fraction = 0.125  # fraction of every layer's hidden neurons at the end
    head_density: Fraction = 1.0  # fraction of the attention heads at the end
    units: Literal["compact", "masked"] = "compact"  # or the same decisions on full tensors, for tests
    interval: Annotated[int, Within(2, what="a whole number")] = 100  # steps between updates
    observe_every: Count = 10  # steps between observations
    explore: FractionOrZero = 0.1  # end of the explore stage, fraction of the run
    contract: FractionOrZero = 0.5  # end of the contract stage, fraction of the run
    widen: Annotated[float, Within(0, low_open=True)] = 2.0  # density at first over the final one; below 1 it grows
    regrow: FractionOrZero = 0.0  # fraction of the units that is exchanged per update, annealed to 0
    candidates: Annotated[float, Within(1)] = 3.0  # units probed for each one that is grown
    dead: FractionOrZero = 1e-3  # a unit that fires on fewer tokens leaves first
    constant: FractionOrZero = 1e-3  # a unit with less variance (over second moment) leaves into the next bias
    duplicate: FractionOrZero = 0.98  # a unit closer than this to another (cosine) merges into it
    multiple: Count = 8  # neurons leave and come in blocks of this many
    bonus: float = 0.5  # exploration bonus of the reservoir's order
    rescale: bool = True  # initial outgoing weights as wide as those of a network of the seed's size
    dense_start: FractionOrZero = 0.0  # fraction of the run with every unit, an ablation
    dense_tail: FractionOrZero = 0.0  # fraction of the run with every unit at the end, an ablation
    score: Literal["taylor", "rms", "fires"] = "taylor"  # |h dL/dh|, the rms of h, or how often h is not zero

    def __post_init__(self):
        super().__post_init__()
        if self.contract > 1 - self.dense_tail:
            raise ValueError(f"dense_tail={self.dense_tail:g}: overlaps contract={self.contract:g}; shorten one")
        if self.explore > self.contract:
            raise ValueError(f"explore={self.explore}, contract={self.contract}: explore must end first")

    def label(self) -> str:
        kinds = (["regrowth"] if self.regrow else []) + (["growing"] if self.widen < 1 else [])
        return super().label() + (f" ({', '.join(kinds)})" if kinds else "")

    def parts(self) -> list[Part]:
        return [Units(self, observes=self.observes, compact=self.units == "compact", rescale=self.rescale)]

    # ---- when -------------------------------------------------------------------------------------------------------
    def _schedule(self) -> UpdateSchedule:
        return UpdateSchedule(self.interval, 0.0, self.contract)

    @property
    def grows(self) -> bool:
        return self.regrow > 0 or self.widen < 1

    def due(self, step: int, total: int) -> bool:
        """An update at every interval; the step after it judges the candidates."""
        schedule = self._schedule()
        if self.dense_tail and step == int((1 - self.dense_tail) * total):
            return True
        judges = self.grows and step > 1 and schedule.due(step - 1, total)
        return (step > 0 and schedule.due(step, total)) or judges

    def num_updates(self, total: int) -> int:
        return sum(step > 0 and self._schedule().due(step, total) for step in range(total))

    def observes(self, step: int, total: int) -> bool:
        return step % self.observe_every == 0 and step <= self.contract * total

    def density_at(self, step: int, total: int, target: float) -> float:
        """Fraction of the units of one kind at a step, candidates under probe left out."""
        if target == 1 or step < self.dense_start * total:
            return 1.0
        done = progress(step, self.explore * total, self._schedule().last(total))
        return cubic(done, min(1.0, self.widen * target), target)

    # ---- what -------------------------------------------------------------------------------------------------------
    def value(self, unit: UnitView) -> Tensor:
        """Worth of every unit of a layer, [n]; heads have no single output and keep the Taylor score."""
        if self.score == "rms" and unit.second is not None:
            return unit.second.sqrt()
        return unit.fires if self.score == "fires" and unit.kind == "neuron" else unit.importance

    def useless(self, unit: UnitView, net: NetView) -> tuple[Tensor, Fold]:
        """Units that can leave without a loss, bool [n], and the fold that makes it so."""
        fold, flops = find_fold(unit, self.constant, self.duplicate)
        net.charge(flops)
        dead = unit.alive & (unit.observed >= 3) & (unit.fires < self.dead)
        return dead | (fold.twin >= 0) | (fold.constant != 0), fold

    def budget(self, unit: UnitView, step: int, total: int) -> int:
        """Units of a group that exist after an update, in whole blocks."""
        target = self.density if unit.kind == "neuron" else self.head_density
        return whole(self.density_at(step, total, target) * unit.size, block_size(unit, self.multiple))

    def init_topology(self, net: NetView) -> Topology:
        self._schedule().last(net.total_steps)  # refuses a run too short for the stages
        alive = {}
        for name, unit in self._selected(net).items():
            values = torch.rand(unit.size, generator=net.generator)
            count = self.budget(unit, 0, net.total_steps)
            alive[name] = top_units(values, unit.alive, count)
        return Topology(units=alive)

    def update_topology(self, step: int, net: NetView) -> Topology:
        units = self._selected(net)
        if self.dense_tail and step >= int((1 - self.dense_tail) * net.total_steps):
            return Topology(units={name: torch.ones(unit.size, dtype=torch.bool) for name, unit in units.items()})
        if not self._schedule().due(step, net.total_steps):
            return Topology(units={name: self._judge(unit, step - 1, net) for name, unit in units.items()})
        alive, folds, memory = {}, {}, {}
        for name, unit in units.items():
            came = net.memory.get(f"came/{name}", torch.full((unit.size,), -self.interval))
            fresh = unit.alive & (came > step - 2 * self.interval) & (came >= 0)
            kept, folds[name] = self._leave(unit, fresh, step, net)
            alive[name] = kept | self._candidates(unit, kept, step, net)
            memory[f"came/{name}"] = torch.where(alive[name] & ~unit.alive, step, came)
        return Topology(units=alive, folds=folds, memory=memory if self.grows else {})

    def _selected(self, net: NetView) -> dict[str, UnitView]:
        targets = {"neuron": self.density, "head": self.head_density}
        return {name: unit for name, unit in net.units.items() if targets[unit.kind] < 1}

    def _leave(self, unit: UnitView, fresh: Tensor, step: int, net: NetView) -> tuple[Tensor, Fold]:
        """Who stays of a group, bool [n], and what those who leave hand over.

        Args:
            fresh: units that came with the last update and are not judged yet, bool [n].
        """
        total, multiple = net.total_steps, block_size(unit, self.multiple)
        budget = self.budget(unit, step, total)
        useless, fold = self.useless(unit, net)
        value = self.value(unit).masked_fill(useless, -1.0).masked_fill(fresh, torch.inf)
        share = cosine(progress(step, 0, self._schedule().last(total)), self.regrow)
        exchanged = min(int(share * budget / multiple) * multiple, int((~unit.alive).sum()))
        kept = top_units(value, unit.alive, budget - exchanged)
        return kept, keep_valid(fold, kept)

    def _candidates(self, unit: UnitView, kept: Tensor, step: int, net: NetView) -> Tensor:
        """Who comes from a group's reservoir to be probed by the next step, bool [n]."""
        multiple = block_size(unit, self.multiple)
        missing = self.budget(unit, step, net.total_steps) - int(kept.sum())
        count = int(self.candidates * missing / multiple) * multiple
        if count <= 0:
            return torch.zeros_like(kept)
        return top_units(candidate_scores(unit, self.bonus, net.generator), ~unit.alive, count)

    def _judge(self, unit: UnitView, step: int, net: NetView) -> Tensor:
        """The candidates of update `step` whose outgoing weights the loss wants most stay, up to its budget."""
        settled = unit.alive & ~unit.new
        missing = self.budget(unit, step, net.total_steps) - int(settled.sum())
        return settled | top_units(unit.outgoing_grad, unit.alive & unit.new, missing)
