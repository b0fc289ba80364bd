"""Unbiased pruning of examples: well-learned ones are dropped at random, the kept ones of them count for more.

An example whose last known loss is below the mean is dropped with probability `ratio`; kept, it has weight
1 / (1 - ratio), so that the gradient's expectation is that of all examples. The last part of the run sees everything.
Source: Qin et al. 2024, arXiv:2303.04947, eq. 2-4, algorithm 1. Differs: the mean is that of the batch, not of the
training split, and batches shrink at an unchanged number of steps, where theirs become fewer. Extra cost: remembering
one loss per example.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hundredfold.methods.base import Method
from hundredfold.methods.execution.parts import Losses, Part, Samples
from hundredfold.methods.options import FractionOrZero, Probability


@dataclass(frozen=True)
class Infobatch(Method):
    """Drops well-learned examples at random, without bias."""

    source = "arXiv:2303.04947"
    extra_cost = "one remembered loss per example"
    outcome = True

    ratio: Probability = 0.5  # probability of dropping an example whose loss is below the mean
    until: FractionOrZero = 0.875  # fraction of the run; everything is trained after it

    def parts(self) -> list[Part]:
        return [Samples(self, self.select, losses=Losses.REMEMBERED)]

    def select(self, step: int, total: int, losses: Tensor, generator: torch.Generator) -> Tensor | None:
        if step >= self.until * total:
            return None
        learned = losses < losses.nanmean()  # an unknown loss compares false: never dropped
        draw = torch.rand(len(losses), generator=generator, device=generator.device)
        weights = torch.where(learned, 1 / (1 - self.ratio), 1.0)
        return weights.masked_fill(learned & (draw < self.ratio), 0.0)
