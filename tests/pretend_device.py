"""A pretend CUDA device: tensors on the CPU that say they are on cuda:0, and obey the rules of one.

    with pretend_device() as log:
        model.to("cuda")  # and whatever else a program does on a GPU
    log.waits  # (kind, place) -> how often the host would have waited for the GPU

Values are real, so that what runs on the device can be compared with what runs on the CPU. Refused is what CUDA
refuses: operators that mix devices, a generator of the other device, NumPy. Counted is what makes the host wait: a
value that is read, a copy that blocks, a result whose size depends on values. Not pretended: streams, memory, kernels
and the order in which they add.

How it works: a `Pretend` tensor holds its values in `elem`. Python is told cuda:0, and C++ the device "meta", the one
beside the CPU whose backward pass needs no stream; meta tensors proper cannot be made meanwhile. A dispatch mode sees
every operator, checks it and runs it on the values. The one lasting effect on a process without a GPU is that PyTorch
guards a CUDA device by doing nothing, as it does for its own fake tensors.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
ROOT = Path(__file__).resolve().parent.parent
aten = torch.ops.aten

# Results whose size depends on values, and values that are read. CUDA searches and counts on the device, then waits.
READS = {aten._local_scalar_dense, aten.equal}
SIZES = {
    *(aten.nonzero, aten.masked_select, aten.bincount, aten._coalesce),
    *(aten._unique, aten._unique2, aten.unique_dim, aten.unique_consecutive, aten.unique_dim_consecutive),
}
COPIES = {aten._to_copy, aten.copy_}
INDEXED = {aten.index, aten._unsafe_index, aten.index_put, aten.index_put_, aten._index_put_impl_}
# Beside the pointwise operators, those that take a number on the CPU, a tensor without dimensions.
TAKE_NUMBERS = {aten.fill_, aten.masked_fill, aten.masked_fill_, aten._foreach_mul, aten._foreach_mul_}

PRODUCTS = {
    *(F.linear, F.conv1d, F.conv2d, F.scaled_dot_product_attention, torch.matmul, Tensor.matmul, Tensor.__matmul__),
    *(torch.mm, torch.bmm, torch.addmm, torch.baddbmm, torch.einsum, torch._VF.gru),
}
IN_FLOAT32 = {F.cross_entropy, F.nll_loss, F.softmax, F.log_softmax, F.layer_norm, Tensor.softmax, Tensor.log_softmax}


class Pretend(Tensor):
    """A tensor on the pretend device.

    Args:
        elem: its values, on the CPU; shared, not copied.
    """

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, elem: Tensor) -> Pretend:
        made = Tensor._make_wrapper_subclass(
            cls,
            elem.size(),
            strides=None if elem.is_sparse else elem.stride(),
            storage_offset=None if elem.is_sparse else elem.storage_offset(),
            dtype=elem.dtype,
            layout=elem.layout,
            device="meta",
        )
        made.elem = elem
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError(f"{func}: a tensor has left the pretend device, which is closed")

    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)
    is_meta = property(lambda self: False)

    def get_device(self) -> int:
        return 0

    def new_tensor(self, data, *, dtype: torch.dtype | None = None, device=None, requires_grad: bool = False) -> Tensor:
        return torch.tensor(data, dtype=dtype or self.dtype, device=device or CUDA, requires_grad=requires_grad)

    def tolist(self) -> list:
        return self.cpu().tolist()

    def numpy(self, *, force: bool = False):
        if force:
            return self.cpu().detach().numpy()
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor first.")

    def __reduce_ex__(self, protocol: int):
        """Saved as a tensor on the CPU, which is where Lightning loads a checkpoint."""
        return self.elem.__reduce_ex__(protocol)

    def __repr__(self, **kwargs) -> str:
        return f"Pretend({self.elem})"


class Log:
    """What a program did on the device.

    Attributes:
        waits: (kind, place) -> how often the host waited; the place is the innermost line of the project's own code,
            as "replication/run.py:102", or "elsewhere".
    """

    def __init__(self):
        self.waits: Counter[tuple[str, str]] = Counter()

    def wait(self, kind: str) -> None:
        self.waits[kind, _place()] += 1

    def count(self, *folders: str) -> int:
        """Waits in all, or only those at a line in one of the project's folders."""
        return sum(n for (_, place), n in self.waits.items() if not folders or place.startswith(folders))


def _place() -> str:
    frame = sys._getframe(1)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in ("methods", "replication"):
            return f"{path.relative_to(ROOT)}:{frame.f_lineno}"
        frame = frame.f_back
    return "elsewhere"


class _Operators(TorchDispatchMode):
    """Runs every operator on the values, after what CUDA would check and with what it would wait for."""

    def __init__(self, log: Log):
        super().__init__()
        self.log = log

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        leaves = pytree.tree_leaves((args, kwargs))
        given = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        inside = [tensor for tensor in given if isinstance(tensor, Pretend)]
        target = kwargs.get("device")
        on_device = bool(inside) if target is None else target.type != "cpu"
        if inside:
            refuse_mixing(func, args, [tensor for tensor in given if not isinstance(tensor, Pretend)])
        if on_device:
            refuse_generator(leaves)
        for kind in waits_of(func, args, kwargs) if inside or on_device else ():
            self.log.wait(kind)
        if target is not None:
            kwargs["device"] = CPU
        plain_args, plain_kwargs = pytree.tree_map_only(Pretend, lambda t: t.elem, (args, kwargs))
        out = func(*plain_args, **plain_kwargs)
        if not on_device:
            return out
        known = {id(getattr(tensor, "elem", tensor)): tensor for tensor in given}  # what is written to is returned
        out = pytree.tree_map_only(Tensor, lambda t: known[id(t)] if id(t) in known else Pretend(t), out)
        return return_and_correct_aliasing(func, args, kwargs, out) if torch.Tag.inplace_view in func.tags else out


