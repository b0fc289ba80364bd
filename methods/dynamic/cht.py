"""Epitopological learning: links grow where the network's own topology predicts them, without any gradient.

An update drops the smallest weights, and in plain chains of layers also links of neurons that have lost all inputs or
all outputs; then each layer grows as many missing links by the score of a link predictor that reads its bipartite graph
alone. The score of a missing link (u, v), CH2-L3n, adds up (1 + links within the community) / (1 + links out of it)
over the local community: the nodes on paths of length three between u and v. Source: Zhang et al. 2025,
arXiv:2501.19107 (CHTs), appendix C, in the matrix form of the authors' code; links are drawn by their score (soft),
where CHT (Zhang et al. 2024) takes the highest. Differs: a random first topology, removal by magnitude alone, and
attention heads are one layer. Extra cost: four matrix products per layer and update.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from hundredfold.methods.dynamic.set import Set
from hundredfold.methods.execution.host import sizes
from hundredfold.methods.tools.importance import random_scores, top
from hundredfold.methods.tools.schedules import cosine, progress
from hundredfold.methods.topology import Topology
from hundredfold.methods.views import NetView

FLOOR = 1e-5  # score of a link without any path, beside scores of about 1 per node


def link_scores(active: Tensor) -> Tensor:
    """CH2-L3n of every link, [O, I]; meaningful for the missing ones.

    For a link from input u to output v the community is: outputs that u links to and that share an input with v, and
    inputs that v links to and that share an output with u.
    """
    links = active.float()
    return _worth(links) @ links + (_worth(links.T) @ links.T).T


def _worth(links: Tensor) -> Tensor:
    """Summand of node z for a link that ends in node v of the same side, [v, z]; 0 for z outside the community."""
    inside = links @ links.T  # links of z to neighbours of v: the community of the other side
    outside = links.sum(1) - inside - 1  # all others but the one to the far end u of the link
    return torch.where(inside > 0, (1 + inside) / (1 + outside).clamp(min=1), 0.0)


def sampling_keys(scores: Tensor, draw: Tensor) -> Tensor:
    """Keys whose largest are a sample without replacement, each entry in proportion to its score.

    Args:
        draw: uniform in (0, 1].
    Source: Efraimidis and Spirakis 2006, weighted random sampling with a reservoir.
    """
    return draw.log() / (scores + FLOOR)


def flops_of_scores(outputs: int, inputs: int) -> float:
    """FLOPs of the four products of `link_scores`."""
    return 4.0 * outputs * inputs * (outputs + inputs)


def without_dead_ends(masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Links of a chain of layers, less those to neurons without outputs and from neurons without inputs."""
    masks = dict(masks)
    for before, after in reversed(list(pairwise(masks))):
        masks[before] = masks[before] & masks[after].any(0)[:, None]
    for before, after in pairwise(masks):
        masks[after] = masks[after] & masks[before].any(1)
    return masks


def is_chain(net: NetView) -> bool:
    """Whether every layer reads the one before it: a model without residual blocks, whose layers fit."""
    shapes = [layer.weight.shape for layer in net.layers.values()]
    return net.blocks == tuple(net.layers) and all(a[0] == b[1] for a, b in pairwise(shapes))


@dataclass(frozen=True)
class Cht(Set):
    """Drops the smallest weights, grows links that the topology predicts."""

    source = "arXiv:2501.19107"
    extra_cost = "four matrix products per layer and update"
    updates_at_zero = False

    growth: Literal["soft", "hard"] = "soft"  # draw links by their score, or take the highest
    annealed: bool = False  # the dropped fraction falls to 0; authors: for language models

    def fraction_at(self, step: int, total: int) -> float:
        return cosine(progress(step, 0, self.update.stop * total), self.drop) if self.annealed else self.drop

    def update_topology(self, step: int, net: NetView) -> Topology:
        fraction = self.fraction_at(step, net.total_steps)
        kept = self.kept(net.layers, fraction)
        if is_chain(net):
            kept = without_dead_ends(kept)
        active = {}
        for name, missing in sizes({name: layer.active & ~kept[name] for name, layer in net.layers.items()}).items():
            layer = net.layers[name]
            net.charge(flops_of_scores(*layer.weight.shape))
            scores, draw = link_scores(kept[name]), 1 - random_scores(layer.weight, net.generator).double()
            keys = sampling_keys(scores, draw) if self.growth == "soft" else scores + 1e-9 * draw  # ties at random
            active[name] = kept[name] | top(keys.masked_fill(kept[name], -torch.inf), missing)
        return Topology(active)
