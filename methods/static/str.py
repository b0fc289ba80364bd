"""Soft threshold reparameterization: every layer learns the threshold below which its weights are zero.

The layer computes with sign(w) max(|w| - sigmoid(s), 0); the gradient reaches the weights above the threshold and s,
and the recipe's weight decay on s decides how sparse the network becomes: density is an outcome. Source: Kusupati et
al. 2020, arXiv:2002.03231, eq. 3-5. Differs: s starts where the threshold is `start` of the layer's mean |w|, so that
layers of any width start alike, and is pulled by a decay of its own, `pull`, which makes up for runs that are hundreds
of times shorter than the paper's. Extra cost: the threshold of every weight at every step.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from hundredfold.methods.base import Method
from hundredfold.methods.execution.parts import Modules, Operands, Part, Penalty
from hundredfold.methods.options import Fraction, Strength
from hundredfold.methods.products import Product, Selection, exact
from hundredfold.methods.views import Site


class SoftThreshold(nn.Module):
    """sign(w) max(|w| - scale sigmoid(s), 0) with a learned s."""

    def __init__(self, s: Tensor):
        super().__init__()
        self.s = nn.Parameter(s)

    def forward(self, weight: Tensor) -> Tensor:
        return weight.sign() * (weight.abs() - self.s.sigmoid()).relu()


@dataclass(frozen=True)
class Str(Method):
    """Layers learn the threshold below which their weights are zero."""

    source = "arXiv:2002.03231"
    extra_cost = "thresholding every weight at every step"

    start: Fraction = 0.1  # first threshold over the layer's mean |w|
    pull: Strength = 1e-3  # strength of the penalty that raises every threshold: -pull x s

    def parts(self) -> list[Part]:
        return [Modules(self, self.adapt), Penalty(self, self.penalty), Operands(self, self.select, cost_varies=True)]

    def adapt(self, model: nn.Module, site: Site) -> None:
        for layer in site.layers().values():
            threshold = self.start * layer.weight.detach().abs().mean()
            parametrize.register_parametrization(layer, "weight", SoftThreshold(threshold.logit().reshape(1, 1)))

    def penalty(self, net, units) -> Tensor | None:
        thresholds = [p for name, p in net.items() if name.endswith("parametrizations.weight.0.s")]
        return -self.pull * torch.cat(thresholds).sum() if thresholds else None

    def select(self, product: Product, layer: str, left: Tensor, right: Tensor, forward: Selection):
        return Selection(right=right != 0) if product is Product.FORWARD else exact(product, forward)
