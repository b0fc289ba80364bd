"""A pretend CUDA device: tensors on the CPU that say they are on cuda:0, and obey the rules of one.

    with pretend_device() as log:
        model.to("cuda")  # and whatever else a program does on a GPU
    log.waits  # (kind, place) -> how often the host would have waited for the GPU

Values are real, so that what runs on the device can be compared with what runs on the CPU. Refused is what CUDA
refuses: operators that mix devices, a generator of the other device, NumPy. Counted is what makes the host wait: a
value that is read, a copy that blocks, a result whose size depends on values; see `cuda_rules`. Not pretended:
streams, memory, kernels and the order in which they add.

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
from typing import ClassVar
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

from tests.cuda_rules import refuse_generator, refuse_mixing, waits_of

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
ROOT = Path(__file__).resolve().parent.parent
PROJECT = tuple(f"{ROOT / folder}/" for folder in ("methods", "replication"))

PRODUCTS = {  # autocast multiplies in bfloat16
    *(F.linear, F.conv1d, F.conv2d, F.scaled_dot_product_attention, torch.matmul, Tensor.matmul, Tensor.__matmul__),
    *(torch.mm, torch.bmm, torch.addmm, torch.baddbmm, torch.einsum, torch._VF.gru),
}
IN_FLOAT32 = {F.cross_entropy, F.nll_loss, F.softmax, F.log_softmax, F.layer_norm, Tensor.softmax, Tensor.log_softmax}
CAST = PRODUCTS | IN_FLOAT32


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


class PretendGenerator(torch.Generator):
    """A random stream of the pretend device: that of the CPU, which says where it is."""

    made: ClassVar[dict[int, torch.Generator]] = {}  # by address: operators are given another object for a stream

    def __new__(cls, device: torch.device | str = "cpu") -> torch.Generator:
        stream = super().__new__(cls)
        if torch.device(device).type != "cpu":
            cls.made[stream._cdata] = stream
        return stream

    device = property(lambda self: CUDA if self._cdata in PretendGenerator.made else CPU)


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
        name = frame.f_code.co_filename
        if name.startswith(PROJECT):
            return f"{Path(name).relative_to(ROOT)}:{frame.f_lineno}"
        frame = frame.f_back
    return "elsewhere"


class _Operators(TorchDispatchMode):
    """Runs every operator on the values, after what CUDA would check and with what it would wait for."""

    def __init__(self, log: Log):
        super().__init__()
        self.log = log

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        given = [value for value in _flat((*args, *kwargs.values())) if isinstance(value, Tensor)]
        inside = [tensor for tensor in given if isinstance(tensor, Pretend)]
        target = kwargs.get("device")
        on_device = bool(inside) if target is None else target.type != "cpu"
        if inside:
            refuse_mixing(func, args, [tensor for tensor in given if not isinstance(tensor, Pretend)])
        generator = kwargs.get("generator")
        if generator is not None:
            refuse_generator(on_device, generator._cdata in PretendGenerator.made)
        if inside or on_device:
            for kind in waits_of(func, args, kwargs):
                self.log.wait(kind)
        if target is not None:
            kwargs["device"] = CPU
        values = {name: _mapped(_values, value) for name, value in kwargs.items()}
        out = func(*_mapped(_values, args), **values)
        if not on_device:
            return out
        known = {id(_values(tensor)): tensor for tensor in given}  # what is written to is returned
        out = _mapped(lambda t: known[id(t)] if id(t) in known else Pretend(t), out)
        return return_and_correct_aliasing(func, args, kwargs, out) if torch.Tag.inplace_view in func.tags else out


def _values(tensor: Tensor) -> Tensor:
    return tensor.elem if isinstance(tensor, Pretend) else tensor


def _mapped(function, value):
    """Arguments or results with a function of each of their tensors in its place; lists may lie within."""
    if isinstance(value, Tensor):
        return function(value)
    return type(value)(_mapped(function, v) for v in value) if type(value) in (list, tuple) else value


def _flat(values: tuple | list) -> Iterator:
    for value in values:
        if type(value) in (list, tuple):
            yield from _flat(value)
        else:
            yield value


class _Autocast(TorchFunctionMode):
    """What `torch.autocast("cuda")` casts, which PyTorch itself does for real CUDA tensors only."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if not torch.is_autocast_enabled("cuda") or func not in CAST:
            return func(*args, **kwargs)
        dtype = torch.get_autocast_dtype("cuda") if func in PRODUCTS else torch.float32

        def cast(tensor: Tensor) -> Tensor:
            return tensor.to(dtype) if isinstance(tensor, Pretend) and tensor.is_floating_point() else tensor

        return func(*_mapped(cast, args), **{name: _mapped(cast, value) for name, value in kwargs.items()})


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
    if torch.cuda.is_available():
        torch.cuda.init()  # a real device is set up by real functions, not by the stand-ins
    torch._C._ensureCUDADeviceGuardSet()
    PretendGenerator.made.clear()
    with ExitStack() as stack:
        for name, stand_in in cuda.items():
            stack.enter_context(patch.object(torch.cuda, name, stand_in))
        stack.enter_context(patch.object(torch, "Generator", PretendGenerator))
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
