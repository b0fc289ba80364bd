"""Soft threshold reparameterization: every layer learns the threshold below which its weights are zero.

A layer computes with sign(w) max(|w| - sigmoid(s), 0); the gradient reaches the weights above the threshold and s, and
weight decay on s, which starts at -3200, decides how sparse the network becomes: density is an outcome. Source:
Kusupati et al. 2020, arXiv:2002.03231, eq. 3-5, and the authors' configurations. Their decay of 1.7e-5 to 4.6e-5 at a
rate of .256 with momentum .875 over 500,000 steps shrinks s, were there no gradient, by `rise` = 9 to 24 e-folds; here
the decay is set so that a run of any length and rate has as many, at the mean rate of a constant schedule. Extra cost:
the threshold of every weight at every step.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn.utils import parametrize

from hundredfold.methods.base import Method
from hundredfold.methods.execution.parts import Modules, Operands, Part
from hundredfold.methods.options import Strength
from hundredfold.methods.products import Product, Selection, exact
from hundredfold.methods.views import Site


class SoftThreshold(nn.Module):
    """sign(w) max(|w| - sigmoid(s), 0) with a learned s."""

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

    small: ClassVar[dict[str, Any]] = {"rise": 20.0}

    start: float = -3200.0  # first s of every layer
    rise: Strength = 9.0  # e-folds by which decay alone shrinks s over the run; paper: 9 for density .2, 24 for .02

    def parts(self) -> list[Part]:
        products = Operands(self, self.select, cost_varies=True, inference=False)
        return [Modules(self, self.adapt, decay=self.rise), products]

    def adapt(self, model: nn.Module, site: Site) -> None:
        for layer in site.layers().values():
            s = layer.weight.new_full((1,) * layer.weight.ndim, self.start)
            parametrize.register_parametrization(layer, "weight", SoftThreshold(s))

    def select(self, product: Product, layer: str, left: Tensor, right: Tensor, forward: Selection):
        return Selection(right=right != 0) if product is Product.FORWARD else exact(product, forward)
