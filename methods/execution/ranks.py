"""Ranks: processes that train one network together, each on its share of every batch.

Every rank holds all weights. Gradients are averaged before anything reads them, what was observed is averaged before a
decision, and the decision is that of rank 0, so that no two ranks can come to hold different masks or sizes. Outside
`torch.distributed`, and in a group of one, all of this costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


def count() -> int:
    """Processes that train this network."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if count() > 1 else 0


@torch.no_grad()
def average(tensors: Iterable[Tensor]) -> None:
    """Replace tensors by their means over all ranks, in one exchange; in place.

    Args:
        tensors: of one device and dtype, equal in number and shapes on every rank.
    """
    some = list(tensors)
    if count() == 1 or not some:
        return
    flat = torch.cat([tensor.flatten() for tensor in some])
    dist.all_reduce(flat)
    flat /= count()
    for tensor, mean in zip(some, flat.split([tensor.numel() for tensor in some]), strict=True):
        tensor.copy_(mean.view_as(tensor))


def of_first(make: Callable[[], T]) -> T:
    """What `make` returns on rank 0, on every rank; the others do not call it. Tensors must lie on the CPU."""
    if count() == 1:
        return make()
    box: list[Any] = [make() if rank() == 0 else None]
    dist.broadcast_object_list(box)
    return box[0]


def gathered(value: T) -> list[T]:
    """The values of all ranks, by rank, on every rank. Tensors must lie on the CPU."""
    if count() == 1:
        return [value]
    found: list[Any] = [None] * count()
    dist.all_gather_object(found, value)
    return found
