"""Learned curves: from a pair of counts to a probability, and from a probability to a better one.

Legend: C count tables, Q levels of a count, I = C x Q x Q states, R rows of final maps.
Source: Mahoney 2005, section 3 (adaptive probability maps, there called APM or SSE after Shkarin and Ratushnyak).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from hundredfold.methods.tools.mixing.lanes import float_from_bits, inlined

LEVELS = (0, 1, 2, 3, 4, 5, 6, 8, 11, 16, 23, 32, 48, 64, 96, 128, 192)  # least count of each
NUM_LEVELS = len(LEVELS)
STEPS = 4096  # of the table of stretch
LEAST = np.float32(1 / STEPS)  # probabilities of a state stay away from 0 and 1 by this
KNOTS, REACH = 16, 6.0  # a final map interpolates between so many points of stretch(p) in [-6, 6]: a line of memory
ZERO, ONE = np.float32(0), np.float32(1)
LOG2_E = np.float32(1.4426950408889634)
EXP2 = tuple(np.float32(math.log(2) ** n / math.factorial(n)) for n in range(6, -1, -1))  # Taylor: 2^x for |x| <= 1/2


class States(NamedTuple):
    """What a pair of counts means, learned.

    Attributes:
        chance: float32 [I]; probability that the next bit is 1.
        seen: float32 [I]; how often it was learned, up to a limit.
        level: int64 [256]; the level of a count.
        stretch: float32 [STEPS + 1]; ln(p / (1 - p)) of k / STEPS.
        squash: float32 [KNOTS]; probability at each knot of the final maps.
        log: float32 [256]; ln(n + 0.4) of a count.
    """

    chance: np.ndarray
    seen: np.ndarray
    level: np.ndarray
    stretch: np.ndarray
    squash: np.ndarray
    log: np.ndarray


def states(num_tables: int) -> States:
    """States that begin with the estimate of Krichevsky and Trofimov, near enough: (n1 + 0.4) / (n + 0.8)."""
    least = np.array(LEVELS, np.float64)
    guess = (least[None, :] + 0.4) / (least[:, None] + least[None, :] + 0.8)  # [zeros, ones]
    counts = np.arange(256)
    p = np.clip(np.arange(STEPS + 1) / STEPS, LEAST, 1 - LEAST)
    knots = np.linspace(-REACH, REACH, KNOTS)
    return States(
        np.tile(guess.ravel().astype(np.float32), num_tables).clip(LEAST, 1 - LEAST),
        np.zeros(num_tables * guess.size, np.float32),
        np.searchsorted(least, counts, side="right") - 1,
        np.log(p / (1 - p)).astype(np.float32),
        (1 / (1 + np.exp(-knots))).astype(np.float32),
        np.log(counts + 0.4).astype(np.float32),
    )


@inlined(fastmath=True)
def squash(x):
    """1 / (1 + exp(-x)) for |x| < 80, to 1e-6; a call of the library would take as long as all else."""
    y = x * LOG2_E
    whole = np.floor(y + np.float32(0.5))
    rest = y - whole
    power = ZERO
    for c in EXP2:
        power = power * rest + c
    power = float_from_bits((np.int32(whole) + np.int32(127)) << np.int32(23)) * power
    return power / (ONE + power)


@inlined(fastmath=True)
def teach(chance, seen, state, bit, limit):
    """Move a state's probability towards a bit by 1 / (n + 1.5), n the times it was taught, at most `limit`."""
    n = seen[state]
    p = chance[state] + (np.float32(bit) - chance[state]) / (n + np.float32(1.5))
    chance[state] = min(max(p, LEAST), ONE - LEAST)
    if n < limit:
        seen[state] = n + ONE


@inlined(fastmath=True)
def knot(dot):
    """The knot below a stretched probability, and how far it lies towards the next, in [0, 1)."""
    x = min(max(dot, np.float32(-REACH + 0.01)), np.float32(REACH - 0.01))
    x = (x + np.float32(REACH)) * np.float32((KNOTS - 1) / (2 * REACH))
    low = np.int64(x)
    return low, x - np.float32(low)


@inlined(fastmath=True)
def refined(offsets, squashed, row, low, part):
    """The probability that a final map gives; offsets, float32 [R, KNOTS], are from the identity."""
    left = offsets[row, low] + squashed[low]
    return left + (offsets[row, low + 1] + squashed[low + 1] - left) * part


@inlined(fastmath=True)
def refine(offsets, squashed, row, low, part, bit, rate):
    """Move the two knots beside a probability towards a bit, the nearer one more."""
    target = np.float32(bit)
    left, right = offsets[row, low], offsets[row, low + 1]
    offsets[row, low] = left + (target - squashed[low] - left) * rate * (ONE - part)
    offsets[row, low + 1] = right + (target - squashed[low + 1] - right) * rate * part
