"""Python's own help texts as bytes: the smallest language task that is real text. Ships with Python; no download."""

import functools
from dataclasses import dataclass
from pydoc_data.topics import topics
from typing import ClassVar

import torch

from replication.datasets.base import Dataset, DataSpec, Split


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
class Topics(Dataset):
    """Next-byte prediction on Python's help texts, about 374,000 bytes: 80 % training, 10 % validation, 10 % test.

    The texts of `pydoc_data.topics` without their repetitions, cut into three contiguous parts and then into windows
    that do not overlap. All 256 byte values are the vocabulary, so no byte is mapped or dropped and a loss is in nats
    per byte. The texts change with the version of Python (374,153 bytes in 3.11.7): losses compare only between equal
    fingerprints.
    Source: https://docs.python.org/3/reference.
    """

    context: int = 32  # bytes a window
    eval_windows: int | None = None  # validation and test windows kept, evenly spaced; null keeps all

    license: ClassVar[str] = "PSF-2.0"
    source: ClassVar[str] = "https://docs.python.org/3/reference"

    def __post_init__(self):
        shortest = int(len(self.raw()) * 0.1) - 1
        if not 1 <= self.context <= shortest:
            raise ValueError(f"context={self.context}: expected a number of bytes from 1 to {shortest}, such as 64")
        if self.eval_windows is not None and self.eval_windows < 1:
            raise ValueError(f"eval_windows={self.eval_windows}: expected at least 1, or null for all windows")

    def spec(self):
        return DataSpec(kind="text", input_shape=(self.context,), num_classes=256, metric="loss")

    def training(self):
        return self._windows(0.0, 0.8, None), self._windows(0.8, 0.9, self.eval_windows)

    def read_test(self):
        return self._windows(0.9, 1.0, self.eval_windows)

    def raw(self):
        return _text()

    def _windows(self, start, stop, limit):
        """Cut one part of the text into windows.

        Args:
            start, stop: where the part begins and ends, as fractions of the text.
            limit: windows kept, evenly spaced; None keeps all.
        """
        text = self.raw()
        part = torch.tensor(list(text[int(len(text) * start) : int(len(text) * stop)]))
        num_windows = (len(part) - 1) // self.context
        kept = torch.arange(num_windows)
        if limit is not None and limit < num_windows:
            kept = torch.arange(limit) * num_windows // limit
        inputs = part[: num_windows * self.context].view(num_windows, self.context)[kept]
        # The last target of a window is the byte after it, so the part gives up its last byte as an input.
        targets = part[1 : num_windows * self.context + 1].view(num_windows, self.context)[kept]
        return Split(inputs, targets)
