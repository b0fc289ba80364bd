"""The longest match: where the last symbols occurred before in the training text, and what followed there.

Legend: L lengths, T symbols of the training text, B positions of a block.
Source: Mahoney 2005, section 4 (match model).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hundredfold.methods.tools.mixing.contexts import PHI, mix
from hundredfold.methods.tools.mixing.lanes import inlined, kernel

LONGEST = 31  # a longer match counts as this
BUCKETS = 2 * LONGEST + 3  # values of the feature `match`: none, or length and expected bit


class Matches(NamedTuple):
    """The last place of each run of symbols.

    Attributes:
        lengths: int64 [L]; symbols of a run, the longest first.
        head: int32 [L, 2**bits]; the position after the last run of each hash, 0 for none.
    """

    lengths: np.ndarray
    head: np.ndarray


def matches(lengths: tuple[int, ...], bits: int) -> Matches:
    """No matches yet."""
    ordered = sorted(lengths, reverse=True)
    return Matches(np.array(ordered, np.int64), np.zeros((len(ordered), 1 << bits if ordered else 1), np.int32))


@inlined()
def run_hash(text, t, length, size):
    """The hash of the `length` symbols before position t."""
    code = np.uint64(length)
    for back in range(1, length + 1):
        code = mix(code, np.uint64(text[t - back]))
    return np.int64(code * PHI >> np.uint64(32)) & (size - 1)


@kernel()
def expect(matches, history, text, begin, end, hidden, shown, symbols, lengths):
    """What the longest match expects at positions [begin, end) of a text.

    Args:
        history: int64 [T]; the training text, in which matches are looked for.
        text: int64; may be the training text itself.
        hidden, shown: what follows positions [hidden, shown) of the history is not looked at.
        symbols: int64 [B], written: the symbol expected, -1 for none.
        lengths: int64 [B], written: how many symbols match, at most LONGEST.
    """
    lowest = matches.lengths
    for t in range(begin, end):
        best, after = 0, -1
        for m in range(len(lowest)):
            if t < lowest[m] or best > 0:
                continue
            q = matches.head[m, run_hash(text, t, lowest[m], matches.head.shape[1])]
            length = 0
            while length < LONGEST and length < q and length < t and history[q - 1 - length] == text[t - 1 - length]:
                length += 1
            if length >= lowest[m] and not hidden <= q < shown:
                best, after = length, history[q]
        symbols[t - begin] = after
        lengths[t - begin] = best


@kernel()
def remember(matches, text, begin, end):
    """Note the runs that end before each of the positions [begin, end) of the training text."""
    for t in range(begin, end):
        for m in range(len(matches.lengths)):
            length = matches.lengths[m]
            if t >= length:
                matches.head[m, run_hash(text, t, length, matches.head.shape[1])] = t


@inlined()
def expected_bit(tree, symbol, node, depth):
    """The bit that the expected symbol has at a node, -1 where its path does not meet it."""
    if symbol < 0:
        return -1
    place = tree.start[symbol] + depth
    if place >= tree.start[symbol + 1] or tree.decision[place] >> 1 != node:
        return -1
    return tree.decision[place] & 1
