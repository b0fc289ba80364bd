"""Every weight, every step: the plain, unwrapped model. All ratios of the suite refer to it.

Source: the recipe of the configuration. Extra cost: none.
"""

from dataclasses import dataclass

from hundredfold.methods.base import Method


@dataclass(frozen=True)
class Dense(Method):
    """Dense training of the plain model."""

    source = "the yardstick"
