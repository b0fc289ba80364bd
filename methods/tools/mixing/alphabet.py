"""What the symbols of a vocabulary are made of: which belong to words, and which end a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Alphabet(NamedTuple):
    """Three facts about each of V symbols.

    Attributes:
        fold: int64 [V]; the symbol that stands for it within a word, so that a capital counts as its small letter.
        word: bool [V]; it belongs to a word.
        line: bool [V]; it ends a line.
    """

    fold: np.ndarray
    word: np.ndarray
    line: np.ndarray

    @property
    def num_symbols(self) -> int:
        return len(self.fold)


def plain(num_symbols: int) -> Alphabet:
    """Symbols of which nothing is known: no words, no lines."""
    return Alphabet(np.arange(num_symbols), np.zeros(num_symbols, bool), np.zeros(num_symbols, bool))


def characters(texts: Sequence[str]) -> Alphabet:
    """Symbols that are characters or pieces of text: letters and apostrophes make words, a line break ends a line.

    Args:
        texts: what each symbol stands for; the small form of a text, where it is a symbol too, stands for it.
    """
    index = {text: symbol for symbol, text in reversed(list(enumerate(texts)))}
    fold = np.array([index.get(text.lower(), symbol) for symbol, text in enumerate(texts)], np.int64)
    word = np.array([bool(text) and all(c.isalpha() or c == "'" for c in text) for text in texts])
    return Alphabet(fold, word, np.array(["\n" in text for text in texts]))
