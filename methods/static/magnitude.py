"""One-shot magnitude pruning: train densely, prune the smallest weights once, train on.

Source: Han et al. 2015, arXiv:1506.02626, with one round; Blalock et al. 2020, arXiv:2003.03033 for the comparison. The
schedule of the learning rate is the recipe's, so that pruned and dense runs take the same steps. Extra cost: one
sorting; the steps before it are dense.
"""

from dataclasses import dataclass
from typing import Literal

from hundredfold.methods.base import Method
from hundredfold.methods.execution.parts import Part, Weights
from hundredfold.methods.options import Fraction, FractionOrZero
from hundredfold.methods.tools.allocation import allocate
from hundredfold.methods.tools.importance import top, top_global
from hundredfold.methods.topology import Topology
from hundredfold.methods.views import NetView


@dataclass(frozen=True)
class Magnitude(Method):
    """Prunes the smallest weights once, in the middle of the run."""

    source = "arXiv:1506.02626"
    extra_cost = "dense steps before pruning"

    density: Fraction = 0.1  # fraction of the prunable weights
    prune_at: FractionOrZero = 0.5  # fraction of the run that is dense
    scope: Literal["global", "layer"] = "global"  # rank over the network or within each layer

    def parts(self) -> list[Part]:
        return [Weights(self)]

    def due(self, step: int, total: int) -> bool:
        return step == min(int(self.prune_at * total), total - 1)

    def update_topology(self, step: int, net: NetView) -> Topology:
        scores = {name: layer.weight.abs() for name, layer in net.layers.items()}
        if self.scope == "layer":
            counts = allocate({name: tuple(score.shape) for name, score in scores.items()}, self.density, "uniform")
            return Topology({name: top(score, counts[name]) for name, score in scores.items()})
        return Topology(top_global(scores, round(self.density * sum(score.numel() for score in scores.values()))))
