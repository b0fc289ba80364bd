"""The rival of every method that saves steps: dense training with fewer of them, its schedule decayed to zero.

Source: Kaddour et al. 2023, arXiv:2307.06440 ("No Train No Gain"): gains often vanish against it.
Extra cost: none.
"""

from dataclasses import dataclass

from hundredfold.methods.base import Method
from hundredfold.methods.options import Fraction


@dataclass(frozen=True)
class DenseShort(Method):
    """Dense training of the full model for a fraction of the steps."""

    source = "control: arXiv:2307.06440"
    extra_cost = "none"

    duration: Fraction = 0.25  # fraction of the steps

    def label(self) -> str:
        return f"dense_short {self.duration:g}"
