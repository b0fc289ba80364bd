"""Random layerwise token dropping: the middle blocks see a random part of the tokens, which grows to all of them.

Source: Yao et al. 2022, arXiv:2211.11586. A token that is left out passes its block unchanged. Differs: every sequence
of a batch keeps the same positions, so that one gather serves all; causal attention stays causal, because positions
stay in order. Extra cost: gathering and scattering.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from hundredfold.methods.base import Method
from hundredfold.methods.execution.parts import Part, Tokens
from hundredfold.methods.options import CountOrZero, Fraction
from hundredfold.methods.tools.schedules import progress


@dataclass(frozen=True)
class RandomLtd(Method):
    """Middle blocks compute a random part of the tokens."""

    source = "arXiv:2211.11586"
    extra_cost = "gathering and scattering tokens"
    small: ClassVar[dict[str, Any]] = {"whole": 0}

    start: Fraction = 0.25  # fraction of the tokens at the first step
    end: Fraction = 0.7  # fraction of the run after which all tokens are kept
    whole: CountOrZero = 1  # blocks at either end that always see every token

    def parts(self) -> list[Part]:
        return [Tokens(self, self.select)]

    def select(self, step: int, total: int, block: int, blocks: int, count: int, generator) -> Tensor | None:
        if not self.whole <= block < blocks - self.whole:
            return None
        share = self.start + (1 - self.start) * progress(step, 0, self.end * total)
        kept = max(1, round(share * count))
        return None if kept >= count else torch.randperm(count, generator=generator)[:kept].sort().values
