"""Structured RigL: every neuron of a layer has the same number of inputs, and neurons with too few good ones go.

An update drops and grows like RigL, but keeps a constant fan-in: of each neuron's weights first those that survived the
layer's drop by magnitude, then those of largest gradient. A neuron whose salient weights (survivors and would-be grown
ones) are fewer than `min_salient` of its fan-in is ablated, and the others share its weights.
Source: Lasby et al. 2024, arXiv:2305.02299, section 3 and algorithm 1. Differs: an over-full neuron loses its smallest
weights (the authors' code drops in arbitrary order), weights keep the initialisation of the dense network, and a
layer's number is rounded down to whole fan-ins. The fan-in of the salience rule is the sparse one, as in the paper;
`dense_fan_in` is the code's default. Extra cost: the dense weight gradient of every layer at update steps.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from methods.allocation import allocate
from methods.base import NetView, Topology
from methods.importance import random_scores, top
from methods.rigl import Rigl


def row_top(scores: Tensor, count: int) -> Tensor:
    """True at the `count` largest entries of every row."""
    chosen = scores.topk(count, dim=1).indices
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(1, chosen, True)


@dataclass(frozen=True)
class Srigl(Rigl):
    """RigL with a constant fan-in per neuron and neuron ablation."""

    source = "arXiv:2305.02299"

    min_salient: float = 0.3  # fraction of the fan-in; paper: 0.3 for CNNs, 0.95 for vision transformers
    dense_fan_in: bool = False  # measure it against the dense fan-in

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.min_salient <= 1:
            raise ValueError(f"min_salient={self.min_salient:g}: expected a fraction in [0, 1]")

    def num_active(self, shapes, step: int, total: int) -> None:
        """No exact number: fan-ins are whole."""
        return None

    def _counts(self, net: NetView) -> dict[str, int]:
        shapes = {name: tuple(layer.weight.shape) for name, layer in net.layers.items()}
        return allocate(shapes, self.density, self.distribution)

    def init_topology(self, net: NetView) -> Topology:
        counts, active = self._counts(net), {}
        for name, layer in net.layers.items():
            outputs, inputs = layer.weight.shape
            fan_in = min(max(1, counts[name] // outputs), inputs)
            active[name] = row_top(random_scores(layer.weight, net.generator), fan_in)
        return Topology(active)

    def update_topology(self, step: int, net: NetView) -> Topology:
        fraction, counts, active = self.fraction_at(step, net.total_steps), self._counts(net), {}
        last = list(net.layers)[-1]
        for name, layer in net.layers.items():
            inputs = layer.weight.shape[1]
            alive = layer.active.any(1)
            total = int(layer.active.sum())
            num_dropped = int(fraction * total)
            magnitude, gradient = layer.weight.abs(), layer.grad.abs()
            kept = top(magnitude.masked_fill(~layer.active, -1), total - num_dropped)
            grown = top(gradient.masked_fill(kept | ~alive[:, None], -1), num_dropped)
            fan_in = inputs if self.dense_fan_in else total // int(alive.sum())
            if name != last:
                enough = (kept | grown).sum(1) >= max(self.min_salient * fan_in, 1)
                alive = alive & enough if bool((alive & enough).any()) else alive
            width = min(max(1, counts[name] // int(alive.sum())), inputs)
            order = torch.where(kept, 2 + magnitude / magnitude.max().clamp(min=1e-30), 0)
            order = torch.where(kept, order, gradient / gradient.max().clamp(min=1e-30))
            active[name] = row_top(order, width) & alive[:, None]
        return Topology(active)
