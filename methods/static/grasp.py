"""Gradient signal preservation: before training the weights go whose removal reduces the gradient's norm least.

The score of a weight is -theta * Hg of the first batch, with the loss at temperature 200; those with the highest score
are removed. Source: Wang et al. 2020, arXiv:2002.07376, eq. 8 and algorithm 1. Differs: one batch in place of 10 to 25
examples per class; the initialisation that is scored is the one that is trained. Extra cost: a forward, a backward and
a second backward pass through it; kept small by replacing the first training step.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from hundredfold.methods.base import Method
from hundredfold.methods.execution.loss import logits_of
from hundredfold.methods.execution.parts import Gradient, Part, Weights
from hundredfold.methods.execution.prunable import to_matrix
from hundredfold.methods.options import Fraction, Within
from hundredfold.methods.tools.importance import top_global
from hundredfold.methods.topology import Topology
from hundredfold.methods.views import NetView


@dataclass(frozen=True)
class Grasp(Method):
    """Keeps the weights that preserve the gradient's flow."""

    source = "arXiv:2002.07376"
    extra_cost = "two more backward passes of one batch"

    density: Fraction = 0.1  # fraction of the prunable weights
    temperature: Annotated[float, Within(0, low_open=True)] = 200.0  # logits are divided by it

    def parts(self) -> list[Part]:
        return [Weights(self, gradient=Gradient.ALL, replaces_step=True, reads_batch=True)]

    def due(self, step: int, total: int) -> bool:
        return step == 0

    def update_topology(self, step: int, net: NetView) -> Topology:
        inputs, targets, _ = net.batch

        def hessian_gradient(model: nn.Module) -> dict[str, Tensor]:
            layers = {name: model.get_submodule(name) for name in net.layers}
            weights = [layer.weight for layer in layers.values()]
            with sdpa_kernel(SDPBackend.MATH):  # the others have no second derivative
                logits = logits_of(model(inputs)).flatten(0, -2).float() / self.temperature
            loss = F.cross_entropy(logits, targets.flatten())
            gradients = torch.autograd.grad(loss, weights, create_graph=True)
            product = sum((gradient * gradient.detach()).sum() for gradient in gradients)
            products = torch.autograd.grad(product, weights)
            return {name: to_matrix(layers[name], hg) for name, hg in zip(layers, products, strict=True)}

        products = net.probe(hessian_gradient)
        scores = {name: layer.weight * products[name] for name, layer in net.layers.items()}  # minus the paper's
        return Topology(top_global(scores, round(self.density * sum(s.numel() for s in scores.values()))))
