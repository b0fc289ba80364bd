"""Whole rows and columns of a product as one smaller dense product: what is not selected is not computed."""

from __future__ import annotations

from torch import Tensor

from hundredfold.methods.execution.host import places
from hundredfold.methods.products import Product, Selection


class Gathered:
    """Runs selections whose masks have one entry per row or per column; refuses any finer one."""

    simulated = False

    def run(self, product: Product, left: Tensor, right: Tensor, selection: Selection) -> Tensor:
        """The selected entries of one product; all others are exactly zero.

        Raises:
            ValueError: a mask that selects single entries.
        """
        if selection[:3] == (None, None, None):
            return _multiply(product, left, right)
        inner_left = 0 if product is Product.WEIGHT_GRAD else 1
        inner_right = 1 if product is Product.FORWARD else 0
        rows, inner_l = _lines(selection.left, 1 - inner_left)
        columns, inner_r = _lines(selection.right, 1 - inner_right)
        out_rows, out_columns = _lines(selection.out, 0)
        masks = _both(rows, out_rows), _both(columns, out_columns), _both(inner_l, inner_r)
        rows, columns, inner = (None if mask is None else places(mask, selection.size) for mask in masks)
        shape = left.shape[1 - inner_left], right.shape[1 - inner_right]
        left, right = _take(left, inner_left, inner), _take(right, inner_right, inner)
        left, right = _take(left, 1 - inner_left, rows), _take(right, 1 - inner_right, columns)
        small = _multiply(product, left, right)
        if rows is None and columns is None:
            return small
        if columns is None:
            return small.new_zeros(shape).index_copy_(0, rows, small)
        if rows is None:
            return small.new_zeros(shape).index_copy_(1, columns, small)
        full = small.new_zeros(shape)
        full[rows[:, None], columns] = small
        return full


def _multiply(product: Product, left: Tensor, right: Tensor) -> Tensor:
    if product is Product.FORWARD:
        return left @ right.T
    return left @ right if product is Product.INPUT_GRAD else left.T @ right


def _lines(mask: Tensor | None, dim: int) -> tuple[Tensor | None, Tensor | None]:
    """A mask as (selected along `dim`, selected along the other dimension), None for all."""
    if mask is None:
        return None, None
    if mask.ndim != 2 or 1 not in mask.shape:
        raise ValueError(
            f"a mask of shape {tuple(mask.shape)} selects single entries, which no smaller product can skip; use a "
            "variant of the method that simulates them"
        )
    along = None if mask.shape[dim] == 1 else mask.flatten()
    other = None if mask.shape[1 - dim] == 1 else mask.flatten()
    return along, other


def _both(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return b if a is None else a if b is None else a & b


def _take(factor: Tensor, dim: int, places: Tensor | None) -> Tensor:
    return factor if places is None else factor.index_select(dim, places)
