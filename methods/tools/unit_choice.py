"""Choosing units over several groups at once: whole blocks under a budget, folds that keep the function, candidates.

Units come and go in blocks of `multiple`, because kernels run fastest on such sizes; counts are therefore exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from hundredfold.methods.topology import Fold
from hundredfold.methods.views import UnitView


def block_size(unit: UnitView, multiple: int) -> int:
    """Units of a group that come and go together: `multiple` neurons where the group allows it, heads one by one."""
    return multiple if unit.kind == "neuron" and unit.size % multiple == 0 else 1


def whole(count: float, multiple: int) -> int:
    """The nearest number of units in whole blocks, and one block at the least."""
    return max(int(count / multiple + 0.5), 1) * multiple


def top_units(value: Tensor, eligible: Tensor, count: int) -> Tensor:
    """The `count` most valuable units of one group, bool [n]; every eligible unit if there are fewer.

    Args:
        value: [n].
        eligible: bool [n].
    """
    ids = eligible.nonzero().flatten()
    chosen = torch.zeros_like(eligible)
    chosen[ids[value[ids].argsort(descending=True, stable=True)[: max(count, 0)]]] = True
    return chosen


def choose_blocks(
    values: Mapping[str, Tensor], eligible: Mapping[str, Tensor], count: int, multiple: int, floors: Mapping[str, int]
) -> dict[str, Tensor]:
    """The `count` most valuable units of all groups, in whole blocks per group, never below a group's floor.

    Args:
        values: group -> [n]; a block is worth its mean.
        eligible: group -> bool [n]; how many are eligible in a group is a multiple of `multiple`.
        count: a multiple of `multiple`.
        floors: group -> least number of units, a multiple of `multiple`.
    Returns:
        group -> bool [n]; `count` True in all, or every eligible unit if there are fewer.
    """
    blocks, chosen = [], {}
    for name, value in values.items():
        ids = eligible[name].nonzero().flatten()
        ids = ids[value[ids].argsort(descending=True, stable=True)]
        worth = value[ids].view(-1, multiple).mean(1).tolist()
        chosen[name] = torch.zeros(len(value), dtype=torch.bool)
        for i, w in enumerate(worth):
            blocks.append((i * multiple >= floors[name], -w, name, ids[i * multiple : (i + 1) * multiple]))
    blocks.sort(key=lambda block: block[:2])
    for _, _, name, ids in blocks[: count // multiple]:
        chosen[name][ids] = True
    return chosen


class Kind(NamedTuple):
    """Groups whose units are ranked together."""

    units: Mapping[str, UnitView]
    target: float  # density at the end
    multiple: int  # units come and go in blocks of this many

    @classmethod
    def of(cls, units: Mapping[str, UnitView], target: float, multiple: int) -> Kind:
        """Blocks of `multiple` neurons where every group allows them; heads and odd sizes one by one."""
        fits = all(u.kind == "neuron" and u.size % multiple == 0 for u in units.values())
        return cls(units, target, multiple if fits else 1)

    @property
    def total(self) -> int:
        return sum(unit.size for unit in self.units.values())

    def count(self, density: float) -> int:
        """Units of all groups at a density: whole blocks, at least one in every group."""
        return max(int(density * self.total / self.multiple + 0.5), len(self.units)) * self.multiple

    def floor(self, least: float) -> int:
        """The largest number of whole blocks within `least`, and one at the least."""
        return max(int(least / self.multiple), 1) * self.multiple


def find_fold(unit: UnitView, constant: float, duplicate: float) -> tuple[Fold, float]:
    """Which units could leave without changing the function, and how; also the FLOPs that finding out took.

    A unit whose variance is below `constant` of its second moment goes into the reader's bias. A unit whose outputs
    have a cosine above `duplicate` with those of a more important one merges into that.
    """
    none = torch.full((unit.size,), -1)
    fold = Fold(none, torch.zeros(unit.size), torch.zeros(unit.size))
    if unit.sample is None:
        return fold, 0.0
    known = unit.alive & (unit.observed >= 3)
    if unit.foldable:
        flat = known & (unit.second > 0) & (unit.second - unit.mean.square() < constant * unit.second)
        fold.constant[flat] = unit.mean[flat]
    order = known.nonzero().flatten()
    order = order[unit.importance[order].argsort(descending=True, stable=True)]
    outputs = unit.sample[:, order]
    norms = outputs.norm(dim=0)
    gram = outputs.T @ outputs
    cosines = gram / (norms[:, None] * norms[None, :]).clamp(min=1e-12)
    close = torch.triu(cosines.abs() > duplicate, diagonal=1)  # row: more important, column: its possible duplicate
    for column in close.any(0).nonzero().flatten().tolist():
        rows = close[:, column].nonzero().flatten()
        rows = rows[fold.twin[order[rows]] < 0]  # a twin must not itself be merged
        if len(rows):
            twin = int(rows[0])
            fold.twin[order[column]] = order[twin]
            fold.scale[order[column]] = gram[twin, column] / gram[twin, twin]
    return fold, 2.0 * outputs.shape[0] * len(order) ** 2


def keep_valid(fold: Fold, kept: Tensor) -> Fold:
    """The fold without units that stay and without twins that leave."""
    twin = fold.twin.clone()
    gone = (twin >= 0) & ~kept[twin.clamp(min=0)]
    twin[gone | kept] = -1
    return Fold(twin, fold.scale, fold.constant.masked_fill(kept | (twin >= 0), 0.0))


def candidate_scores(unit: UnitView, bonus: float, generator: torch.Generator) -> Tensor:
    """Upper confidence bound of the reservoir's units, [n]; units never tried come first, in random order.

    Source: Auer et al. 2002, UCB1, on importance in units of the group's mean.
    """
    draw = torch.rand(unit.size, generator=generator)
    scale = unit.importance[unit.alive].mean().clamp(min=1e-30)
    rounds = math.log(1 + int(unit.observed.max()))
    bound = unit.importance / scale + bonus * (rounds / unit.observed.clamp(min=1)).sqrt()
    return torch.where(unit.ever, bound, 1e9 + draw * 1e6)
