"""Epitopological learning: links grow where the network's own topology predicts them, without any gradient.

At an update a layer drops its smallest weights and grows the missing links with the highest score of a link predictor
that reads the bipartite graph of active weights alone. The score of a missing link (u, v) adds up, over the nodes on
paths of length three between u and v, (1 + links within that community) / (1 + other links).
Source: Zhang et al. 2024, "Epitopological learning and Cannistraci-Hebb network shape intelligence brain-inspired theory
for ultra-sparse advantage in deep learning", ICLR; the node-based CH2-L3 in matrix form after Zhang et al. 2025,
arXiv:2501.19107. Differs: no removal of chains of dead neurons and no soft sampling; the first topology is random.
Extra cost: four matrix products per layer and update, charged.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from methods.base import LayerView, NetView, UpdateSchedule
from methods.set import Set


def link_scores(active: Tensor) -> tuple[Tensor, float]:
    """CH2-L3 score of every link [O, I] (meaningful for missing ones), and the FLOPs that it took.

    For a missing link from input u to output v the community is: outputs z that u links to and that share an input with
    v, and inputs z that v links to and that share an output with u.
    """
    links = active.float()
    shared_out, shared_in = links @ links.T, links.T @ links  # [O, O], [I, I]: links of z into the community
    degree_out, degree_in = links.sum(1), links.sum(0)
    through_out = _worth(shared_out, degree_out[:, None])  # [z, v]
    through_in = _worth(shared_in, degree_in[:, None])  # [z, u]
    outputs, inputs = active.shape
    flops = 2.0 * (2 * outputs * outputs * inputs + 2 * inputs * inputs * outputs)
    return through_out.T @ links + links @ through_in, flops


def _worth(inside: Tensor, degree: Tensor) -> Tensor:
    """(1 + links inside the community) / (1 + links outside, the one to the far node not counted), 0 without any."""
    return torch.where(inside > 0, (1 + inside) / (degree - inside).clamp(min=1), 0.0)


@dataclass(frozen=True)
class Cht(Set):
    """Drops the smallest weights, grows links that the topology predicts."""

    source = "arXiv:2501.19107"
    extra_cost = "four matrix products per layer and update"

    update: UpdateSchedule = UpdateSchedule(interval=100, start=0.0, stop=0.75)

    def grow_score(self, layer: LayerView, net: NetView) -> Tensor:
        scores, flops = link_scores(layer.active)
        net.charge(flops)
        return scores
