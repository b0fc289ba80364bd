"""Running over a text block by block: look up, predict, learn from what was predicted, and only then count.

Within a block the tables stand still, as they do when frozen weights score a text that they never saw; so the mixers
learn how far to trust counts of other places, not of the line before. In a second pass the block's own counts are taken
out of the tables before it is predicted. In the adaptive mode a block is one symbol.

Legend: B positions of a chunk, N contexts, R rows of a chunk, F features.
Source: learning the combination on what the parts have not counted, Wolpert 1992, "Stacked generalization"; leaving
counts out, Ney, Essen and Kneser 1995.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hundredfold.methods.tools.mixing.alphabet import Alphabet
from hundredfold.methods.tools.mixing.contexts import Reader, hash_contexts
from hundredfold.methods.tools.mixing.forms import FEATURES, Contexts
from hundredfold.methods.tools.mixing.gates import by_position
from hundredfold.methods.tools.mixing.lanes import inlined, kernel
from hundredfold.methods.tools.mixing.match import Matches, expect, expected_bit, remember
from hundredfold.methods.tools.mixing.network import (
    BIAS,
    LEAST,
    Network,
    Scratch,
    Settings,
    choose_rows,
    correct,
    learn,
    mix,
    read_counts,
    read_match,
)
from hundredfold.methods.tools.mixing.tables import Tables, aim, count, discount, locate
from hundredfold.methods.tools.mixing.tree import Tree
from hundredfold.methods.tools.mixing.window import Window, counted, look_back, slide


class Parts(NamedTuple):
    """All of a model: what it is made of and what it has learned."""

    tree: Tree
    alphabet: Alphabet
    contexts: Contexts
    tables: Tables
    matches: Matches
    network: Network
    settings: Settings


class Plan(NamedTuple):
    """What to do with a run of symbols.

    Attributes:
        block: symbols predicted before they are counted.
        rate: of the mixers; 0 to learn nothing.
        counting: count the symbols of each block after it.
        again: they are in the tables already; take a block's counts out before it is predicted.
        every: write the probability of a 1 at every node, and learn nothing.
    """

    block: int
    rate: np.float32
    counting: bool
    again: bool
    every: bool


class Chunk(NamedTuple):
    """Room for a chunk: hashes [B, N], features [B, F], slots and checks [R, N], symbol and length of matches [B]."""

    hashes: np.ndarray
    features: np.ndarray
    found: np.ndarray
    checks: np.ndarray
    expected: np.ndarray
    lengths: np.ndarray


class Work(NamedTuple):
    """What a run needs beside the model; a function of the symbols before, and no part of the model's state.

    Attributes:
        predicting, removing, counting: where each of the three has come to in the text.
    """

    chunk: Chunk
    room: Scratch
    window: Window
    predicting: Reader
    removing: Reader
    counting: Reader


def chunk(size: int, num_contexts: int, num_rows: int) -> Chunk:
    """Room for `size` positions with at most `num_rows` rows each."""
    return Chunk(
        np.zeros((size, num_contexts), np.uint64),
        np.zeros((size, len(FEATURES)), np.int64),
        np.zeros((size * num_rows, num_contexts), np.int32),
        np.zeros((size * num_rows, num_contexts), np.uint16),
        np.full(size, -1, np.int64),
        np.zeros(size, np.int64),
    )


@kernel()
def skip(parts, work, text, begin, end):
    """Read the symbols [begin, end) of a text without predicting them."""
    size = len(work.chunk.hashes)
    for first in range(begin, end, size):
        stop = min(first + size, end)
        hashes = work.chunk.hashes
        hash_contexts(text, first, stop, parts.contexts, parts.alphabet, work.predicting, hashes, work.chunk.features)
        for t in range(first, stop):
            slide(work.window, t, parts.tree.path[text[t]], hashes[t - first])
    for reader in (work.removing, work.counting):
        for i in range(len(reader.words)):
            reader.words[i] = work.predicting.words[i]
        for i in range(len(reader.place)):
            reader.place[i] = work.predicting.place[i]


@kernel()
def run(parts, work, plan, history, text, begin, end, nats, ones, tally):
    """Go over the positions [begin, end) of a text.

    Args:
        work: has read the text up to `begin`.
        history: int64; the training text, where matches are looked for.
        nats: float64 [end - begin]; the loss of each position, written unless plan.every.
        ones: float64 [end - begin, V - 1]; written if plan.every.
        tally: int64 [4]; decisions predicted, those with a match, and both of those learned from; added to.
    """
    size = len(work.chunk.hashes)
    for first in range(begin, end, plan.block):
        stop = min(first + plan.block, end)
        if plan.again:
            for t in range(first, stop, size):
                change_counts(parts, work, work.removing, text, t, min(t + size, stop), True)
        for t in range(first, stop, size):
            until = min(t + size, stop)
            predict(parts, work, plan, history, text, t, until, begin, end, first, nats, ones, tally)
        if plan.counting:
            for t in range(first, stop, size):
                change_counts(parts, work, work.counting, text, t, min(t + size, stop), False)


@kernel()
def change_counts(parts, work, reader, text, first, stop, out):
    """Count the positions [first, stop) of a text, a chunk at most, or take them out of the tables again."""
    found, checks, hashes = work.chunk.found, work.chunk.checks, work.chunk.hashes[: stop - first]
    symbols = text[first:stop]
    hash_contexts(text, first, stop, parts.contexts, parts.alphabet, reader, hashes, work.chunk.features)
    rows = aim(parts.tables, hashes, symbols, parts.tree, False, found, checks)
    if out:
        locate(parts.tables, rows, found, checks)
        discount(parts.tables, symbols, parts.tree, found)
    else:
        count(parts.tables, symbols, parts.tree, found, checks, parts.settings.forget)
        remember(parts.matches, text, first, stop)


@kernel()
def predict(parts, work, plan, history, text, first, stop, begin, end, block, nats, ones, tally):
    """Predict the positions [first, stop), a chunk at most, and learn from them; other arguments as of `run`.

    Args:
        block: the position at which the block begins; in a second pass no match is looked for from there on to its end.
    """
    chunk, window, tree = work.chunk, work.window, parts.tree
    symbols, hashes = text[first:stop], chunk.hashes[: stop - first]
    hash_contexts(text, first, stop, parts.contexts, parts.alphabet, work.predicting, hashes, chunk.features)
    rows = aim(parts.tables, hashes, symbols, tree, plan.every, chunk.found, chunk.checks)
    if len(parts.matches.lengths) > 0:
        hidden = block + plan.block if plan.again else block
        expect(parts.matches, history, text, first, stop, block, hidden, chunk.expected, chunk.lengths)
    locate(parts.tables, rows, chunk.found, chunk.checks)
    row = 0
    for t in range(first, stop):
        look_back(window, t, hashes[t - first])
        by_position(parts.network.gates, chunk.features[t - first], work.room.part)
        out = ones[t - begin] if plan.every else ones[0]
        row, loss = decide(parts, work, t - first, text[t], row, plan.every, plan.rate, out, tally)
        nats[t - begin] = loss
        slide(window, t, tree.path[text[t]], hashes[t - first])


@kernel(fastmath=True)
def decide(parts, work, b, symbol, row, every, rate, ones, tally):
    """Predict the decisions of one position and learn from them where rate > 0.

    Args:
        b: the position in its chunk.
        row: of chunk.found at which the position's rows begin.
        every: predict all nodes of the tree and write their probabilities to `ones`; else the symbol's path.
    Returns:
        the row after the last, and the loss in nats (0 with `every`).
    """
    tree, network, settings, room = parts.tree, parts.network, parts.settings, work.room
    begin, end = (0, len(tree.group)) if every else (tree.start[symbol], tree.start[symbol + 1])
    loss, group, length = 0.0, -1, work.chunk.lengths[b]
    for d in range(begin, end):
        node, bit = (d, 0) if every else (tree.decision[d] >> 1, tree.decision[d] & 1)
        if tree.group[node] != group:
            row += group >= 0
            group = tree.group[node]
        expected = expected_bit(tree, work.chunk.expected[b], node, tree.depth[node])
        order = read_inputs(parts, work, row, node, length, expected)
        match = 1 + 2 * length + expected if expected >= 0 else 0
        choose_rows(network, room, node, tree.depth[node], order, match)
        p, dot = mix(network, settings, room)
        chance = np.float64(correct(network, settings, room, p, dot))
        chance = min(max(chance, LEAST), 1 - LEAST)
        tally[0] += 1
        tally[1] += expected >= 0
        if every:
            ones[node] = chance
            continue
        loss -= np.log(chance if bit else 1 - chance)
        if rate > 0:
            tally[2] += 1
            tally[3] += expected >= 0
            learn(network, settings, room, rate, p, dot, bit, length, expected)
    return row + 1, loss


@inlined(fastmath=True)
def read_inputs(parts, work, row, node, length, expected):
    """Write the inputs of a decision to the room; returns the symbols of the longest context seen at the node."""
    states, settings, room, window = parts.network.states, parts.settings, work.room, work.window
    slots, found = parts.tables.slots, work.chunk.found
    num_contexts = found.shape[1]
    place, order, j = 2 + 2 * parts.tree.place[node], 0, 0
    for i in range(num_contexts):
        slot = found[row, i]
        zeros, ones = np.int64(slots[slot, place]), np.int64(slots[slot, place + 1])
        if zeros + ones > 0:
            order = max(order, parts.contexts.order[i])
        j = read_counts(states, settings, room, i, zeros, ones, j)
    for c in range(len(window.picked)):
        zeros, ones = counted(window, c, parts.tree, node)
        j = read_counts(states, settings, room, num_contexts + c, zeros, ones, j)
    if len(parts.matches.lengths) > 0:
        j = read_match(states, room, length, expected, j)
    room.x[j] = BIAS
    return order
