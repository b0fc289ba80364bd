"""Counts over the last symbols only: what followed the same contexts within a window that slides with the position.

They are a function of the window's symbols and of nothing else, as attention is, and therefore no part of a model's
state: nothing is learned or kept when frozen weights score a text. Positions whose contexts have the same hash are
chained, the latest first, and the chain is followed until it leaves the window.

Legend: W symbols of the window, rounded up to a power of two; C contexts; V - 1 nodes.
Source: chains by hash as in Deutsch 1996 (RFC 1951, section 4); a cache of recent words, Kuhn and De Mori 1990.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hundredfold.methods.tools.mixing.lanes import inlined, kernel

HEAD_BITS = np.uint64(12)
NOBODY = -(1 << 40)  # a position before every window


class Window(NamedTuple):
    """The last symbols and chains through them.

    Attributes:
        hashes: uint64 [C, W]; contexts of the positions, at position % W.
        before: int64 [C, W]; the position before in the chain.
        head: int64 [C, 4096]; the last position of each chain.
        symbols: int64 [W].
        counts: int64 [C, V - 1, 2]; zeros and ones at each node; all 0 between positions.
        size: int64 [2]; symbols that the window holds at most, and occurrences of a context counted at most.
        picked: int64 [C]; the contexts it follows.
    """

    hashes: np.ndarray
    before: np.ndarray
    head: np.ndarray
    symbols: np.ndarray
    counts: np.ndarray
    size: np.ndarray
    picked: np.ndarray


def window(size: int, most: int, picked: np.ndarray, num_nodes: int) -> Window:
    """An empty window of `size` symbols over some of the contexts; none where size is 0."""
    picked = np.array(picked if size else [], np.int64)
    room, num = 1 << max(size - 1, 0).bit_length(), len(picked)
    return Window(
        np.zeros((num, room), np.uint64),
        np.full((num, room), NOBODY, np.int64),
        np.full((num, 1 << int(HEAD_BITS)), NOBODY, np.int64),
        np.zeros(room, np.int64),
        np.zeros((num, num_nodes, 2), np.int64),
        np.array([size, most], np.int64),
        picked,
    )


@inlined()
def chain(code):
    """The chain that a context belongs to."""
    return np.int64(code >> (np.uint64(64) - HEAD_BITS))


@kernel()
def look_back(window, t, hashes, tree, up):
    """Count what followed the contexts of position t within the window, or undo that.

    Args:
        hashes: uint64 [N]; the contexts of t.
        up: True to count, False to set what was counted to 0.
    """
    mask = window.hashes.shape[1] - 1
    for c in range(len(window.picked)):
        code = hashes[window.picked[c]]
        q, found = window.head[c, chain(code)], 0
        while q >= t - window.size[0] and found < window.size[1]:
            if window.hashes[c, q & mask] == code:
                found += 1
                walk(window.counts, c, window.symbols[q & mask], tree, up)
            q = window.before[c, q & mask]


@inlined()
def walk(counts, c, symbol, tree, up):
    """Count a symbol's decisions, or set their counts to 0."""
    for d in range(tree.start[symbol], tree.start[symbol + 1]):
        node, bit = tree.decision[d] >> 1, tree.decision[d] & 1
        counts[c, node, bit] = counts[c, node, bit] + 1 if up else 0


@kernel()
def slide(window, t, symbol, hashes):
    """Take in the symbol at position t; the one that falls out is overwritten or too old to be reached."""
    mask = window.hashes.shape[1] - 1
    window.symbols[t & mask] = symbol
    for c in range(len(window.picked)):
        code = hashes[window.picked[c]]
        window.hashes[c, t & mask] = code
        window.before[c, t & mask] = window.head[c, chain(code)]
        window.head[c, chain(code)] = t
