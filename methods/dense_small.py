"""The rival of every method that removes units: a network that is built small and trained densely.

Its width is a fraction of the hidden units, with the initial values that a network of that size gets.
Source: the question of Liu et al. 2019, arXiv:1810.05270, whether pruning beats training the small network.
Extra cost: none.
"""

from dataclasses import dataclass

from methods.base import Method, check_fraction


@dataclass(frozen=True)
class DenseSmall(Method):
    """A network built with fewer hidden units, trained densely."""

    family = "dense_control"
    source = "control: the equally small dense network"
    extra_cost = "none"

    density: float = 0.25  # fraction of the hidden units

    def __post_init__(self):
        check_fraction("density", self.density)

    @property
    def width(self) -> float:
        return self.density
