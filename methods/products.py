"""The three matrix products of a layer's training step, and the entries of them that are computed.

For one linear layer and one training step, with T tokens (batch x positions), I inputs and O outputs, exactly three
products are computed. A method selects entries of their factors or results by boolean masks that broadcast; the shape
of a mask is its structure: [T, 1] samples or tokens, [1, I] neurons, [O, I] weights.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from torch import Tensor


class Product(Enum):
    """One of the three matrix products of a linear layer's training step."""

    FORWARD = "Y[T,O] = X[T,I] W[O,I]^T"
    INPUT_GRAD = "dX[T,I] = dY[T,O] W[O,I]"
    WEIGHT_GRAD = "dW[O,I] = dY[T,O]^T X[T,I]"


class Selection(NamedTuple):
    """Entries of one product that are computed: boolean masks that broadcast against it; None means all.

    Attributes:
        size: true entries of the one mask there is, where the method knows: an accelerator is not asked for them then.
    """

    left: Tensor | None = None
    right: Tensor | None = None
    out: Tensor | None = None
    size: int | None = None


ALL = Selection()


def exact(product: Product, forward: Selection) -> Selection:
    """The selection that yields the exact gradient of a selected forward product: a rotation of its masks."""
    left, right, out, size = forward
    if product is Product.FORWARD:
        return forward
    if product is Product.INPUT_GRAD:
        return Selection(left=out, right=right, out=left, size=size)
    return Selection(left=out, right=left, out=right, size=size)
