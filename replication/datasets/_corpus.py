"""Long texts of which a slice is taken: the same held-out end for every size of the slice before it.

Legend: n bytes.
"""

import functools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from hundredfold.methods.options import Count
from hundredfold.replication.datasets._files import data_root, found, read
from hundredfold.replication.datasets._text import Text

HELD_OUT = 100_000  # bytes each of validation and test


@dataclass(frozen=True)
class Corpus(Text):
    """Next-byte prediction, nats per byte. All 256 byte values are the vocabulary.

    The last 200,000 bytes of the file are held out, half for validation and half for test. Training is what lies before
    them, or its last `characters`, so that every size is judged by the same text, which follows on from it.
    """

    characters: Count | None = None  # bytes of training text, the last before what is held out; null takes all

    unit: ClassVar[str] = "bytes"
    file: ClassVar[str]  # below the data root
    digest: ClassVar[str]
    how: ClassVar[str]  # to obtain the file

    @classmethod
    def present(cls):
        return (data_root() / cls.file).exists()

    def read_training(self):
        tokens = self._tokens()
        end = len(tokens) - 2 * HELD_OUT
        start = 0 if self.characters is None else end - self.characters
        if start < 0:
            raise ValueError(f"characters={self.characters}: dataset={self.name()} has {end} for training; choose less")
        validation = tokens[end : end + HELD_OUT]
        return self.windows(tokens[start:end]), self.windows(validation, self.eval_windows)

    def read_test(self):
        return self.windows(self._tokens()[-HELD_OUT:], self.eval_windows)

    def raw(self):
        found(self.name(), self.file, self.how)
        return read(self.name(), self.file, self.digest)

    def _tokens(self):
        return _tokens(type(self), data_root())


@functools.lru_cache(maxsize=1)
def _tokens(corpus, root):
    """Return the bytes of a file, uint8 [n]."""
    return torch.from_numpy(np.frombuffer(corpus().raw(), np.uint8).copy())
