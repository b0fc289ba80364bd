"""Short sequences first: windows of text are cut, and the cut grows to the full length.

Source: Li et al. 2022, arXiv:2108.06084 (sequence length warm-up). Differs: what is cut off is not read in that step,
so that the run sees fewer tokens in all. Extra cost: none.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from methods.base import Method, Site, check_fraction
from methods.schedules import progress


@dataclass(frozen=True)
class ProgressiveLength(Method):
    """Trains a language model on short sequences first."""

    family = "selective"
    source = "arXiv:2108.06084"
    selects = frozenset({"inputs"})
    needs = frozenset({"batch"})
    small: ClassVar[dict[str, Any]] = {"multiple": 1}

    start: float = 0.25  # fraction of the length at the first step
    end: float = 0.7  # fraction of the run after which sequences are whole
    multiple: int = 8  # lengths are multiples of this many tokens

    def __post_init__(self):
        check_fraction("start", self.start)
        check_fraction("end", self.end)
        if self.multiple < 1:
            raise ValueError(f"multiple={self.multiple}: expected a number of tokens, 1 or more")

    def adapt(self, model: nn.Module, site: Site) -> None:
        if not any(isinstance(module, nn.Embedding) for module in model.modules()):
            raise ValueError("progressive_length: cuts sequences of tokens; choose a language model")

    def length_at(self, step: int, total: int, full: int) -> int:
        """Tokens of a window at a step."""
        share = self.start + (1 - self.start) * progress(step, 0, self.end * total)
        return min(full, max(1, round(share * full / self.multiple)) * self.multiple)

    def transform(self, step: int, total: int, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        length = self.length_at(step, total, inputs.shape[1])
        return inputs[:, :length], targets[:, :length]
