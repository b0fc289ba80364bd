"""What the host reads from a device: it waits once for many numbers instead of once for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def counts(masks: Sequence[Tensor]) -> list[int]:
    """How many entries of each are True."""
    return numbers([mask.sum() for mask in masks])


def sizes(masks: Mapping[str, Tensor]) -> dict[str, int]:
    """How many entries of each are True, by name."""
    return dict(zip(masks, counts(list(masks.values())), strict=True))


def numbers(values: Sequence[Tensor]) -> list:
    """Tensors of one number each, of one type and device, as numbers."""
    return torch.stack(list(values)).tolist() if values else []


def fetched(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Tensors of one device, on the CPU; those that lie there already are not copied."""
    if not tensors or tensors[0].device.type == "cpu":
        return list(tensors)
    whole = torch.cat([tensor.flatten() for tensor in tensors]).cpu()
    parts = whole.split([tensor.numel() for tensor in tensors])
    return [part.view(tensor.shape).to(tensor.dtype) for part, tensor in zip(parts, tensors, strict=True)]


def places(mask: Tensor, count: int | None) -> Tensor:
    """Positions of the true entries of a mask, ascending; where their number is known, of the first so many.

    The host waits for an accelerator only where it is not known. On a CPU, where nobody waits, asking is faster.
    """
    flat = mask.flatten()
    if count is None or flat.device.type == "cpu":
        return flat.nonzero().flatten()[:count]
    return flat.nonzero_static(size=count).flatten()
