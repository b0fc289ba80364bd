"""Alternating compressed and decompressed training: sparse and dense phases take turns.

After a dense warm-up, phases of equal length alternate: a compressed one starts by keeping the largest weights of the
whole network, a decompressed one lets every weight train, those that were missing from zero. The last decompressed
phase is longer, and so is the compressed one that ends the run. Source: Peste et al. 2021, arXiv:2106.12379, algorithm
1 and section 4: of 100 epochs 10 are dense at first, phases take 5, the last dense one 10, and the final 15 are sparse.
Differs: moments of weights that stay are kept at decompression, where the authors reset all of them.
Extra cost: a sorting per phase; half of the steps are dense.
"""

from dataclasses import dataclass

import torch

from hundredfold.methods.base import Method
from hundredfold.methods.execution.parts import Part, Weights
from hundredfold.methods.options import Fraction, FractionOrZero
from hundredfold.methods.tools.importance import top_global
from hundredfold.methods.topology import Topology
from hundredfold.methods.views import NetView


@dataclass(frozen=True)
class Acdc(Method):
    """Sparse and dense phases take turns."""

    source = "arXiv:2106.12379"
    extra_cost = "half of the steps are dense"
    outcome = True

    density: Fraction = 0.1  # fraction of the prunable weights in compressed phases
    warmup: FractionOrZero = 0.1  # fraction of the run that is dense at first
    phase: Fraction = 0.05  # length of a phase, fraction of the run
    last_dense: FractionOrZero = 0.1  # length of the last decompressed phase, fraction of the run
    finish: FractionOrZero = 0.85  # fraction of the run after which the network stays compressed

    def __post_init__(self):
        super().__post_init__()
        if self.warmup + self.last_dense > self.finish:
            raise ValueError(
                f"finish={self.finish:g}: expected warmup={self.warmup:g} and last_dense={self.last_dense:g} before it"
            )

    def parts(self) -> list[Part]:
        return [Weights(self)]

    def compressed(self, step: int, total: int) -> bool:
        """Whether a step trains the sparse network."""
        done = step / total + 1e-9
        if done >= self.finish or done < self.warmup:
            return done >= self.finish
        return done < self.finish - self.last_dense and int((done - self.warmup) / self.phase) % 2 == 0

    def due(self, step: int, total: int) -> bool:
        return self.compressed(step + 1, total) != self.compressed(step, total)

    def density_at(self, step: int, total: int) -> float:
        """The density after an update at this step."""
        return self.density if self.compressed(step + 1, total) else 1.0

    def init_topology(self, net: NetView) -> Topology:
        if self.phase * net.total_steps < 1:
            raise ValueError(f"phase={self.phase:g}: less than one of {net.total_steps} steps; use longer phases")
        return self._topology(net, self.compressed(0, net.total_steps))

    def update_topology(self, step: int, net: NetView) -> Topology:
        return self._topology(net, self.compressed(step + 1, net.total_steps))

    def _topology(self, net: NetView, compressed: bool) -> Topology:
        scores = {name: layer.weight.abs() for name, layer in net.layers.items()}
        if not compressed:
            return Topology({name: torch.ones_like(score, dtype=torch.bool) for name, score in scores.items()})
        return Topology(top_global(scores, round(self.density * sum(score.numel() for score in scores.values()))))
