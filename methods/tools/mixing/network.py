"""One decision: inputs from counts, mixed by weights that the context chooses, corrected by final maps, and learned.

    x_i = stretch(chance[counts i])                           an input per context, never seen or not
    d_k = sum_i (a + w_k[row_k, i]) x_i,  p_k = squash(d_k)   first layer: each gate k picks its own row of weights
    d   = sum_k (1 / K + v[row, k]) d_k,  p = squash(d)       second layer: one row; without it the mean of the d_k
    q   = (1 - c) p + c mean_m map_m[row_m](d)                final maps

    w_k[row_k] += rate (bit - p_k) x          every neuron descends on its own loss; there is no back-propagation
    v[row]     += rate_2 (bit - p) d
    chance[counts i], map_m: moved towards the bit

Legend: N contexts, C of them in the window, M inputs padded to a multiple of eight, K gates, L final maps.
Source: gated linear networks, Veness et al. 2019, arXiv:1910.01526, algorithm 1; the special case of Mahoney 2005.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hundredfold.methods.tools.mixing.gates import DEEPEST, Gates, choose
from hundredfold.methods.tools.mixing.lanes import LANES, add, aligned, inlined, prefetch, product, total_of
from hundredfold.methods.tools.mixing.maps import NUM_LEVELS, STEPS, States, knot, refine, refined, squash, teach

MOST = np.float32(12.0)  # a sum stays within +-12
LEAST = 1e-5  # of any decision's probability
BIAS = np.float32(0.3)
ZERO, ONE, HALF, FOUR = np.float32(0), np.float32(1), np.float32(0.5), np.float32(4)
PAIRS = NUM_LEVELS * NUM_LEVELS


class Network(NamedTuple):
    """What is learned, and how it is wired.

    Attributes:
        gates: K of the first layer, then one of the second, then L of the final maps.
        weights: float32 [rows x M], flat; of the first layer, offsets from `Settings.start`.
        upper: float32 [rows, K]; of the second layer, offsets from 1 / K.
        offsets: float32 [rows, KNOTS]; of the final maps, from the identity.
        states: of the N contexts, then of the C in the window, then one of lengths of a match.
    """

    gates: Gates
    weights: np.ndarray
    upper: np.ndarray
    offsets: np.ndarray
    states: States


class Settings(NamedTuple):
    """Numbers that do not change while a network learns.

    Attributes:
        start: a of the first layer.
        share: c of the final maps.
        limit: a state's probability moves by at least 1 / (limit + 1.5).
        upper_rate, final_rate: of the second layer and of the final maps.
        plain: inputs are ln((n1 + 0.4) / (n0 + 0.4)) instead of learned ones.
        confident: each context gives a second input, 4 (chance - 1 / 2).
        layered: there is a second layer.
        forget: of the counts; see tables.count.
    """

    start: np.float32
    share: np.float32
    limit: np.float32
    upper_rate: np.float32
    final_rate: np.float32
    plain: bool
    confident: bool
    layered: bool
    forget: int


class Scratch(NamedTuple):
    """Room for one decision: x [M], state [N + C], part of each row and row [K + 1 + L], dot and chance [K]."""

    x: np.ndarray
    state: np.ndarray
    part: np.ndarray
    row: np.ndarray
    dot: np.ndarray
    chance: np.ndarray


def scratch(num_tables: int, num_inputs: int, num_gates: int, num_finals: int) -> Scratch:
    """Room for a network of so many parts; `num_inputs` is padded here."""
    rows = num_gates + 1 + num_finals
    return Scratch(
        aligned((padded(num_inputs),), np.float32),
        np.zeros(num_tables, np.int64),
        np.zeros(rows, np.int64),
        np.zeros(rows, np.int64),
        np.zeros(num_gates, np.float32),
        np.zeros(num_gates, np.float32),
    )


def padded(num_inputs: int) -> int:
    """The least multiple of LANES that holds so many inputs."""
    return -(-num_inputs // LANES) * LANES


@inlined(fastmath=True)
def stretched(states, state):
    """ln(p / (1 - p)) of a state's probability, rounded to a step of the table."""
    return states.stretch[np.uint32(states.chance[state] * np.float32(STEPS) + HALF) & np.uint32(2 * STEPS - 1)]


