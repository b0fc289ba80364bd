"""Which weights, or which final map, a decision uses: a row chosen by what is known of position and decision.

Legend: K gates, F features.
Source: gating by context as in gated linear networks, Veness et al. 2019, arXiv:1910.01526, section 2; weight sets
chosen by a context, Mahoney 2005.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hundredfold.methods.tools.mixing.contexts import PHI
from hundredfold.methods.tools.mixing.forms import FEATURES, OF_DECISION
from hundredfold.methods.tools.mixing.lanes import inlined

DEEPEST = 15  # depths beyond count as this
HIGH = np.uint64(40)


class Gates(NamedTuple):
    """K gates.

    Attributes:
        stride: int64 [K, F]; what each feature's value adds to the row.
        first: int64 [K]; the row at which each gate begins, in the array that it belongs to.
        rows: int64 [K]; rows of each gate.
        hashed: bool [K]; the gate has more combinations than rows, so that some share one.
    """

    stride: np.ndarray
    first: np.ndarray
    rows: np.ndarray
    hashed: np.ndarray


def parse(texts: tuple[str, ...], sizes: dict[str, int], most_rows: int) -> Gates:
    """Read gates from their text forms; the rows of one follow those of the gate before.

    Args:
        sizes: values that each feature has.
        most_rows: a power of two; gates of more combinations are hashed into so many rows.
    """
    names = (*FEATURES, *OF_DECISION)
    stride = np.zeros((len(texts), len(names)), np.int64)
    combinations = np.ones(len(texts), np.int64)
    for k, text in enumerate(texts):
        for feature in text.split():
            stride[k, names.index(feature)] = combinations[k]
            combinations[k] *= sizes[feature]
    rows = np.minimum(combinations, most_rows)
    return Gates(stride, np.cumsum(rows) - rows, rows, combinations > most_rows)


def join(*several: Gates) -> Gates:
    """The gates of several arrays, one after the other."""
    return Gates(*(np.concatenate(columns) for columns in zip(*several, strict=True)))


@inlined()
def by_position(gates, features, part):
    """The part of each row that the position's features give; part is int64 [K], written."""
    for k in range(len(part)):
        row = 0
        for f in range(len(features)):
            row += features[f] * gates.stride[k, f]
        part[k] = row


@inlined()
def choose(gates, k, part, node, depth, order, match):
    """The row of gate k at a decision."""
    stride = gates.stride
    row = part[k] + node * stride[k, 4] + depth * stride[k, 5] + order * stride[k, 6] + match * stride[k, 7]
    if gates.hashed[k]:
        row = np.int64(np.uint64(row) * PHI >> HIGH) & (gates.rows[k] - 1)
    return gates.first[k] + row
