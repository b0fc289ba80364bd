"""RigL or SET with long exploration: rarer, larger updates over the whole run, until most weights were tried once.

The in-time over-parameterisation rate, the fraction of all weights that ever existed, is remembered as `ever.<layer>`.
Source: Liu et al. 2021, arXiv:2102.02887, sections 3-4: drop 0.5, cosine over the whole run, an update every 4000 steps
(RigL) or 1500 (SET) of 97,700; here the interval is shorter in proportion to usual runs. As in the authors' code growth
reads the gradient of a batch that also takes its optimizer step. Differs: the number of weights is exact, theirs is
drawn weight by weight. Extra cost: the dense weight gradient of every layer at update steps.
"""

from dataclasses import dataclass

from torch import Tensor

from methods.base import LayerView, NetView, Topology, UpdateSchedule
from methods.importance import random_scores
from methods.schedules import cosine, progress
from methods.set import Set


@dataclass(frozen=True)
class RiglItop(Set):
    """RigL that explores longer, in time over-parameterised."""

    source = "arXiv:2102.02887"
    extra_cost = "dense weight gradients at update steps"

    drop: float = 0.5  # fraction of a layer's active weights, annealed to `least`
    least: float = 0.005  # fraction at the end, so that the topology never freezes
    grow: str = "gradient"  # gradient (RigL-ITOP) or random (SET-ITOP)
    update: UpdateSchedule = UpdateSchedule(interval=500, start=0.0, stop=1.0)

    def __post_init__(self):
        super().__post_init__()
        if self.grow not in ("gradient", "random"):
            raise ValueError(f"grow={self.grow}: choose one of gradient, random")

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"dense_grad"} if self.grow == "gradient" else ())

    def fraction_at(self, step: int, total: int) -> float:
        return self.least + cosine(progress(step, 0, self.update.stop * total), max(self.drop - self.least, 0.0))

    def grow_score(self, layer: LayerView, net: NetView) -> Tensor:
        return layer.grad.abs() if self.grow == "gradient" else random_scores(layer.weight, net.generator)

    def init_topology(self, net: NetView) -> Topology:
        return self._with_ever(super().init_topology(net), {})

    def update_topology(self, step: int, net: NetView) -> Topology:
        return self._with_ever(super().update_topology(step, net), net.memory)

    def _with_ever(self, topology: Topology, memory) -> Topology:
        ever = {f"ever.{name}": mask | memory.get(f"ever.{name}", mask) for name, mask in topology.active.items()}
        return Topology(topology.active, memory=ever)
