"""Trains on the examples of a batch with the highest losses: a forward pass tells which.

Source: Jiang et al. 2019, arXiv:1910.00762; selection and values as in MosaicML's Composer: an example is drawn with a
probability that grows with the rank of its loss, from the middle of the run to nine tenths of it, at every second step.
The step's loss is the mean over what was kept. Extra cost: a forward pass of the whole batch before every step that
selects.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hundredfold.methods.base import Method
from hundredfold.methods.execution.parts import Losses, Part, Samples
from hundredfold.methods.options import Count, Fraction, FractionOrZero


@dataclass(frozen=True)
class SelectiveBackprop(Method):
    """Trains on the examples of a batch with high loss."""

    source = "arXiv:1910.00762"
    extra_cost = "a forward pass before each step that selects"

    keep: Fraction = 0.5  # fraction of the batch
    start: FractionOrZero = 0.5  # fraction of the run
    end: Fraction = 0.9  # fraction of the run
    interval: Count = 2  # steps from one that selects to the next

    def parts(self) -> list[Part]:
        return [Samples(self, self.select, losses=Losses.FRESH, reads=self.reads_losses)]

    def reads_losses(self, step: int, total: int) -> bool:
        """Whether a step selects."""
        return self.start * total <= step < self.end * total and step % self.interval == 0

    def select(self, step: int, total: int, losses: Tensor, generator: torch.Generator) -> Tensor | None:
        if not self.reads_losses(step, total):
            return None
        kept = max(1, int(self.keep * len(losses)))
        rank = losses.cpu().argsort(stable=True).argsort().double() + 1
        chosen = torch.multinomial((rank / len(losses)) ** (1 / self.keep - 1), kept, generator=generator)
        weights = torch.zeros(len(losses))
        weights[chosen] = len(losses) / kept
        return weights.to(losses.device, non_blocking=True)
