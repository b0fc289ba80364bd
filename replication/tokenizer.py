"""Byte-level byte-pair encoding: a vocabulary learned here from texts, kept as one JSON file, or GPT-2's own."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import ByteLevelBPETokenizer

NUM_BYTES = 256


class Tokenizer:
    """Texts as arrays of tokens and back; no text is unknown to it, because every byte is a token.

    Attributes:
        vocabulary: number of tokens; they are 0 to vocabulary - 1.
        dtype: the smaller of uint16 and uint32 that holds every token.
    """

    def __init__(self, encoder: tokenizers.Tokenizer):
        self._encoder = encoder
        self.vocabulary = encoder.get_vocab_size()
        self.dtype = np.uint16 if self.vocabulary <= 1 << 16 else np.uint32

    def encode_to_array(self, text: str) -> np.ndarray:
        """Tokens [n] of a text."""
        return np.array(self._encoder.encode(text, add_special_tokens=False).ids, dtype=self.dtype)

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of tokens; bytes that are not UTF-8 become replacement characters."""
        return self._encoder.decode([int(token) for token in tokens], skip_special_tokens=False)

    def save(self, path: str | Path) -> None:
        """Write one JSON file, readable by `load` and by tokenizers itself."""
        Path(path).write_text(self._encoder.to_str(), encoding="utf-8")


def train(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Learn a vocabulary; equal texts in equal order give equal vocabularies with one version of tokenizers.

    Args:
        vocabulary: most tokens it may have; fewer where the texts hold fewer pairs that occur twice.
    Raises:
        ValueError: fewer tokens than there are bytes.
    Source: Sennrich et al. 2015, arXiv:1508.07909; on bytes: Radford et al. 2019.
    """
    if vocabulary < NUM_BYTES:
        raise ValueError(f"vocabulary={vocabulary}: expected at least {NUM_BYTES} tokens, one for every byte")
    learned = ByteLevelBPETokenizer()
    learned.train_from_iterator(texts, vocab_size=vocabulary, min_frequency=2, show_progress=False)
    return Tokenizer(tokenizers.Tokenizer.from_str(learned.to_str()))


def load(path: str | Path) -> Tokenizer:
    """Read a tokenizer's JSON file, or a local folder with GPT-2's `tokenizer.json` or `vocab.json` and `merges.txt`.

    Raises:
        ValueError: nothing there, or not a tokenizer.
    """
    path = Path(path)
    vocabulary, merges = path / "vocab.json", path / "merges.txt"
    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        if not file.is_file() and vocabulary.is_file() and merges.is_file():
            encoder = ByteLevelBPETokenizer.from_file(str(vocabulary), str(merges))
            return Tokenizer(tokenizers.Tokenizer.from_str(encoder.to_str()))
        if file.is_file():
            return Tokenizer(tokenizers.Tokenizer.from_file(str(file)))
    except Exception as error:  # tokenizers raises nothing narrower
        raise ValueError(f"tokenizer={path}: cannot be read ({error}); make it again") from None
    raise ValueError(
        f"tokenizer={path}: no such file; give a tokenizer's JSON file or a folder with GPT-2's vocabulary"
    )
