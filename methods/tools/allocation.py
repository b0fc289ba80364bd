"""How a total density is divided over the layers, exact to one weight."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

Shapes = Mapping[str, tuple[int, ...]]
Distribution = Literal["er", "erk", "uniform"]


def uniform(shapes: Shapes, density: float) -> dict[str, float]:
    """The same density in every layer."""
    return dict.fromkeys(shapes, density)


def erdos_renyi(shapes: Shapes, density: float, *, kernel: bool = True) -> dict[str, float]:
    """Density proportional to (sum of a layer's dimensions) / (their product), the total being `density`.

    Layers that would exceed 1 become dense and the rest is divided again.

    Args:
        shapes: layer -> weight shape, output first.
        density: fraction of all weights, in (0, 1].
        kernel: count the kernel's dimensions too (ERK); the same for linear layers.
    Source: Mocanu et al. 2018, arXiv:1707.04780, eq. 3; Evci et al. 2020, arXiv:1911.11134, section 3.
    """
    dims = {name: shape if kernel else shape[:2] for name, shape in shapes.items()}
    size = {name: math.prod(shape) for name, shape in shapes.items()}
    dense: set[str] = set()
    while True:
        free = [name for name in shapes if name not in dense]
        if not free:
            return dict.fromkeys(shapes, 1.0)
        budget = density * sum(size.values()) - sum(size[name] for name in dense)
        raw = {name: sum(dims[name]) / math.prod(dims[name]) for name in free}
        epsilon = budget / sum(raw[name] * size[name] for name in free)
        over = {name for name in free if epsilon * raw[name] > 1}
        if not over:
            return {name: 1.0 if name in dense else epsilon * raw[name] for name in shapes}
        dense |= over


DISTRIBUTIONS = {"uniform": uniform, "erk": erdos_renyi, "er": lambda s, d: erdos_renyi(s, d, kernel=False)}


def allocate(shapes: Shapes, density: float, distribution: Distribution) -> dict[str, int]:
    """Number of active weights of each layer; they add up to exactly round(density * total).

    Fractions are rounded down and the remainder goes to the largest fractional parts.
    """
    densities = DISTRIBUTIONS[distribution](shapes, density)
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    wanted = {name: densities[name] * sizes[name] for name in shapes}
    counts = {name: min(int(wanted[name] + 1e-9), sizes[name]) for name in shapes}
    missing = round(density * sum(sizes.values())) - sum(counts.values())
    for name in sorted(shapes, key=lambda n: counts[n] - wanted[n]):
        if missing > 0 and counts[name] < sizes[name]:
            counts[name] += 1
            missing -= 1
    return counts
