"""What a CUDA device refuses and what it makes the host wait for, by an operator of PyTorch and its arguments."""

from __future__ import annotations

import torch
from torch import Tensor

# Values that are read, and results whose size depends on values: CUDA finds them on the device, then waits.
READS = {"_local_scalar_dense", "equal"}
SIZES = {
    *("nonzero", "masked_select", "bincount", "_coalesce"),
    *("_unique", "_unique2", "unique_dim", "unique_consecutive", "unique_dim_consecutive"),
}
COPIES = {"_to_copy", "copy_"}
INDEXED = {"index", "_unsafe_index", "index_put", "index_put_", "_index_put_impl_"}
# Beside the pointwise operators, those that take a number on the CPU, a tensor without dimensions.
TAKE_NUMBERS = {"fill_", "masked_fill", "masked_fill_", "_foreach_mul", "_foreach_mul_"}


def refuse_mixing(func, args: tuple, plain: list[Tensor]) -> None:
    """Raise what CUDA raises where an operator on its tensors is given tensors of the CPU.

    Allowed are copies, tensors without dimensions in pointwise operators, and indices.

    Raises:
        RuntimeError: the operator mixes devices.
    """
    operator = func.overloadpacket.__name__
    if not plain or operator in COPIES:
        return
    if operator in INDEXED:
        values = args[2] if len(args) > 2 else plain[0].new_empty(())
        allowed = args[0].is_cuda and (values.is_cuda or values.dim() == 0)
    else:
        first = args[0][0] if isinstance(args[0], (list, tuple)) else args[0]
        written = func._schema.arguments[0].is_write and not first.is_cuda
        numbers = all(tensor.dim() == 0 for tensor in plain)
        allowed = numbers and not written and (torch.Tag.pointwise in func.tags or operator in TAKE_NUMBERS)
    if not allowed:
        raise RuntimeError(
            f"{func}: Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"
        )


def refuse_generator(on_device: bool, drawn_there: bool) -> None:
    """Raise what PyTorch raises where numbers are to be drawn by a generator of the other device."""
    if on_device != drawn_there:
        wanted, found = ("cuda", "cpu") if on_device else ("cpu", "cuda")
        raise RuntimeError(f"Expected a '{wanted}' device type for generator but found '{found}'")


def waits_of(func, args: tuple, kwargs: dict) -> list[str]:
    """Kinds of waits that an operator with a tensor on the device causes."""
    operator = func.overloadpacket.__name__
    if operator in READS:
        return ["a value is read"]
    if operator in SIZES or (operator == "repeat_interleave" and kwargs.get("output_size") is None):
        return ["a size depends on values"]
    if operator in COPIES:
        return _waits_of_copy(func, args, kwargs)
    if operator in INDEXED:
        return _waits_of_index(args)
    return []


def _waits_of_copy(func, args: tuple, kwargs: dict) -> list[str]:
    if func.overloadpacket.__name__ == "copy_":
        there, here = args[0].is_cuda, args[1].is_cuda
        blocks = not (args[2] if len(args) > 2 else kwargs.get("non_blocking"))
    else:
        here, target = args[0].is_cuda, kwargs.get("device")
        there, blocks = here if target is None else target.type != "cpu", not kwargs.get("non_blocking")
    if there == here or not blocks:
        return []
    return ["a copy to the device" if there else "a copy to the CPU"]


def _waits_of_index(args: tuple) -> list[str]:
    indices = [index for index in args[1] if index is not None]
    masks = [index for index in indices if index.dtype in (torch.bool, torch.uint8)]
    moved = [index for index in indices if not index.is_cuda]
    if len(args) > 2 and not args[2].is_cuda:
        if len(indices) == len(masks) == 1:
            masks = []  # one number where one mask is true: filled without a search
        else:
            moved.append(args[2])
    return ["a size depends on values"] * len(masks) + ["a copy to the device"] * len(moved)
