"""Tiny Shakespeare: 1,115,394 characters of plays, the language task of char-rnn and nanoGPT."""

import functools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from hundredfold.methods.options import Count
from hundredfold.replication.datasets._files import Download, data_root, read
from hundredfold.replication.datasets._text import Text

FILE = Download(
    "https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a/data/tinyshakespeare/input.txt",
    "tinyshakespeare/input.txt",
    "sha256:86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    1_115_394,
)


@dataclass(frozen=True)
class Shakespeare(Text):
    """Next-character prediction on tiny Shakespeare, 65 symbols, nats per character.

    Training is the first 90 %, as everywhere. The last 10 %, which others call validation, is halved: validation is its
    first half, test its second, so that the figure that others report is the mean of the two losses. The symbols are
    numbered in the order of their codes.
    Source: Karpathy, char-rnn.
    """

    context: Count = 256  # characters a window

    license: ClassVar[str] = "public domain"
    source: ClassVar[str] = "https://github.com/karpathy/char-rnn"
    splits: ClassVar[str] = "90 % / 5 % / 5 % of 1,115,394 characters"
    downloads: ClassVar[tuple[Download, ...]] = (FILE,)
    unit: ClassVar[str] = "characters"
    num_tokens: ClassVar[int] = 65

    def read_training(self):
        return self._windows(0.0, 0.9), self._windows(0.9, 0.95, self.eval_windows)

    def read_test(self):
        return self._windows(0.95, 1.0, self.eval_windows)

    def raw(self):
        return read(self.name(), FILE.path, FILE.digest)

    @property
    def symbols(self):
        codes = np.unique(np.frombuffer(self.raw(), np.uint8))
        return tuple(map(chr, codes))

    def _windows(self, start, stop, limit=None):
        tokens = _tokens(data_root())
        return self.windows(tokens[int(len(tokens) * start) : int(len(tokens) * stop)], limit)


@functools.lru_cache(maxsize=1)
def _tokens(root):
    """Return the characters as numbers 0..64, long [n]."""
    codes = np.frombuffer(Shakespeare().raw(), np.uint8)
    return torch.from_numpy(np.unique(codes, return_inverse=True)[1])
