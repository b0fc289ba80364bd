"""Whole residual blocks are skipped at random in training: a negative control of selection, since it looks at nothing.

Source: Huang et al. 2016, arXiv:1603.09382 (skipped with a probability that grows linearly with depth); Fan et al.
2020, arXiv:1909.11556 (LayerDrop). Differs: a block is skipped for the whole batch, so that it is really not computed;
evaluation runs every block, unscaled as in LayerDrop. Extra cost: none.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hundredfold.methods.base import Method
from hundredfold.methods.execution.parts import Part, Tokens
from hundredfold.methods.options import FractionOrZero


@dataclass(frozen=True)
class LayerDrop(Method):
    """Skips whole residual blocks at random."""

    source = "arXiv:1603.09382; arXiv:1909.11556"

    drop: FractionOrZero = 0.2  # probability of skipping the last block; earlier ones in proportion to their depth

    def parts(self) -> list[Part]:
        return [Tokens(self, self.select)]

    def select(self, step: int, total: int, block: int, blocks: int, count: int, generator) -> Tensor | None:
        skipped = float(torch.rand((), generator=generator)) < self.drop * (block + 1) / blocks
        return torch.zeros(0, dtype=torch.long) if skipped else None
