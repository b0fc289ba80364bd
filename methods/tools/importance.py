"""Scores and exact selections of the highest scores, shared by the methods."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from hundredfold.methods.base import Diverged


def top(scores: Tensor, count: int) -> Tensor:
    """True at exactly `count` largest entries; ties go to the lower position.

    Nothing is read from an accelerator, which is never waited for; a NaN there shows in the next loss.

    Raises:
        Diverged: a score on the CPU is NaN.
    """
    if scores.device.type == "cpu" and scores.isnan().any():
        raise Diverged("a score is NaN: the network has diverged; lower the learning rate")
    flat = scores.flatten()
    if count <= 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    threshold = flat.kthvalue(flat.numel() - min(count, flat.numel()) + 1).values  # linear in time, unlike a sort
    mask = flat > threshold
    ties = flat == threshold
    mask |= ties & (ties.cumsum(0, dtype=torch.int32) <= count - mask.sum())
    return mask.view_as(scores)


def top_global(scores: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """True at exactly `count` largest entries of all layers together; ties go to the earlier layer and position."""
    keep = top(torch.cat([s.flatten() for s in scores.values()]), count)
    parts = keep.split([s.numel() for s in scores.values()])
    return {name: part.view_as(score) for (name, score), part in zip(scores.items(), parts, strict=True)}


def some(available: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Positions of `count` true entries, all sets of so many equally likely; of all of them where there are fewer.

    Few of many are drawn and not sorted for: the cost goes with `count`.

    Args:
        available: bool [N].
    """
    if 4 * count > int(available.sum()):
        positions = available.nonzero().flatten()
        return positions[_shuffled(len(positions), count, positions.device, generator)]
    chosen = torch.empty(0, dtype=torch.long, device=available.device)
    while len(chosen) < count:
        drawn = torch.randint(len(available), (2 * count + 8,), generator=generator)
        drawn = drawn.to(available.device, non_blocking=True)
        chosen = torch.cat([chosen, drawn[available[drawn]]]).unique()
    return chosen[_shuffled(len(chosen), count, chosen.device, generator)]


def _shuffled(total: int, count: int, device: torch.device, generator: torch.Generator) -> Tensor:
    """The first of so many numbers in a random order, on a device."""
    return torch.randperm(total, generator=generator)[:count].to(device, non_blocking=True)


def random_scores(like: Tensor, generator: torch.Generator) -> Tensor:
    """Uniform scores in [0, 1) of the same shape; drawn on the generator's device, so that a seed means one mask."""
    return torch.rand(like.shape, generator=generator, device=generator.device).to(like.device, non_blocking=True)
