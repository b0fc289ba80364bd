"""How weights that do not exist are stored: as asked, or for each layer the fastest by measurement.

`masked` stores zeros and runs dense kernels, `csr` and `block_sparse` store and multiply only what exists,
`semi_structured` uses a GPU's sparse tensor cores, and `auto` takes for each layer the fastest of those that can hold
its pattern.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hundredfold.methods.execution.storage.block_sparse import BlockSparseLinear
from hundredfold.methods.execution.storage.csr import CsrLinear, compile_kernels
from hundredfold.methods.execution.storage.sparse import SparseLinear

SPARSE: dict[str, type[SparseLinear]] = {"csr": CsrLinear, "block_sparse": BlockSparseLinear}
STORAGES = ("masked", *SPARSE, "semi_structured", "auto")
GAIN = 0.98  # a sparse storage takes over below this fraction of the dense kernels' time
REPEATS, BUDGET_S = 5, 0.5  # of one measurement: repetitions of each candidate, and the time after which it ends


class Decision(NamedTuple):
    """Why a layer is stored as it is."""

    step: int
    layer: str
    tokens: int
    density: float
    seconds: dict[str, float]  # storage -> median time of forward and backward pass
    chosen: str


def prepare_storage(storage: str) -> None:
    """Compile what a storage needs, before anything is measured."""
    if storage in ("csr", "auto"):
        compile_kernels()


def measure(candidates: dict[str, Callable[[Tensor], Tensor]], tokens: int, inputs: int, like: Tensor) -> dict:
    """Median seconds of forward and backward pass of layers that compute the same, taken in turn.

    Args:
        candidates: name -> layer.
        tokens, inputs: T, I of the input.
        like: its device and type.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(tokens, inputs, generator=generator).to(like).requires_grad_()
    times: dict[str, list[float]] = {name: [] for name in candidates}
    begun = time.perf_counter()
    for repeat in range(REPEATS + 1):
        for name, layer in candidates.items():
            start = _now(like)
            y = layer(x)
            torch.autograd.grad(y, [x, *_trained(layer)], y.detach())
            if repeat:  # the first call compiles or reads compiled kernels
                times[name].append(_now(like) - start)
        if repeat and time.perf_counter() - begun > BUDGET_S:
            break
    return {name: statistics.median(values) for name, values in times.items()}


def _trained(layer: nn.Module) -> list[nn.Parameter]:
    return [p for p in layer.parameters() if p.requires_grad]


def _now(like: Tensor) -> float:
    if like.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter()
