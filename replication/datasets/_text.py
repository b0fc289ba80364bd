"""Text sets: a run of tokens cut into windows, each of which predicts the token after every token.

Legend: N windows, L tokens of a window.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from hundredfold.methods.options import Count
from hundredfold.replication.datasets.base import Dataset, DataSpec, Split


@dataclass(frozen=True)
class Text(Dataset):
    """Windows do not overlap, and nothing is known before a window's start; `fraction` keeps a part of the windows."""

    context: Count = 256  # tokens a window
    eval_windows: Count | None = None  # validation and test windows kept, evenly spaced; null keeps all

    longest: ClassVar[int] = 50_000  # tokens a window may have
    unit: ClassVar[str] = "tokens"
    num_tokens: ClassVar[int] = 256  # size of the vocabulary; every byte value by default

    def __post_init__(self):
        super().__post_init__()
        for option, neutral in (("label_noise", 0), ("imbalance", 1)):
            if getattr(self, option) != neutral:
                raise ValueError(
                    f"{option}={getattr(self, option)}: a text has no classes; leave it at {neutral} or choose images"
                )
        if self.context > self.longest:
            raise ValueError(f"context={self.context}: expected {self.longest} {self.unit} at most, such as 64")

    def spec(self):
        return DataSpec("text", (self.context,), self.num_tokens, "loss", self.symbols)

    @property
    def symbols(self):
        """What each token stands for: a byte's character where tokens are bytes, else not known."""
        return tuple(map(chr, range(256))) if self.num_tokens == 256 and self.unit == "bytes" else None

    def prepare(self, inputs, targets):
        return inputs.long(), targets.long()

    def windows(self, part, limit=None):
        """Cut a run of tokens into windows.

        Args:
            part: whole numbers [n].
            limit: windows kept, evenly spaced; None keeps all, as views of `part`.
        Raises:
            ValueError: the run is shorter than one window and the token after it.
        """
        num_windows = (len(part) - 1) // self.context
        if num_windows < 1:
            raise ValueError(
                f"context={self.context}: a part of dataset={self.name()} has only {len(part)} {self.unit}; choose less"
            )
        # The last target of a window is the token after it, so the part gives up its last token as an input.
        size = num_windows * self.context
        inputs, targets = part[:size].view(num_windows, -1), part[1 : size + 1].view(num_windows, -1)
        if limit is not None and limit < num_windows:
            kept = torch.arange(limit) * num_windows // limit
            inputs, targets = inputs[kept], targets[kept]
        return Split(inputs, targets)


def mapped(path, dtype):
    """Return the tokens of a file as a memory-mapped tensor [n] that is never written back.

    Args:
        dtype: of the tokens in the file, such as torch.uint8 or torch.uint16.
    """
    size = path.stat().st_size // dtype.itemsize
    if not size:  # which cannot be mapped
        return torch.empty(0, dtype=dtype)
    return torch.from_file(str(path), shared=False, size=size, dtype=dtype)
