"""The rival of every method that saves steps: dense training with fewer of them, its schedule decayed to zero.

Source: Kaddour et al. 2023, arXiv:2307.06440 ("No Train No Gain"): gains often vanish against it.
Extra cost: none.
"""

from dataclasses import dataclass

from methods.base import Method, check_fraction


@dataclass(frozen=True)
class DenseShort(Method):
    """Dense training of the full model for a fraction of the steps."""

    family = "dense_control"
    source = "control: arXiv:2307.06440"
    extra_cost = "none"

    duration: float = 0.25  # fraction of the steps

    def __post_init__(self):
        check_fraction("duration", self.duration)

    def label(self) -> str:
        return f"dense_short {self.duration:g}"
