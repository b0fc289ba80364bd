"""Counts over the last symbols only: what followed the same contexts within a window that slides with the position.

They are a function of the window's symbols and of nothing else, as attention is, and therefore no part of a model's
state: nothing is learned or kept when frozen weights score a text. Positions whose contexts have the same hash are
chained, the latest first, and the chain is followed until it leaves the window.

The symbols that came are kept as their paths; at a decision those whose path leads through its node are counted.

Legend: W symbols of the window, rounded up to a power of two; C contexts; F occurrences counted at most.
Source: chains by hash as in Deutsch 1996 (RFC 1951, section 4); a cache of recent words, Kuhn and De Mori 1990.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hundredfold.methods.tools.mixing.lanes import inlined, kernel

HEAD_BITS = np.uint64(12)
NOBODY = -(1 << 40)  # a position before every window
LAST_BIT, ONE = np.uint64(63), np.uint64(1)


class Window(NamedTuple):
    """The last symbols and chains through them.

    Attributes:
        hashes: uint64 [C, W]; contexts of the positions, at position % W.
        before: int64 [C, W]; the position before in the chain.
        head: int64 [C, 4096]; the last position of each chain.
        paths: uint64 [W]; of the symbols, as in Tree.
        size: int64 [1]; symbols that the window holds at most.
        picked: int64 [C]; the contexts it follows.
        came: uint64 [C, F]; paths of the symbols that followed the contexts of the position looked at, latest first.
        found: int64 [C]; how many.
    """

    hashes: np.ndarray
    before: np.ndarray
    head: np.ndarray
    paths: np.ndarray
    size: np.ndarray
    picked: np.ndarray
    came: np.ndarray
    found: np.ndarray


def window(size: int, most: int, picked: np.ndarray) -> Window:
    """An empty window of `size` symbols over some of the contexts; none where size is 0."""
    picked = np.array(picked if size else [], np.int64)
    room, num = 1 << max(size - 1, 0).bit_length(), len(picked)
    return Window(
        np.zeros((num, room), np.uint64),
        np.full((num, room), NOBODY, np.int64),
        np.full((num, 1 << int(HEAD_BITS)), NOBODY, np.int64),
        np.zeros(room, np.uint64),
        np.array([size], np.int64),
        picked,
        np.zeros((num, most), np.uint64),
        np.zeros(num, np.int64),
    )


@inlined()
def chain(code):
    """The chain that a context belongs to."""
    return np.int64(code >> (np.uint64(64) - HEAD_BITS))


@kernel()
def look_back(window, t, hashes):
    """Find what followed the contexts of position t within the window.

    Args:
        hashes: uint64 [N]; the contexts of t.
    """
    mask, most = window.hashes.shape[1] - 1, window.came.shape[1]
    for c in range(len(window.picked)):
        code = hashes[window.picked[c]]
        q, found = window.head[c, chain(code)], 0
        while q >= t - window.size[0] and found < most:
            if window.hashes[c, q & mask] == code:
                window.came[c, found] = window.paths[q & mask]
                found += 1
            q = window.before[c, q & mask]
        window.found[c] = found


@inlined()
def counted(window, c, tree, node):
    """Zeros and ones at a node among what followed context c."""
    path, above, shift = tree.path_to[node], tree.above[node], LAST_BIT - np.uint64(tree.depth[node])
    through, ones = 0, 0
    for i in range(window.found[c]):
        here = ((window.came[c, i] ^ path) & above) == 0
        through += here
        ones += here & (window.came[c, i] >> shift & ONE != 0)
    return through - ones, ones


@kernel()
def slide(window, t, path, hashes):
    """Take in the symbol at position t; the one that falls out is overwritten or too old to be reached."""
    mask = window.hashes.shape[1] - 1
    window.paths[t & mask] = path
    for c in range(len(window.picked)):
        code = hashes[window.picked[c]]
        window.hashes[c, t & mask] = code
        window.before[c, t & mask] = window.head[c, chain(code)]
        window.head[c, chain(code)] = t
