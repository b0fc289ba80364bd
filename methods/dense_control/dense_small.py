"""The rival of every method that removes units: a network that is built small and trained densely.

Its width is a fraction of the hidden units, with the initial values that a network of that size gets.
Source: the question of Liu et al. 2019, arXiv:1810.05270, whether pruning beats training the small network.
Extra cost: none.
"""

from dataclasses import dataclass

from hundredfold.methods.base import Method
from hundredfold.methods.options import Fraction


@dataclass(frozen=True)
class DenseSmall(Method):
    """A network built with fewer hidden units, trained densely."""

    source = "control: the equally small dense network"
    extra_cost = "none"

    density: Fraction = 0.25  # fraction of the hidden units

    @property
    def width(self) -> float:
        return self.density
