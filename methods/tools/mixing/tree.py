"""A vocabulary as a binary tree: a symbol is a path of yes-or-no decisions, and frequent symbols have short paths.

Legend: V symbols, V - 1 nodes, D decisions of all symbols. Up to fifteen nodes are a group: a part of the tree grown
from its root by the node that is met most often. The counts of a group lie side by side in memory, so that most symbols
cost one look-up per context.

Source: Huffman 1952, "A method for the construction of minimum-redundancy codes".
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

import numpy as np

GROUP_NODES = 15
WORD_BITS = 64


class Tree(NamedTuple):
    """Paths and nodes; the nodes of a group are numbered one after the other, and node 0 is the root.

    Attributes:
        start: int64 [V + 1]; where the decisions of each symbol begin.
        decision: int64 [D]; 2 * node + bit, from the root to the symbol.
        group: int64 [V - 1]; the group of each node.
        place: int64 [V - 1]; the node's place in its group, 0 for the group's root.
        depth: int64 [V - 1]; decisions above the node.
        path: uint64 [V]; the bits of each symbol's decisions, the first in the highest place.
        path_to: uint64 [V - 1]; the same of the decisions above each node.
        above: uint64 [V - 1]; ones in the places of these decisions.
    """

    start: np.ndarray
    decision: np.ndarray
    group: np.ndarray
    place: np.ndarray
    depth: np.ndarray
    path: np.ndarray
    path_to: np.ndarray
    above: np.ndarray

    @property
    def num_symbols(self) -> int:
        return len(self.start) - 1

    @property
    def num_nodes(self) -> int:
        return len(self.group)

    @property
    def num_groups(self) -> int:
        return int(self.group[-1]) + 1

    @property
    def most_groups(self) -> int:
        """Groups on the longest path, counted by groups."""
        met = self.group[self.decision >> 1]
        new = np.append(True, met[1:] != met[:-1])
        new[self.start[:-1]] = True
        return int(np.add.reduceat(new, self.start[:-1]).max())


def huffman(counts: np.ndarray) -> Tree:
    """The tree of least mean depth; one is added to every count, so that symbols never seen have a path too.

    Args:
        counts: whole numbers [V]; how often each symbol occurs.
    Raises:
        ValueError: fewer than two symbols.
    """
    num_symbols = len(counts)
    if num_symbols < 2:
        raise ValueError(f"vocabulary={num_symbols}: expected 2 symbols or more; there is nothing to predict")
    heap = [(int(count) + 1, symbol) for symbol, count in enumerate(counts)]
    heapq.heapify(heap)
    children: list[tuple[int, int]] = []  # of the inner vertices, which are numbered from V on
    weights = [count for count, _ in sorted(heap, key=lambda entry: entry[1])]
    while len(heap) > 1:
        (light, left), (heavy, right) = heapq.heappop(heap), heapq.heappop(heap)
        heapq.heappush(heap, (light + heavy, num_symbols + len(children)))
        children.append((left, right))
        weights.append(light + heavy)
    return _number(children, weights, num_symbols)


def _number(children: list[tuple[int, int]], weights: list[int], num_symbols: int) -> Tree:
    """Number the nodes group by group and list every symbol's decisions."""
    paths: list[list[int]] = [[] for _ in range(num_symbols)]
    group: list[int] = []
    place: list[int] = []
    depth: list[int] = []
    path_to: list[int] = []
    roots: list[tuple[int, list[int]]] = [(num_symbols + len(children) - 1, [])]
    for number, (root, path) in enumerate(roots):  # grows while it is read
        edge = [(-weights[root], root, path)]
        for here in range(GROUP_NODES):
            if not edge:
                break
            _, vertex, above = heapq.heappop(edge)
            node = len(group)
            group.append(number)
            place.append(here)
            depth.append(len(above))
            path_to.append(_bits(above))
            for bit, child in enumerate(children[vertex - num_symbols]):
                below = [*above, 2 * node + bit]
                if child < num_symbols:
                    paths[child] = below
                else:
                    heapq.heappush(edge, (-weights[child], child, below))
        roots += [(vertex, above) for _, vertex, above in sorted(edge)]
    start = np.cumsum([0, *map(len, paths)], dtype=np.int64)
    decision = np.array([code for path in paths for code in path], np.int64)
    places = [_bits([1] * count) for count in depth]
    numbers = (np.array(column, np.int64) for column in (group, place, depth))
    words = (np.array(column, np.uint64) for column in ([_bits(path) for path in paths], path_to, places))
    return Tree(start, decision, *numbers, *words)


def _bits(decisions: list[int]) -> int:
    """Their last bits as a word of 64, the first in the highest place; 63 decisions take more than 1e13 symbols."""
    return sum((code & 1) << (WORD_BITS - 1 - place) for place, code in enumerate(decisions))
