"""Always sparse, forward and backward: the largest weights compute, a larger set of them is trained.

Per layer the forward pass and the input gradient use the `density` largest weights (A); the weight gradient covers the
`density + extra` largest (B), so that weights just outside A can grow into it. Every weight keeps its value. Weights
of A are pulled to zero by the recipe's weight decay, those of B outside A harder, by 1 / density.
Source: Jayakumar et al. 2020, arXiv:2106.03517, sections 2.1-2.3. Differs: A and B are chosen anew every `interval`
steps (the paper: every step; it reports no loss at 100), and the harder pull is applied at those steps.
Extra cost: sorting at update steps, and the products of B.
"""

from dataclasses import dataclass

from methods.allocation import DISTRIBUTIONS, allocate
from methods.base import Method, NetView, Topology, UpdateSchedule, check_fraction
from methods.importance import top


@dataclass(frozen=True)
class TopKast(Method):
    """Computes with the largest weights and trains a larger set."""

    family = "dynamic"
    source = "arXiv:2106.03517"
    extra_cost = "sorting at update steps"
    selects = frozenset({"weights"})
    physicality = "masked"
    keeps_weights = True

    density: float = 0.1  # fraction of the weights that compute
    extra: float = 0.1  # further fraction that is trained; paper: backward sparsity 80 % for forward 90 %
    distribution: str = "uniform"  # over the layers: erk, er or uniform
    decay: float = 1e-4  # exploration L2 on weights that are trained only, times learning rate and 1 / density
    update: UpdateSchedule = UpdateSchedule(interval=10, start=0.0, stop=1.0)

    def __post_init__(self):
        check_fraction("density", self.density)
        check_fraction("extra", self.extra, zero=True)
        if self.distribution not in DISTRIBUTIONS:
            raise ValueError(f"distribution={self.distribution}: choose one of {', '.join(sorted(DISTRIBUTIONS))}")
        if self.decay < 0:
            raise ValueError(f"decay={self.decay:g}: expected a strength, 0 or more")

    def init_topology(self, net: NetView) -> Topology:
        return self._choose(net)

    def update_topology(self, step: int, net: NetView) -> Topology:
        pull = self.update.interval * net.learning_rate * self.decay / self.density
        values = {
            name: layer.weight * (1 - pull * (layer.trained & ~layer.active).to(layer.weight.dtype))
            for name, layer in net.layers.items()
        }
        return self._choose(net, values)

    def _choose(self, net: NetView, values=None) -> Topology:
        shapes = {name: tuple(layer.weight.shape) for name, layer in net.layers.items()}
        few = allocate(shapes, self.density, self.distribution)
        more = allocate(shapes, min(self.density + self.extra, 1.0), self.distribution)
        magnitude = {name: (values or {}).get(name, layer.weight).abs() for name, layer in net.layers.items()}
        active = {name: top(size, few[name]) for name, size in magnitude.items()}
        trained = {name: active[name] | top(size, more[name]) for name, size in magnitude.items()}
        return Topology(active, trained, values=values or {})
