"""Tiny Shakespeare: 1,115,394 characters of plays, the language task of char-rnn and nanoGPT."""

import functools
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from replication.datasets.base import Dataset, DataSpec, Split

SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
SYMBOLS = 65


@functools.cache
def _text():
    """Return the file's bytes.

    Raises:
        ValueError: the file is missing or not the original.
    """
    root = os.environ.get("HUNDREDFOLD_DATA")
    path = Path(root or "data") / "tinyshakespeare" / "input.txt"
    if not path.is_file():
        raise ValueError(
            f"dataset=shakespeare: {path} is missing; set HUNDREDFOLD_DATA to a folder that holds "
            f"tinyshakespeare/input.txt, the file data/tinyshakespeare/input.txt of {Shakespeare.source}"
        )
    text = path.read_bytes()
    if hashlib.sha256(text).hexdigest() != SHA256:
        raise ValueError(f"dataset=shakespeare: {path} is not the original file (SHA-256 differs); fetch it again")
    return text


@functools.cache
def _tokens():
    """Return the characters as numbers 0..64 in the order of their codes, long [N]."""
    text = torch.tensor(list(_text()))
    return torch.unique(text, return_inverse=True)[1]


@dataclass(frozen=True)
class Shakespeare(Dataset):
    """Next-character prediction on tiny Shakespeare, 65 symbols, nats per character.

    Training is the first 90 %, as everywhere. The last 10 %, which others call validation, is halved: validation is its
    first half, test its second, so that the figure that others report is the mean of the two losses. Windows do not
    overlap, and nothing is known before a window's start.
    Source: Karpathy, char-rnn.
    """

    context: int = 256  # characters a window
    eval_windows: int | None = None  # validation and test windows kept, evenly spaced; null keeps all

    license: ClassVar[str] = "public domain"
    source: ClassVar[str] = "https://github.com/karpathy/char-rnn"

    def __post_init__(self):
        if not 1 <= self.context <= 50_000:
            raise ValueError(f"context={self.context}: expected a number of characters from 1 to 50000, such as 256")
        if self.eval_windows is not None and self.eval_windows < 1:
            raise ValueError(f"eval_windows={self.eval_windows}: expected at least 1, or null for all windows")

    def spec(self):
        return DataSpec(kind="text", input_shape=(self.context,), num_classes=SYMBOLS, metric="loss")

    def training(self):
        return self._windows(0.0, 0.9, None), self._windows(0.9, 0.95, self.eval_windows)

    def read_test(self):
        return self._windows(0.95, 1.0, self.eval_windows)

    def raw(self):
        return _text()

    def _windows(self, start, stop, limit):
        tokens = _tokens()
        part = tokens[int(len(tokens) * start) : int(len(tokens) * stop)]
        count = (len(part) - 1) // self.context
        kept = torch.arange(count) if limit is None else torch.arange(min(limit, count)) * count // min(limit, count)
        inputs, targets = (part[i : i + count * self.context].view(count, -1)[kept] for i in (0, 1))
        return Split(inputs, targets)
