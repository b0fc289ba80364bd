import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hundredfold.methods.execution.cost import executed_flops, ideal_flops
from hundredfold.methods.execution.kernels.masked import Masked
from hundredfold.methods.products import ALL, Product, Selection, exact

SIZES = st.integers(1, 9)


def random_masks(generator, tokens, inputs, outputs, kinds):
    """One mask for x [T, I], w [O, I] and y [T, O] each: none, whole, or of one row or column."""
    shapes = ((tokens, inputs), (outputs, inputs), (tokens, outputs))
    masks = []
    for kind, (rows, columns) in zip(kinds, shapes, strict=True):
        shape = {"none": None, "full": (rows, columns), "rows": (rows, 1), "columns": (1, columns)}[kind]
        masks.append(None if shape is None else torch.rand(shape, generator=generator) < 0.5)
    return Selection(*masks)


KINDS = st.tuples(*[st.sampled_from(["none", "full", "rows", "columns"])] * 3)


@settings(max_examples=150, deadline=None)
@given(SIZES, SIZES, SIZES, KINDS, st.integers(0, 2**31))
def test_exact_is_the_gradient_of_the_masked_forward_product(tokens, inputs, outputs, kinds, seed):
    generator = torch.Generator().manual_seed(seed)
    x, w = (torch.randn(n, inputs, generator=generator, dtype=torch.double) for n in (tokens, outputs))
    dy = torch.randn(tokens, outputs, generator=generator, dtype=torch.double)
    forward = random_masks(generator, tokens, inputs, outputs, kinds)
    x.requires_grad_(), w.requires_grad_()
    left, right, out = (torch.ones(1) if m is None else m for m in forward[:3])
    expected = torch.autograd.grad(((x * left) @ (w * right).T) * out, (x, w), dy)
    run = Masked().run
    dx = run(Product.INPUT_GRAD, dy, w.detach(), exact(Product.INPUT_GRAD, forward))
    dw = run(Product.WEIGHT_GRAD, dy, x.detach(), exact(Product.WEIGHT_GRAD, forward))
    torch.testing.assert_close((dx, dw), expected)


@settings(max_examples=150, deadline=None)
@given(SIZES, SIZES, SIZES, KINDS, st.sampled_from(list(Product)), st.integers(0, 2**31))
def test_ideal_flops_equal_a_brute_force_count(tokens, inputs, outputs, kinds, product, seed):
    generator = torch.Generator().manual_seed(seed)
    forward = random_masks(generator, tokens, inputs, outputs, kinds)
    selection = exact(product, forward)
    x, w, dy = torch.zeros(tokens, inputs), torch.zeros(outputs, inputs), torch.zeros(tokens, outputs)
    left, right = {Product.FORWARD: (x, w), Product.INPUT_GRAD: (dy, w), Product.WEIGHT_GRAD: (dy, x)}[product]
    lhs = torch.ones_like(left) if selection.left is None else selection.left.expand(left.shape).float()
    rhs = torch.ones_like(right) if selection.right is None else selection.right.expand(right.shape).float()
    if product is Product.FORWARD:
        rhs = rhs.T
    elif product is Product.WEIGHT_GRAD:
        lhs = lhs.T
    count = 0
    for i in range(lhs.shape[0]):
        for j in range(rhs.shape[1]):
            if selection.out is None or selection.out.expand(lhs.shape[0], rhs.shape[1])[i, j]:
                count += int((lhs[i] * rhs[:, j]).sum())
    assert ideal_flops(product, left, right, selection) == 2 * count


@pytest.mark.parametrize("product", list(Product))
def test_without_a_selection_ideal_equals_what_pytorch_counts(product):
    x, w, dy = torch.randn(5, 7), torch.randn(3, 7), torch.randn(5, 3)
    left, right = {Product.FORWARD: (x, w), Product.INPUT_GRAD: (dy, w), Product.WEIGHT_GRAD: (dy, x)}[product]
    executed = executed_flops(lambda: Masked().run(product, left, right, ALL))
    assert ideal_flops(product, left, right, ALL) == executed == 2 * 5 * 7 * 3


def test_row_and_column_masks_equal_a_smaller_product():
    x, w = torch.randn(6, 8), torch.randn(5, 8)
    rows, columns = torch.arange(6) % 2 == 0, torch.arange(8) % 3 != 0
    selection = Selection(left=rows[:, None] & columns[None, :])
    whole = Masked().run(Product.FORWARD, x, w, selection)
    torch.testing.assert_close(whole[rows], x[rows][:, columns] @ w[:, columns].T)
    assert ideal_flops(Product.FORWARD, x, w, selection) == 2 * int(rows.sum()) * int(columns.sum()) * 5
