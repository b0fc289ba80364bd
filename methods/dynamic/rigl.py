"""The rigged lottery: SET that grows where the gradient of the missing weights is largest.

Source: Evci et al. 2020, arXiv:1911.11134, algorithm 1, and the authors' code: the first update is at step 0, an
update replaces the optimizer step of its batch, just-dropped weights may grow again (and then keep value and
momentum), truly new ones start at zero with zero momentum. Ties are broken by position instead of by noise.
Extra cost: the dense weight gradient of every layer at update steps.
"""

from dataclasses import dataclass

from torch import Tensor

from hundredfold.methods.dynamic.set import Set
from hundredfold.methods.execution.parts import Gradient, Part, Weights
from hundredfold.methods.views import LayerView, NetView


@dataclass(frozen=True)
class Rigl(Set):
    """Drops the smallest weights and grows those with the largest dense gradient."""

    source = "arXiv:1911.11134"
    extra_cost = "dense weight gradients at update steps"

    def parts(self) -> list[Part]:
        return [Weights(self, gradient=Gradient.ALL, replaces_step=True)]

    def grow_score(self, layer: LayerView, net: NetView) -> Tensor:
        return layer.grad.abs()
