"""A byte-level byte-pair vocabulary learned from a text, and texts in its tokens: made once, kept beside the text.

Learning is deterministic: equal texts give equal vocabularies with one version of tokenizers.
"""

import numpy as np
import torch

from hundredfold.replication import tokenizer
from hundredfold.replication.datasets._files import atomic
from hundredfold.replication.datasets._text import mapped

BYTES, TOKENS = torch.uint8, torch.uint16
LARGEST = 1 << 16  # tokens fit 16 bits
CHUNK_CHARACTERS = 1 << 20


def check(size):
    """Raise a ValueError for a number of tokens that no vocabulary can have."""
    if not 257 <= size <= LARGEST:
        raise ValueError(f"vocabulary={size}: expected 257 to {LARGEST} tokens, such as 8192, or null for bytes")


def learned(text_path, size, path):
    """Return the tokenizer kept at `path`, learned from a text file if it is not there yet."""
    if not path.exists():
        with atomic(path) as temporary:
            tokenizer.train(_pieces(text_path), size).save(temporary)
    return tokenizer.load(path)


def encode(learned, text):
    """Return the tokens of a text, uint16 [n]; a vocabulary of 65,536 tokens at most fits them."""
    return learned.encode_to_array(text)


def tokens(path, train_path, size, keep):
    """Return a text file in tokens of the vocabulary learned from the training text, uint16 [n].

    Args:
        keep: write them beside the text and memory-map them from there.
    """
    vocabulary = learned(train_path, size, train_path.with_name(f"{train_path.name}.bpe-{size}.json"))
    kept = path.with_name(f"{path.name}.bpe-{size}.bin")
    if keep and kept.exists():
        return mapped(kept, TOKENS)
    pieces = [encode(vocabulary, text) for text in _pieces(path)]
    if not keep:
        return torch.from_numpy(np.concatenate(pieces))
    with atomic(kept) as temporary, open(temporary, "wb") as file:
        for piece in pieces:
            piece.tofile(file)
    return mapped(kept, TOKENS)


def _pieces(path):
    """Parts of a text file that end with a line, so that no token spans two."""
    with open(path, encoding="utf-8", newline="") as file:
        while lines := file.readlines(CHUNK_CHARACTERS):
            yield "".join(lines)
