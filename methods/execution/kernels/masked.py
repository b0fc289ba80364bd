"""Exact simulation: dense arithmetic on zeroed entries. Correct for every selection, and it saves nothing."""

from __future__ import annotations

from torch import Tensor

from hundredfold.methods.products import Product, Selection


class Masked:
    """Runs any selection on dense kernels; the oracle of every other back end."""

    simulated = True

    def run(self, product: Product, left: Tensor, right: Tensor, selection: Selection) -> Tensor:
        """The selected entries of one product; all others are exactly zero."""
        if selection.left is not None:
            left = left * selection.left
        if selection.right is not None:
            right = right * selection.right
        if product is Product.FORWARD:
            out = left @ right.T
        elif product is Product.INPUT_GRAD:
            out = left @ right
        else:
            out = left.T @ right
        return out if selection.out is None else out.mul_(selection.out)
