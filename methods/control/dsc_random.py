"""The random twin of `dsc`: the same schedule, sizes, kernels and probes, every choice drawn at random.

With `regrow=0` units only leave, since random regrowth alone already harms.
Source: this project. Extra cost: as `dsc`, less the gram matrices.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hundredfold.methods.neurons.dsc import Dsc
from hundredfold.methods.topology import Fold
from hundredfold.methods.views import NetView, UnitView


@dataclass(frozen=True)
class DscRandom(Dsc):
    """The schedule of dsc with random choices: does importance matter?"""

    source = "this project"
    extra_cost = "as dsc, less the gram matrices"
    twin_of = "dsc"

    def label(self) -> str:
        return super().label() + ("" if self.regrow else " (leaving only)")

    def value(self, unit: UnitView, net: NetView) -> Tensor:
        return torch.rand(unit.size, generator=net.generator)

    def probe_value(self, unit: UnitView, net: NetView) -> Tensor:
        return torch.rand(unit.size, generator=net.generator)

    def useless(self, unit: UnitView, net: NetView) -> tuple[Tensor, Fold | None]:
        return torch.zeros(unit.size, dtype=torch.bool), None
