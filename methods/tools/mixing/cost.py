"""Floating-point operations of a mixing model: each decision costs the same, whatever the size of the tables.

A FLOP is one multiply, add, subtract or divide of the formulas in network.py and maps.py; rounding, comparing, looking
up, hashing and counting whole numbers are none. Executed counts what the kernels do, padding included; ideal leaves
padding out.

Legend: M inputs, K gates, L final maps, C count tables (those of the window included).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hundredfold.methods.tools.mixing.build import Sizes
from hundredfold.methods.tools.mixing.network import Settings, padded

SQUASH = 20  # argument 2, rest 1, polynomial 14, scaling 1, quotient 2
KNOT = 3
STRETCH = 2
TEACH = 4  # difference, occurrences + 1.5, quotient, sum


class Cost(NamedTuple):
    """FLOPs, executed and ideal."""

    executed: float
    ideal: float


def total(size: Sizes, settings: Settings, tally: np.ndarray) -> Cost:
    """FLOPs of the decisions made.

    Args:
        tally: [4]; decisions predicted, those with a match, decisions learned from, those with a match.
    """
    predicted, matched, learned, matched_learned = map(float, tally)
    both = []
    for inputs in (padded(size.inputs), size.inputs):
        flops = predicted * predict_flops(size, settings, inputs) + learned * learn_flops(size, settings, inputs)
        both.append(flops + STRETCH * matched + TEACH * matched_learned)
    return Cost(*both)


def predict_flops(size: Sizes, settings: Settings, inputs: int) -> int:
    """FLOPs of one prediction, a match left aside."""
    read = (1 if settings.plain else STRETCH + 2 * settings.confident) * (size.contexts + size.local)
    first = inputs + size.gates * (2 * inputs + SQUASH + 1) + 1
    second = 2 * size.gates if settings.layered else 0
    finals = KNOT + 6 * size.finals + 4 if size.finals else 0
    return read + first + second + SQUASH + finals


def learn_flops(size: Sizes, settings: Settings, inputs: int) -> int:
    """FLOPs of learning from one decision, a match left aside."""
    first = size.gates * (2 + 2 * inputs)
    second = 2 + 2 * size.gates if settings.layered else 0
    states = 0 if settings.plain else TEACH * (size.contexts + size.local)
    return first + second + states + KNOT + 11 * size.finals