def refuse_mixing(func, args: tuple, plain: list[Tensor]) -> None:
    """Raise what CUDA raises where an operator on its tensors is given tensors of the CPU.

    Allowed are copies, tensors without dimensions in pointwise operators, and indices.

    Raises:
        RuntimeError: the operator mixes devices.
    """
    operator = func.overloadpacket
    if not plain or operator in COPIES:
        return
    if operator in INDEXED:
        values = args[2] if len(args) > 2 else plain[0].new_empty(())
        allowed = isinstance(args[0], Pretend) and (isinstance(values, Pretend) or values.dim() == 0)
    else:
        written = func._schema.arguments[0].is_write and not isinstance(args[0], Pretend)
        numbers = all(tensor.dim() == 0 for tensor in plain)
        allowed = numbers and not written and (torch.Tag.pointwise in func.tags or operator in TAKE_NUMBERS)
    if not allowed:
        raise RuntimeError(
            f"{func}: Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"
        )


def refuse_generator(leaves: list) -> None:
    """Raise what CUDA raises where its numbers are to be drawn by a generator of the CPU."""
    if any(isinstance(leaf, torch.Generator) and leaf.device.type == "cpu" for leaf in leaves):
        raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")


def waits_of(func, args: tuple, kwargs: dict) -> list[str]:
    """Kinds of waits that an operator with a tensor on the device causes."""
    operator = func.overloadpacket
    if operator in READS:
        return ["a value is read"]
    if operator in SIZES or (operator is aten.repeat_interleave and kwargs.get("output_size") is None):
        return ["a size depends on values"]
    if operator in COPIES:
        return _waits_of_copy(func, args, kwargs)
    if operator in INDEXED:
        return _waits_of_index(args)
    return []


def _waits_of_copy(func, args: tuple, kwargs: dict) -> list[str]:
    if func.overloadpacket is aten.copy_:
        there, here = isinstance(args[0], Pretend), isinstance(args[1], Pretend)
        blocks = not (args[2] if len(args) > 2 else kwargs.get("non_blocking"))
    else:
        here, target = isinstance(args[0], Pretend), kwargs.get("device")
        there, blocks = here if target is None else target.type != "cpu", not kwargs.get("non_blocking")
    if there == here or not blocks:
        return []
    return ["a copy to the device" if there else "a copy to the CPU"]


def _waits_of_index(args: tuple) -> list[str]:
    indices = [index for index in args[1] if index is not None]
    masks = [index for index in indices if index.dtype in (torch.bool, torch.uint8)]
    moved = [index for index in indices if not isinstance(index, Pretend)]
    if len(args) > 2 and not isinstance(args[2], Pretend):
        if len(indices) == len(masks) == 1:
            masks = []  # one number where one mask is true: filled without a search
        else:
            moved.append(args[2])
    return ["a size depends on values"] * len(masks) + ["a copy to the device"] * len(moved)


class _Autocast(TorchFunctionMode):
    """What `torch.autocast("cuda")` casts, which PyTorch itself does for real CUDA tensors only."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func not in PRODUCTS | IN_FLOAT32 or not torch.is_autocast_enabled("cuda"):
            return func(*args, **kwargs)
        dtype = torch.get_autocast_dtype("cuda") if func in PRODUCTS else torch.float32

        def cast(tensor: Pretend) -> Pretend:
            return tensor.to(dtype) if tensor.is_floating_point() else tensor

        args, kwargs = pytree.tree_map_only(Pretend, cast, (args, kwargs))
        return func(*args, **kwargs)


@contextmanager
def pretend_device() -> Iterator[Log]:
    """Make this process believe that it has one CUDA device, and log what would wait for it."""
    log = Log()
    cuda = {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "is_bf16_supported": lambda: True,
        "is_current_stream_capturing": lambda: False,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda device: None,
        "empty_cache": lambda: None,
        "get_device_capability": lambda device=None: (9, 0),
        "get_device_name": lambda device=None: "pretend",
        "get_device_properties": lambda device=None: SimpleNamespace(name="pretend"),
        "get_rng_state": lambda device=None: torch.get_rng_state(),
        "set_rng_state": lambda state, device=None: None,
        "synchronize": lambda device=None: log.wait("torch.cuda.synchronize"),
    }
    torch._C._ensureCUDADeviceGuardSet()
    with ExitStack() as stack:
        for name, stand_in in cuda.items():
            stack.enter_context(patch.object(torch.cuda, name, stand_in))
        # torch.tensor(..., device="cuda") makes a tensor on the CPU and copies it, in view of the mode
        stack.callback(torch._C._set_only_lift_cpu_tensors, torch._C._only_lift_cpu_tensors())
        torch._C._set_only_lift_cpu_tensors(True)
        # a module that is moved keeps its parameters, as it does on a real device, although their class changes
        swaps = torch.__future__.get_swap_module_params_on_conversion()
        stack.callback(torch.__future__.set_swap_module_params_on_conversion, swaps)
        torch.__future__.set_swap_module_params_on_conversion(True)
        stack.enter_context(_Operators(log))
        stack.enter_context(_Autocast())
        yield log
