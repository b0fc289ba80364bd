"""Scores and exact selections of the highest scores, shared by the methods."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from hundredfold.methods.base import Diverged
from hundredfold.methods.execution.host import numbers, places


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


def draw_beside(
    taken: Mapping[str, Tensor], totals: Mapping[str, int], counts: Mapping[str, int], generator: torch.Generator
) -> dict[str, Tensor]:
    """Positions of each layer beside those that are taken, all sets of so many equally likely; of all, if fewer.

    They are drawn and thrown away where they are taken or drawn before, so that nothing has the size of a layer as long
    as there is room. The host waits once for all layers, and again for those where the draws did not suffice.

    Args:
        taken: layer -> positions, long [n] ascending.
        totals: layer -> positions that there are.
        counts: layer -> positions to draw.
        generator: on the device of the positions.
    """
    wanted = {name: min(count, totals[name] - len(taken[name])) for name, count in counts.items()}
    found: dict[str, Tensor] = {}
    todo, more = list(counts), 1
    while todo:
        tried = {name: _draw(taken[name], totals[name], wanted[name], more, generator) for name in todo}
        enough = numbers([free >= wanted[name] for name, (_, free) in tried.items()])
        found |= {name: positions for name, (positions, _) in tried.items()}
        todo, more = [name for name, done in zip(todo, enough, strict=True) if not done], 2 * more
    return found


def _draw(taken: Tensor, total: int, count: int, more: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Free positions in random order, long [count], and how many draws were of use; where too few, no good ones."""
    room = max(total - len(taken), 1)
    draws = more * (3 * count * total // (2 * room) + 16)
    if 2 * draws > total:
        drawn = torch.randperm(total, generator=generator, device=generator.device)
        free = ~_among(drawn, taken)
    else:
        drawn = torch.randint(total, (draws,), generator=generator, device=generator.device)
        ordered, order = drawn.sort(stable=True)
        first = torch.ones_like(drawn, dtype=torch.bool)
        first[order[1:]] = ordered[1:] != ordered[:-1]
        free = first & ~_among(drawn, taken)
    return drawn[places(free, count)], free.sum()


def _among(values: Tensor, ascending: Tensor) -> Tensor:
    """Whether each value is one of others, bool [n]."""
    if not len(ascending):
        return torch.zeros_like(values, dtype=torch.bool)
    return ascending[torch.searchsorted(ascending, values).clamp(max=len(ascending) - 1)] == values


def random_scores(like: Tensor, generator: torch.Generator) -> Tensor:
    """Uniform scores in [0, 1) of the same shape; drawn on the generator's device, so that a seed means one mask."""
    return torch.rand(like.shape, generator=generator, device=generator.device).to(like.device, non_blocking=True)
