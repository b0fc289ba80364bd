"""RigL or SET with long exploration: rarer, larger updates over the whole run, until most weights were tried once.

Whether a weight has ever existed is remembered as `ever.<layer>`; `explored` gives the fraction that has, the in-time
over-parameterisation rate R_s. Source: Liu et al. 2021, arXiv:2102.02887, sections 3-4. As in the authors' code growth
reads the gradient of a batch that also takes its optimizer step, and the fraction falls to 0.005 over the whole run, so
that the topology never freezes. Differs: the number of weights is exact, theirs is drawn weight by weight.
Extra cost: the dense weight gradient of every layer at update steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from hundredfold.methods.dynamic.set import Set
from hundredfold.methods.execution.parts import Gradient, Part, Weights
from hundredfold.methods.options import FractionOrZero
from hundredfold.methods.tools.schedules import cosine, progress
from hundredfold.methods.topology import Topology, UpdateSchedule
from hundredfold.methods.views import LayerView, NetView


def explored(memory: Mapping[str, Tensor]) -> float:
    """Fraction of the prunable weights that have existed at some time, R_s."""
    masks = [mask for name, mask in memory.items() if name.startswith("ever.")]
    return sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)


@dataclass(frozen=True)
class RiglItop(Set):
    """RigL that explores longer, over-parameterised in time."""

    source = "arXiv:2102.02887"
    extra_cost = "dense weight gradients at update steps"
    updates_at_zero = False

    drop: FractionOrZero = 0.5  # fraction of a layer's active weights, annealed to `least`
    update: UpdateSchedule = UpdateSchedule(interval=500, start=0.0, stop=1.0)  # paper: 4000 (SET: 1500) of 97,700
    least: float = 0.005  # fraction at the end
    grow: Literal["gradient", "random"] = "gradient"  # RigL-ITOP or SET-ITOP

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.least <= self.drop:
            raise ValueError(f"least={self.least:g}: expected a fraction between 0 and drop={self.drop:g}")

    def parts(self) -> list[Part]:
        return [Weights(self, gradient=Gradient.ALL if self.grow == "gradient" else Gradient.NONE)]

    def fraction_at(self, step: int, total: int) -> float:
        return self.least + cosine(progress(step, 0, self.update.stop * total), self.drop - self.least)

    def grow_score(self, layer: LayerView, net: NetView) -> Tensor:
        return layer.grad.abs() if self.grow == "gradient" else super().grow_score(layer, net)

    def init_topology(self, net: NetView) -> Topology:
        active = super().init_topology(net).active
        return Topology(active, memory={f"ever.{name}": mask for name, mask in active.items()})

    def update_topology(self, step: int, net: NetView) -> Topology:
        active = super().update_topology(step, net).active
        ever = {f"ever.{name}": mask | net.memory[f"ever.{name}"] for name, mask in active.items()}
        return Topology(active, memory=ever)
