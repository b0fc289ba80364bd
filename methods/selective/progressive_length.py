"""Short sequences first: windows of text are cut, and the cut grows to the full length.

Source: Li et al. 2022, arXiv:2108.06084 (sequence length warm-up). Differs: what is cut off is not read in that step,
so that the run sees fewer tokens in all. Extra cost: none.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from hundredfold.methods.base import Method
from hundredfold.methods.execution.parts import Inputs, Modules, Part
from hundredfold.methods.options import Count, Fraction
from hundredfold.methods.tools.schedules import progress
from hundredfold.methods.views import Site


@dataclass(frozen=True)
class ProgressiveLength(Method):
    """Trains a language model on short sequences first."""

    kinds: ClassVar[tuple[str, ...]] = ("text",)
    source = "arXiv:2108.06084"
    small: ClassVar[dict[str, Any]] = {"multiple": 1}

    start: Fraction = 0.25  # fraction of the length at the first step
    end: Fraction = 0.7  # fraction of the run after which sequences are whole
    multiple: Count = 8  # lengths are multiples of this many tokens

    def parts(self) -> list[Part]:
        return [Modules(self, self.adapt), Inputs(self, self.transform)]

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
