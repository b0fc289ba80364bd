"""Early-bird tickets: the mask that pruning would draw is watched while the network trains, and drawn once it settles.

Every `interval` steps the neurons of largest norm are noted; when the last `window` of these masks differ from each
other by less than `distance` (fraction of differing entries), the network is compacted once and training goes on.
Source: You et al. 2020, arXiv:1909.11957, algorithm 1; for transformers Chen et al. 2021, arXiv:2101.00063. Differs:
norms of a neuron's weights stand for the scales of batch norms and their L1 penalty, since these models have none; the
run goes on within its schedule, where the authors start a new one; without a settled mask it is drawn at `latest`.
Extra cost: one ranking per interval; the steps before it are dense.
"""

from dataclasses import dataclass
from itertools import combinations
from typing import Annotated, Any, ClassVar

import torch

from hundredfold.methods.options import Count, FractionOrZero, Within
from hundredfold.methods.static.magnitude_structured import MagnitudeStructured
from hundredfold.methods.topology import Topology
from hundredfold.methods.views import NetView


@dataclass(frozen=True)
class EarlyBird(MagnitudeStructured):
    """Removes neurons once the choice has settled."""

    source = "arXiv:1909.11957"
    extra_cost = "dense steps before pruning, one ranking per interval"
    small: ClassVar[dict[str, Any]] = {"interval": 3, "distance": 0.3}

    interval: Count = 20  # steps between two masks; paper: an epoch
    window: Annotated[int, Within(2, what="a whole number")] = 5  # masks that are compared
    distance: FractionOrZero = 0.1  # largest fraction of entries in which two of them differ
    prune_at: FractionOrZero = 0.5  # fraction of the run at which the mask is drawn at the latest

    def due(self, step: int, total: int) -> bool:
        last = min(int(self.prune_at * total), total - 1)
        return step == last or (0 < step < last and step % self.interval == 0)

    def update_topology(self, step: int, net: NetView) -> Topology | None:
        if any(not bool(unit.alive.all()) for unit in net.units.values()):
            return None  # drawn before
        chosen = self.strongest(net)
        mask = torch.cat(list(chosen.values()))
        masks = torch.cat([net.memory.get("masks", mask[None][:0]), mask[None]])[-self.window :]
        settled = len(masks) == self.window and all(
            float((a != b).float().mean()) < self.distance for a, b in combinations(masks, 2)
        )
        latest = step == min(int(self.prune_at * net.total_steps), net.total_steps - 1)
        return Topology(units=chosen if settled or latest else {}, memory={"masks": masks})
