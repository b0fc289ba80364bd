"""Structured RigL: every neuron of a layer has the same number of inputs, and neurons with too few good ones go.

An update drops and grows like RigL, but keeps a constant fan-in: of each neuron's weights first those that survived the
layer's drop by magnitude, then those of largest gradient. A neuron whose salient weights (the layer's largest weights
and largest gradients, as many as are kept and dropped) are fewer than `min_salient` of its fan-in is ablated, and the
others share its weights, of which as many as before stay among the survivors; as in the authors' code it returns once
its gradients are large. Their number is also theirs: rounded down to whole fan-ins of one weight or more, and at least
as many neurons live as these weights need. Source: Lasby et al. 2024, arXiv:2305.02299, section 3 and algorithm 1.
Differs: an over-full neuron loses its smallest weights (the authors' code drops in arbitrary order), and weights keep
the initialisation of the dense network. The fan-in of the salience rule is the sparse one before ablation, as in the
paper; `dense_fan_in` is the code's default. Extra cost: the dense weight gradient of every layer at update steps.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hundredfold.methods.dynamic.rigl import Rigl
from hundredfold.methods.execution.host import sizes
from hundredfold.methods.options import FractionOrZero
from hundredfold.methods.tools.allocation import allocate
from hundredfold.methods.tools.importance import random_scores, top
from hundredfold.methods.topology import Topology
from hundredfold.methods.views import NetView


def row_top(scores: Tensor, count: int) -> Tensor:
    """True at the `count` largest entries of every row."""
    chosen = scores.topk(count, dim=1).indices
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(1, chosen, True)


@dataclass(frozen=True)
class Srigl(Rigl):
    """RigL with a constant fan-in per neuron and neuron ablation."""

    source = "arXiv:2305.02299"

    min_salient: FractionOrZero = 0.3  # fraction of the fan-in, 0 ablates none; paper: 0.3 for CNNs, 0.95 for ViTs
    dense_fan_in: bool = False  # measure it against the dense fan-in

    def __post_init__(self):
        super().__post_init__()
        if self.sign != "joint":
            raise ValueError(f"sign={self.sign}: {self.name()} drops by joint magnitude alone; use sign=joint")

    def num_active(self, shapes, step: int, total: int) -> None:
        """No exact number: fan-ins are whole."""
        return None

    def init_topology(self, net: NetView) -> Topology:
        active, counts = {}, allocate(net.shapes, self.density, self.distribution)
        for name, layer in net.layers.items():
            outputs, inputs = layer.weight.shape
            active[name] = row_top(random_scores(layer.weight, net.generator), max(1, counts[name] // outputs))
        return Topology(active)

    def living(self, salient: Tensor, inputs: int, count: int) -> Tensor:
        """Neurons with enough salient weights, bool [O]; never fewer than can hold `count` weights.

        Args:
            salient: number of salient weights of every neuron, [O].
        """
        fan_in = inputs if self.dense_fan_in else count // len(salient)
        most = salient.sort(descending=True).values
        return salient >= most[max(1, -(-count // inputs)) - 1].clamp(max=max(1, int(self.min_salient * fan_in)))

    def update_topology(self, step: int, net: NetView) -> Topology:
        counts = allocate(net.shapes, self.density, self.distribution)
        fraction = self.fraction_at(step, net.total_steps)
        totals = sizes({name: layer.active for name, layer in net.layers.items()})
        dropped = {name: int(fraction * total) for name, total in totals.items()}
        kept, alive = {}, {}
        judged = list(net.layers)[:-1] if self.min_salient else []
        for name, layer in net.layers.items():
            kept[name] = top(layer.weight.abs().masked_fill(~layer.active, -1), totals[name] - dropped[name])
            alive[name] = torch.ones_like(layer.active[:, 0])
            if name in judged:
                salient = (kept[name] | top(layer.grad.abs(), dropped[name])).sum(1)
                alive[name] = self.living(salient, layer.weight.shape[1], counts[name])
        survivors = {name: net.layers[name].active & mask[:, None] for name, mask in alive.items()}
        living, surviving = (sizes(masks) for masks in (alive, survivors))
        active = {}
        for name, layer in net.layers.items():
            magnitude, gradient = layer.weight.abs(), layer.grad.abs()
            if name in judged:
                count = min(totals[name] - dropped[name], surviving[name])
                kept[name] = top(magnitude.masked_fill(~survivors[name], -1), count)
            order = torch.where(kept[name], 2 + magnitude / magnitude.max().clamp(min=1e-30), 0)
            order = torch.where(kept[name], order, gradient / gradient.max().clamp(min=1e-30))
            active[name] = row_top(order, max(1, counts[name] // living[name])) & alive[name][:, None]
        return Topology(active)
