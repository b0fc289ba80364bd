"""Synaptic flow: pruning before training without data, in many rounds, by what flows through the absolute weights.

Every parameter is replaced by its absolute value and an input of ones is sent through; the score of a weight is |theta
dR/dtheta|, R being the sum of the outputs. A round keeps the fraction density^(round / rounds). Source: Tanaka et al.
2020, arXiv:2006.05467, algorithm 1. Differs: it runs in place of the first training step, when the shape of an input is
known; a language model gets the batch's first window, because ones have no embedding. Extra cost: a forward and
backward pass of one example per round.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hundredfold.methods.base import Method
from hundredfold.methods.execution.loss import logits_of
from hundredfold.methods.execution.parts import Gradient, Part, Weights
from hundredfold.methods.execution.prunable import from_matrix, to_matrix
from hundredfold.methods.options import Count, Fraction
from hundredfold.methods.tools.importance import top_global
from hundredfold.methods.topology import Topology
from hundredfold.methods.views import NetView


@dataclass(frozen=True)
class Synflow(Method):
    """Keeps the weights with most synaptic flow, in rounds without data."""

    source = "arXiv:2006.05467"
    extra_cost = "a pass of one example per round"
    outcome = True

    density: Fraction = 0.1  # fraction of the prunable weights
    rounds: Count = 100  # of scoring and pruning

    def parts(self) -> list[Part]:
        return [Weights(self, gradient=Gradient.TRAINED, replaces_step=True, reads_batch=True)]

    def due(self, step: int, total: int) -> bool:
        return step == 0

    def update_topology(self, step: int, net: NetView) -> Topology:
        example = net.batch.inputs[:1]
        example = torch.ones_like(example) if example.is_floating_point() else example
        total = sum(layer.weight.numel() for layer in net.layers.values())
        masks = {name: layer.active for name, layer in net.layers.items()}
        for i in range(self.rounds):
            flow = net.probe(lambda model, masks=masks: synaptic_flow(model, example, masks))
            scores = {name: score.masked_fill(~masks[name], -1) for name, score in flow.items()}
            masks = top_global(scores, round(self.density ** ((i + 1) / self.rounds) * total))
        return Topology(masks)


def synaptic_flow(model: nn.Module, example: Tensor, masks: dict[str, Tensor]) -> dict[str, Tensor]:
    """|theta dR/dtheta| of every layer of the model, which is left with absolute, masked weights in evaluation mode."""
    model.eval()
    layers = {name: model.get_submodule(name) for name in masks}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_()
        for name, mask in masks.items():
            layers[name].weight.mul_(from_matrix(layers[name], mask))
    gradients = torch.autograd.grad(logits_of(model(example)).sum(), [layer.weight for layer in layers.values()])
    flow = zip(layers.items(), gradients, strict=True)
    return {name: to_matrix(layer, (g * layer.weight).detach().abs()) for (name, layer), g in flow}