@inlined(fastmath=True)
def read_counts(states, settings, room, table, zeros, ones, j):
    """Write the inputs of one pair of counts from room.x[j] on; returns the place after them."""
    if settings.plain:
        room.x[j] = states.log[ones] - states.log[zeros]
        return j + 1
    state = table * PAIRS + states.level[zeros] * NUM_LEVELS + states.level[ones]
    room.state[table] = state
    room.x[j] = stretched(states, state)
    if settings.confident:
        room.x[j + 1] = (states.chance[state] - HALF) * FOUR
        return j + 2
    return j + 1


@inlined(fastmath=True)
def read_match(states, room, length, bit, j):
    """Write the input of a match from room.x[j] on: positive where it expects a 1; returns the place after it."""
    room.x[j] = ZERO
    if bit >= 0:
        value = stretched(states, len(room.state) * PAIRS + length)
        room.x[j] = value if bit else -value
    return j + 1


@inlined()
def choose_rows(network, room, node, depth, order, match):
    """Write the row of every gate to `room` and ask for the rows of the final maps, which are needed last."""
    num_gates, level = len(room.dot), min(depth, DEEPEST)
    for k in range(len(room.row)):
        row = choose(network.gates, k, room.part, node, level, order, match)
        room.row[k] = row
        if k > num_gates:
            prefetch(network.offsets, row)


@inlined(fastmath=True)
def mix(network, settings, room):
    """Both layers; the probability of a 1 and its stretched form. Writes sums and probabilities to `room`."""
    x, dot = room.x, room.dot
    num_gates = len(dot)
    base = settings.start * total_of(x)
    mean = ZERO
    for k in range(num_gates):
        value = base + product(x, network.weights, room.row[k] * len(x))
        value = min(max(value, -MOST), MOST)
        dot[k] = value
        room.chance[k] = squash(value)
        mean += value
    mean /= np.float32(num_gates)
    if settings.layered:
        for k in range(num_gates):
            mean += network.upper[room.row[num_gates], k] * dot[k]
        mean = min(max(mean, -MOST), MOST)
    return squash(mean), mean


@inlined(fastmath=True)
def correct(network, settings, room, p, dot):
    """The final maps' mean with p."""
    first = len(room.dot) + 1
    num_finals = len(room.row) - first
    if num_finals == 0:
        return p
    low, part = knot(dot)
    mean = ZERO
    for row in room.row[first:]:
        mean += refined(network.offsets, network.states.squash, row, low, part)
    return p + settings.share * (mean / np.float32(num_finals) - p)


@inlined(fastmath=True)
def learn(network, settings, room, rate, p, dot, bit, length, expected):
    """Move everything that took part in a decision towards the bit that came."""
    num_gates, states = len(room.dot), network.states
    target = np.float32(bit)
    if settings.layered:
        row, step = room.row[num_gates], (target - p) * settings.upper_rate
        for k in range(num_gates):
            network.upper[row, k] += step * room.dot[k]
    for k in range(num_gates):
        add(room.x, (target - room.chance[k]) * rate, network.weights, room.row[k] * len(room.x))
    if not settings.plain:
        for state in room.state:
            teach(states.chance, states.seen, state, bit, settings.limit)
    if expected >= 0:
        state = len(room.state) * PAIRS + length
        teach(states.chance, states.seen, state, 1 if expected == bit else 0, settings.limit)
    low, part = knot(dot)
    for row in room.row[num_gates + 1 :]:
        refine(network.offsets, states.squash, row, low, part, bit, settings.final_rate)
