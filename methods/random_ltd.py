"""Random layerwise token dropping: the middle blocks see a random part of the tokens, which grows to all of them.

Source: Yao et al. 2022, arXiv:2211.11586. A token that is left out passes its block unchanged. Differs: every sequence
of a batch keeps the same positions, so that one gather serves all; causal attention stays causal, because positions
stay in order. Extra cost: gathering and scattering.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from methods.base import Method, check_fraction
from methods.schedules import progress


@dataclass(frozen=True)
class RandomLtd(Method):
    """Middle blocks compute a random part of the tokens."""

    family = "selective"
    source = "arXiv:2211.11586"
    extra_cost = "gathering and scattering tokens"
    selects = frozenset({"tokens"})
    physicality = "partial"
    small: ClassVar[dict[str, Any]] = {"whole": 0}

    start: float = 0.25  # fraction of the tokens at the first step
    end: float = 0.7  # fraction of the run after which all tokens are kept
    whole: int = 1  # blocks at either end that always see every token

    def __post_init__(self):
        check_fraction("start", self.start)
        check_fraction("end", self.end)
        if self.whole < 0:
            raise ValueError(f"whole={self.whole}: expected a number of blocks, 0 or more")

    def select_tokens(self, step: int, total: int, block: int, blocks: int, count: int, generator) -> Tensor | None:
        if not self.whole <= block < blocks - self.whole:
            return None
        share = self.start + (1 - self.start) * progress(step, 0, self.end * total)
        kept = max(1, round(share * count))
        return None if kept >= count else torch.randperm(count, generator=generator)[:kept].sort().values
