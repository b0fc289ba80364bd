"""Layers stop training from the bottom up on a schedule: a negative control of selection, since it looks at nothing.

Block i of n freezes at a fraction of the run between `start` and `stop`, in proportion to its depth; the last never.
What lies before the first block freezes with it, so that its backward pass ends there. Without residual blocks the
linear layers count as blocks. Source: Brock et al. 2017, arXiv:1706.04983 (FreezeOut). Differs: a layer's learning rate
is that of the recipe until it freezes, not annealed to zero on its own. Extra cost: none.
"""

from dataclasses import dataclass

from hundredfold.methods.base import Method
from hundredfold.methods.execution.parts import Frozen, Part
from hundredfold.methods.options import Fraction, FractionOrZero
from hundredfold.methods.topology import Topology, UpdateSchedule
from hundredfold.methods.views import NetView


@dataclass(frozen=True)
class LayerFreeze(Method):
    """Layers freeze from the bottom up on a schedule."""

    source = "arXiv:1706.04983"

    start: FractionOrZero = 0.5  # fraction of the run at which the first block freezes
    stop: Fraction = 1.0  # fraction of the run at which the last block would
    update: UpdateSchedule = UpdateSchedule(interval=10, start=0.0, stop=1.0)

    def __post_init__(self):
        super().__post_init__()
        if self.start >= self.stop:
            raise ValueError(f"start={self.start}, stop={self.stop}: expected start < stop")

    def parts(self) -> list[Part]:
        return [Frozen(self)]

    def num_frozen(self, done: float, blocks: int) -> int:
        """Frozen blocks when a fraction `done` of the run has passed."""
        times = [self.start + (self.stop - self.start) * i / blocks for i in range(blocks - 1)]
        return sum(time <= done for time in times)

    def update_topology(self, step: int, net: NetView) -> Topology | None:
        before, now = (
            self.num_frozen((s + 1) / net.total_steps, len(net.blocks)) for s in (step - self.update.interval, step)
        )
        return Topology(frozen=frozenset(net.stem) | frozenset(net.blocks[:now])) if now != before else None
