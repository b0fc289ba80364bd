"""Lottery tickets: train, prune a fifth of what is left, put the rest back to its early values, and again.

Every round trains for the whole schedule and is charged. After the last one the ticket's own training ends the run.
Source: Frankle and Carbin 2019, arXiv:1803.03635; rewinding to an early step: Frankle et al. 2020, arXiv:1912.05671.
Differs: the fraction that leaves per round follows from the density and the number of rounds (the paper: 20 %), and the
output layer is pruned like the others. Extra cost: all rounds but the last.
"""

from dataclasses import dataclass
from typing import Annotated

from hundredfold.methods.base import Method
from hundredfold.methods.execution.parts import Part, Rewind, Weights
from hundredfold.methods.options import CountOrZero, Fraction, Within
from hundredfold.methods.tools.importance import top_global
from hundredfold.methods.topology import Topology
from hundredfold.methods.views import NetView


@dataclass(frozen=True)
class Lottery(Method):
    """Prunes over several whole trainings, with rewinding."""

    source = "arXiv:1803.03635"
    extra_cost = "a whole training per round"

    density: Fraction = 0.1  # fraction of the prunable weights at the end
    rounds: Annotated[int, Within(1, 100, what="a whole number")] = 3  # prunings; paper: as many as 20 % each take
    rewind_step: CountOrZero = 0  # step of the first round whose weights every round starts from

    def parts(self) -> list[Part]:
        return [Rewind(self, self.rewind_step), Weights(self)]

    def positions(self, steps: int) -> list[int]:
        if self.rewind_step >= steps:
            raise ValueError(f"rewind_step={self.rewind_step}: expected less than the {steps} steps of a round")
        return [*range(steps), *list(range(self.rewind_step, steps)) * self.rounds]

    def _round(self, step: int, total: int) -> int | None:
        """Number of the round that ends with a step, from 1; None if none does or it is the last."""
        length = (total - self.rewind_step) // (self.rounds + 1)
        done, rest = divmod(step + 1 - self.rewind_step, length)
        return done if rest == 0 and 1 <= done <= self.rounds else None

    def due(self, step: int, total: int) -> bool:
        return self._round(step, total) is not None

    def density_at(self, step: int, total: int) -> float:
        """Density after the update of a step: the same fraction leaves in every round."""
        done = (step + 1 - self.rewind_step) * (self.rounds + 1) // (total - self.rewind_step)
        return self.density ** (min(done, self.rounds) / self.rounds)

    def update_topology(self, step: int, net: NetView) -> Topology:
        scores = {name: layer.weight.abs().masked_fill(~layer.active, -1) for name, layer in net.layers.items()}
        total = sum(score.numel() for score in scores.values())
        kept = top_global(scores, round(self.density_at(step, net.total_steps) * total))
        return Topology(kept, rewind=True)
