"""Trains on the examples of a batch with the highest losses: a forward pass tells which.

Source: Jiang et al. 2019, arXiv:1910.00762; selection and values as in MosaicML's Composer: an example is drawn with a
probability that grows with the rank of its loss, from the middle of the run to nine tenths of it, at every second step.
The step's loss is the mean over what was kept. Extra cost: a forward pass of the whole batch before every step that
selects.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from methods.base import Method, check_fraction


@dataclass(frozen=True)
class SelectiveBackprop(Method):
    """Trains on the examples of a batch with high loss."""

    family = "selective"
    source = "arXiv:1910.00762"
    extra_cost = "a forward pass before each step that selects"
    selects = frozenset({"samples"})
    needs = frozenset({"fresh_losses", "batch"})
    physicality = "partial"

    keep: float = 0.5  # fraction of the batch
    start: float = 0.5  # fraction of the run
    end: float = 0.9  # fraction of the run
    interval: int = 2  # steps from one that selects to the next

    def __post_init__(self):
        check_fraction("keep", self.keep)
        check_fraction("start", self.start, zero=True)
        check_fraction("end", self.end)
        if self.interval < 1:
            raise ValueError(f"interval={self.interval}: expected a number of steps, 1 or more")

    def reads_losses(self, step: int, total: int) -> bool:
        return self.start * total <= step < self.end * total and step % self.interval == 0

    def select_samples(self, step: int, total: int, losses: Tensor, generator: torch.Generator) -> Tensor | None:
        if not self.reads_losses(step, total):
            return None
        kept = max(1, int(self.keep * len(losses)))
        rank = losses.cpu().argsort(stable=True).argsort().double() + 1
        chosen = torch.multinomial((rank / len(losses)) ** (1 / self.keep - 1), kept, generator=generator)
        weights = torch.zeros(len(losses))
        weights[chosen] = len(losses) / kept
        return weights.to(losses.device)
