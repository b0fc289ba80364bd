"""Counts of what followed each context, in slots of 32 bytes that are found by hash.

A slot holds the counts of one context at one group of the tree: a check of the hash (two bytes), then zeros and ones at
up to fifteen nodes, a byte each. Four slots, two lines of memory, share their hash; where all belong to others, the one
whose context occurred least is given up. Slot 0 is always empty. Looking up has two steps, because a table does not
fit into a cache: first all lines of a chunk of text are asked for, then they are read.

Legend: S slots, B positions of a chunk, N contexts, R rows: one for each position and group on its symbol's path.
Source: Mahoney 2005 (hashed slots of a few decisions with a check).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hundredfold.methods.tools.mixing.contexts import PHI
from hundredfold.methods.tools.mixing.lanes import aligned, inlined, kernel, prefetch

BYTES = 32  # of a slot
TRIED = 4  # slots of a hash
FULL = 255  # a count that would pass this is halved first, with its counterpart
SPREAD = np.uint64(0xD6E8FEB86659FD93)
HALF, LOW, ONE = np.uint64(32), np.uint64(0xFFFF), np.uint64(1)


class Tables(NamedTuple):
    """The slots of all contexts.

    Attributes:
        slots: uint8 [S, 32]; S is a power of two.
        pairs: uint16 [S, 16]; the same memory: the check, then zeros + 256 * ones of each node.
        group_hash: uint64 [G]; one odd number per group of the tree.
    """

    slots: np.ndarray
    pairs: np.ndarray
    group_hash: np.ndarray


def tables(bits: int, num_groups: int) -> Tables:
    """2**bits empty slots."""
    slots = aligned((1 << bits, BYTES), np.uint8)
    return named(Tables(slots, slots.view("<u2"), np.zeros(0, np.uint64)), num_groups)


def named(empty: Tables, num_groups: int) -> Tables:
    """The same slots for a tree of so many groups."""
    numbers = np.arange(1, num_groups + 1, dtype=np.uint64) * SPREAD
    return empty._replace(group_hash=(numbers ^ (numbers >> HALF)) * PHI | ONE)


@kernel()
def aim(tables, hashes, symbols, tree, every, found, checks):
    """Where the slots of a chunk should lie; asks for their lines of memory.

    Args:
        hashes: uint64 [B, N].
        symbols: int64 [B]; their paths are followed.
        every: follow all nodes of the tree instead.
        found: int32 [R, N], written: the first slot to try.
        checks: uint16 [R, N], written.
    """
    row = 0
    num_slots, num_contexts = len(tables.slots), hashes.shape[1]
    for b in range(len(symbols)):
        begin, end = (0, len(tree.group)) if every else (tree.start[symbols[b]], tree.start[symbols[b] + 1])
        last = -1
        for d in range(begin, end):
            group = tree.group[d if every else tree.decision[d] >> 1]
            if group != last:
                last = group
                for i in range(num_contexts):
                    key = (hashes[b, i] + tables.group_hash[group]) * SPREAD
                    key = (key ^ (key >> HALF)) * PHI
                    slot = np.int64(key >> HALF) & (num_slots - 1)
                    prefetch(tables.slots, slot)
                    found[row, i] = slot
                    checks[row, i] = np.uint16((key & LOW) | ONE)
                row += 1
    return row


@kernel()
def locate(tables, rows, found, checks):
    """Find the slots aimed at, 0 where a context has none.

    Args:
        found: int32 [R, N], overwritten.
    """
    pairs = tables.pairs
    for row in range(rows):
        for i in range(found.shape[1]):
            first, check, slot = found[row, i], checks[row, i], 0
            for step in range(TRIED):
                if pairs[first ^ step, 0] == check:
                    slot = first ^ step
            found[row, i] = slot


@inlined()
def claim(tables, first, check):
    """The slot of a context aimed at; where it has none, the least used of the line is emptied for it."""
    pairs = tables.pairs
    least, fewest = 0, 1 << 30
    for step in range(TRIED):
        slot = first ^ step
        if pairs[slot, 0] == check:
            return slot
        occurrences = np.int64(tables.slots[slot, 2]) + np.int64(tables.slots[slot, 3])
        if occurrences < fewest and slot != 0:
            least, fewest = slot, occurrences
    for place in range(pairs.shape[1]):
        pairs[least, place] = 0
    pairs[least, 0] = check
    return least


@kernel()
def count(tables, symbols, tree, found, checks, forget):
    """Add the symbols of a chunk to the counts of their contexts.

    Args:
        found, checks: by `aim`.
        forget: a count above it loses half of the surplus when the other bit comes; 0 for never.
    """
    row, slots = 0, tables.slots
    for b in range(len(symbols)):
        begin, end = tree.start[symbols[b]], tree.start[symbols[b] + 1]
        while begin < end:
            stop = begin + 1
            while stop < end and tree.group[tree.decision[stop] >> 1] == tree.group[tree.decision[begin] >> 1]:
                stop += 1
            for i in range(found.shape[1]):
                slot = claim(tables, found[row, i], checks[row, i])
                for d in range(begin, stop):
                    place, bit = 2 + 2 * tree.place[tree.decision[d] >> 1], tree.decision[d] & 1
                    if slots[slot, place + bit] == FULL:
                        slots[slot, place] >>= 1
                        slots[slot, place + 1] >>= 1
                    slots[slot, place + bit] += 1
                    surplus = np.int64(slots[slot, place + 1 - bit]) - forget
                    if forget > 0 and surplus > 0:
                        slots[slot, place + 1 - bit] -= np.uint8((surplus + 1) >> 1)
            row += 1
            begin = stop


@kernel()
def discount(tables, symbols, tree, found):
    """Take the symbols of a chunk out of the counts again; contexts that have lost their slot are passed over.

    Args:
        found: int32 [R, N] by `locate`.
    """
    row, slots = -1, tables.slots
    for b in range(len(symbols)):
        group = -1
        for d in range(tree.start[symbols[b]], tree.start[symbols[b] + 1]):
            node, bit = tree.decision[d] >> 1, tree.decision[d] & 1
            if tree.group[node] != group:
                group = tree.group[node]
                row += 1
            place = 2 + 2 * tree.place[node] + bit
            for i in range(found.shape[1]):
                if slots[found[row, i], place] > 0:
                    slots[found[row, i], place] -= 1
