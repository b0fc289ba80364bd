"""Who of several parts deserves a saving that they make together: Shapley's shares of the logarithm of energy.

Parts that are switched on and off in every combination make a lattice of arms, named "one + another". A part's share is
what it adds to log(E_dense / E), averaged over all orders in which the parts can come (Shapley, 1953).
"""

from __future__ import annotations

import math
from itertools import combinations, permutations

import pandas as pd

from hundredfold.analysis import formatting
from hundredfold.analysis.schema import DENSE
from hundredfold.analysis.task import Task

MOST_PARTS = 5


def lattices(task: Task) -> list[dict[frozenset[str], float]]:
    """Sets of parts -> log(E_dense / E), for each largest set of which every combination has a known energy."""
    known: dict[frozenset[str], float] = {frozenset(): 0.0}
    for arm in task.physical:
        ratio = arm.energy_ratio.value
        if arm.label != DENSE and ratio is not None:
            known[frozenset(arm.label.split(" + "))] = math.log(ratio)
    whole = [parts for parts in known if 2 <= len(parts) <= MOST_PARTS and all(s in known for s in _subsets(parts))]
    largest = [parts for parts in whole if not any(parts < other for other in whole)]
    return [{some: known[some] for some in _subsets(parts)} for parts in largest]


def _subsets(parts: frozenset[str]) -> list[frozenset[str]]:
    return [frozenset(some) for size in range(len(parts) + 1) for some in combinations(sorted(parts), size)]


def shares(lattice: dict[frozenset[str], float]) -> dict[str, float]:
    """Part -> its share of log(E_dense / E) of all parts together."""
    everything = max(lattice, key=len)
    orders = list(permutations(sorted(everything)))
    added = {
        part: [lattice[_before(order, part) | {part}] - lattice[_before(order, part)] for order in orders]
        for part in sorted(everything)
    }
    return {part: sum(values) / len(orders) for part, values in added.items()}


def _before(order: tuple[str, ...], part: str) -> frozenset[str]:
    return frozenset(order[: order.index(part)])


def table(task: Task) -> pd.DataFrame:
    """One row per part: the factor that is its share, and the factor that it has alone."""
    rows = []
    for lattice in lattices(task):
        found, total = shares(lattice), lattice[max(lattice, key=len)]
        for part, share in found.items():
            alone, whole = math.exp(lattice[frozenset([part])]), formatting.quantity(math.exp(total), "ratio")
            percent = formatting.percent(share / total) if total else formatting.UNKNOWN
            cells = (formatting.quantity(math.exp(share), "ratio"), percent, formatting.quantity(alone, "ratio"))
            rows.append([" + ".join(sorted(found)), whole, part, *cells])
    titles = ("Together", "E dense / E", "Part", "Its factor", "Share of the logarithm", "Its factor alone")
    return pd.DataFrame(rows, columns=list(titles))
