"""Unstructured dynamic sparse training that slides into channels: whole neurons leave while weights are exchanged.

An update removes the neurons with the lowest mean |w| on a cubic schedule, then drops the smallest weights of the whole
network and grows as many by gradient, among the neurons that are left: the number of weights stays, and ends in a
smaller network. Source: Yin et al. 2023, arXiv:2305.19454, section 3: death rate 0.05, half of the channels gone by 130
of 160 epochs. Differs: no soft memory bound; the exchanged fraction is annealed to 0; the bias of a neuron that left,
and the columns that read it, stay. Extra cost: the dense weight gradient of every layer at update steps.
"""

from dataclasses import dataclass

import torch

from hundredfold.methods.execution.host import sizes
from hundredfold.methods.execution.parts import Gradient, Part, Weights
from hundredfold.methods.options import Fraction, FractionOrZero
from hundredfold.methods.static.random_erk import RandomErk
from hundredfold.methods.tools.importance import top, top_global
from hundredfold.methods.tools.schedules import cosine, cubic, progress
from hundredfold.methods.topology import Topology, UpdateSchedule
from hundredfold.methods.views import NetView


@dataclass(frozen=True)
class Chase(RandomErk):
    """Exchanges weights while whole neurons leave."""

    source = "arXiv:2305.19454"
    extra_cost = "dense weight gradients at update steps"
    outcome = True

    drop: FractionOrZero = 0.05  # fraction of the active weights per update, annealed to 0
    rows: Fraction = 0.5  # fraction of the neurons of every layer but the last that is left at the end
    update: UpdateSchedule = UpdateSchedule(interval=100, start=0.0, stop=0.8125)

    def parts(self) -> list[Part]:
        return [Weights(self, gradient=Gradient.ALL)]

    def init_topology(self, net: NetView) -> Topology:
        self.update.last(net.total_steps)  # refuses a run too short for the schedule
        shapes = {name: layer.weight.shape for name, layer in net.layers.items()}
        last, size = list(shapes)[-1], sum(shape.numel() for shape in shapes.values())
        room = sum((n if name == last else max(1, round(self.rows * n))) * m for name, (n, m) in shapes.items())
        if round(self.density * size) > room:
            raise ValueError(
                f"density={self.density:g}: the neurons that rows={self.rows:g} leaves hold only {room / size:.2f} of "
                "the weights; raise rows"
            )
        rows = {f"rows.{name}": layer.active.any(1) for name, layer in net.layers.items()}
        return Topology(super().init_topology(net).active, memory=rows)

    def update_topology(self, step: int, net: NetView) -> Topology:
        total = net.total_steps
        left = cubic(progress(step, self.update.start * total, self.update.last(total)), 1.0, self.rows)
        rows, last = {}, list(net.layers)[-1]
        living = {name: net.memory[f"rows.{name}"] for name in net.layers}
        for name, most in sizes(living).items():
            alive = living[name]
            count = len(alive) if name == last else max(1, round(left * len(alive)))
            size = net.layers[name].weight.abs().mean(1).masked_fill(~alive, -1)
            rows[name] = top(size, min(count, most))
        wanted = round(self.density * sum(layer.active.numel() for layer in net.layers.values()))
        present = {name: layer.active & rows[name][:, None] for name, layer in net.layers.items()}
        fraction = cosine(progress(step, 0, self.update.stop * total), self.drop)
        num_kept = min(int((1 - fraction) * wanted), sum(sizes(present).values()))
        weights = {n: v.weight.abs().masked_fill(~present[n], -1) for n, v in net.layers.items()}
        kept = top_global(weights, num_kept)
        gradients = {n: v.grad.abs().masked_fill(kept[n], -1) for n, v in net.layers.items()}
        gradients = {n: torch.where(rows[n][:, None], g, -1.0) for n, g in gradients.items()}
        grown = top_global(gradients, wanted - num_kept)
        active = {name: kept[name] | grown[name] for name in kept}
        return Topology(active, memory={f"rows.{name}": mask for name, mask in rows.items()})
