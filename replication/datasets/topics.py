"""Python's own help texts as bytes: the smallest language task that is real text. Ships with Python; no download."""

import functools
from dataclasses import dataclass
from pydoc_data.topics import topics
from typing import ClassVar

import torch

from hundredfold.methods.options import Count
from hundredfold.replication.datasets._text import Text


@functools.cache
def _text():
    """Return the topics in the order of their keys as UTF-8, each paragraph once, where it first occurs.

    A fifth of the text repeats other topics, up to spacing: left in, 8 % of the test windows would be training text.
    """
    paragraphs = [paragraph for key in sorted(topics) for paragraph in topics[key].split("\n\n") if paragraph.strip()]
    first = {}
    for paragraph in paragraphs:
        first.setdefault(" ".join(paragraph.split()), paragraph)
    return "\n\n".join(first.values()).encode()


@dataclass(frozen=True)
class Topics(Text):
    """Next-byte prediction on Python's help texts, about 374,000 bytes: 80 % training, 10 % validation, 10 % test.

    The texts of `pydoc_data.topics` without their repetitions, cut into three contiguous parts and then into windows.
    All 256 byte values are the vocabulary, so no byte is mapped or dropped and a loss is in nats per byte. The texts
    change with the version of Python (374,153 bytes in 3.11.7): losses compare only between equal fingerprints.
    Source: https://docs.python.org/3/reference.
    """

    context: Count = 32  # bytes a window

    license: ClassVar[str] = "PSF-2.0"
    source: ClassVar[str] = "https://docs.python.org/3/reference"
    splits: ClassVar[str] = "80 % / 10 % / 10 % of 374,000 bytes"
    unit: ClassVar[str] = "bytes"

    @property
    def longest(self):
        return int(len(_text()) * 0.1) - 1

    def read_training(self):
        return self.windows(_part(0.0, 0.8)), self.windows(_part(0.8, 0.9), self.eval_windows)

    def read_test(self):
        return self.windows(_part(0.9, 1.0), self.eval_windows)

    def raw(self):
        return _text()


def _part(start, stop):
    """Return a contiguous part of the text, long; from and to are fractions of it."""
    text = _text()
    return torch.tensor(list(text[int(len(text) * start) : int(len(text) * stop)]))
