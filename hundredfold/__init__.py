"""Dynamic and sparse training, measured in joules.

`hundredfold.methods` works in any PyTorch loop, `hundredfold.replication` measures, and `hundredfold.analysis` judges.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

__all__ = ["load"]


def load(run: str | Path) -> nn.Module:
    """The trained network of a run, in evaluation mode on the CPU; see `hundredfold.replication.network.load`.

    Args:
        run: a run's folder, or the file of its network.
    Raises:
        ValueError: no such file, another format, or weights that do not fit the network that it describes.
    """
    from hundredfold.replication.network import load as read  # slow to import

    return read(run)
