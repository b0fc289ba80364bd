"""What a prediction may look at: hashes of the symbols, words and columns before a position.

Legend: N contexts, B positions of a block, U parts of all contexts; forms.py says how one is written.
Source: Mahoney 2005, "Adaptive weighing of context models for lossless data compression" (orders, words, sparse ones).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hundredfold.methods.tools.mixing.forms import LONGEST_COLUMN, LONGEST_WORD, SYMBOL, WORD
from hundredfold.methods.tools.mixing.lanes import inlined, kernel

WORDS = 3  # hashes of words kept: the one so far and two before

PHI = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: multiplicative hashing
SEED = np.uint64(0xD1B54A32D192ED03)
FOLD = np.uint64(29)


class Reader(NamedTuple):
    """What is known of the text before a position; read on by `hash_contexts`.

    Attributes:
        words: uint64 [WORDS]; hashes of the word so far and of the words before it.
        place: int64 [2]; symbols of the word so far, column.
    """

    words: np.ndarray
    place: np.ndarray


def reader() -> Reader:
    """The state at the beginning of a text."""
    return Reader(np.zeros(WORDS, np.uint64), np.zeros(2, np.int64))


@inlined()
def mix(code, part):
    """A hash of a hash and one part more."""
    code = (code ^ part) * PHI
    return code ^ (code >> FOLD)


@kernel()
def read_on(state, symbol, fold, word, line):
    """Update what is known by one symbol."""
    words, place = state.words, state.place
    if word[symbol]:
        words[0] = mix(words[0], np.uint64(fold[symbol] + 1))
        place[0] += 1
    elif place[0] > 0:
        for back in range(WORDS - 1, 0, -1):
            words[back] = words[back - 1]
        words[0] = 0
        place[0] = 0
    place[1] = 0 if line[symbol] else place[1] + 1


@kernel()
def hash_contexts(text, begin, end, contexts, alphabet, state, hashes, features):
    """The hashes and features of the positions [begin, end) of a text, each from the symbols before it alone.

    Args:
        text: int64 [T].
        state: a Reader at `begin`; it is read on to `end`.
        hashes: uint64 [B, N], written.
        features: int64 [B, FEATURES], written.
    """
    first, kind, value = contexts.first, contexts.kind, contexts.value
    fold, word, line = alphabet
    for t in range(begin, end):
        here = t - begin
        for i in range(len(first) - 1):
            code = np.uint64(i + 1) * SEED  # far apart, or one context's parts could look like another's
            for part in range(first[i], first[i + 1]):
                if kind[part] == SYMBOL:
                    back = t - value[part]
                    code = mix(code, np.uint64(text[back] + 1 if back >= 0 else 0))
                elif kind[part] == WORD:
                    code = mix(code, state.words[value[part]])
                else:
                    code = mix(code, np.uint64(min(state.place[1], LONGEST_COLUMN) // value[part]))
            hashes[here, i] = code
        features[here, 0] = text[t - 1] + 1 if t > 0 else 0
        features[here, 1] = text[t - 2] + 1 if t > 1 else 0
        features[here, 2] = min(state.place[0], LONGEST_WORD)
        features[here, 3] = min(state.place[1], LONGEST_COLUMN)
        read_on(state, text[t], fold, word, line)
