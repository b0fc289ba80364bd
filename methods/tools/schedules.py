"""How fractions change over a run; `progress` is the fraction of the schedule that has passed, clipped to [0, 1]."""

from __future__ import annotations

import math


def progress(step: float, begin: float, end: float) -> float:
    """Fraction of [begin, end] that has passed; a schedule of no length has passed once it begins."""
    if end <= begin:
        return float(step >= begin)
    return min(max((step - begin) / (end - begin), 0.0), 1.0)


def cubic(fraction: float, initial: float, final: float) -> float:
    """Density falling fast first: final + (initial - final) (1 - t)^3.

    Source: Zhu and Gupta 2017, arXiv:1710.01878, eq. 1.
    """
    return final + (initial - final) * (1 - fraction) ** 3


def cosine(fraction: float, initial: float) -> float:
    """Annealed to 0: initial / 2 (1 + cos(pi t)).

    Source: Dettmers and Zettlemoyer 2019, arXiv:1907.04840.
    """
    return initial / 2 * (1 + math.cos(math.pi * fraction))
