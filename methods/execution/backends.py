"""Which back end runs a layer whose weights are selected: as asked, or by measurement.

`masked` simulates on dense kernels, `csr` and `block_sparse` store and multiply only what exists, `semi_structured`
uses a GPU's sparse tensor cores, and `auto` takes for each layer the fastest of those that can run its pattern.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from methods.base import Method
from methods.execution.block_sparse import BlockSparseLinear
from methods.execution.csr import CsrLinear
from methods.execution.sparse import SparseLinear

STORED: dict[str, type[SparseLinear]] = {"csr": CsrLinear, "block_sparse": BlockSparseLinear}
BACKENDS = ("masked", *STORED, "semi_structured", "auto")
GAIN = 0.98  # a back end that stores takes over below this fraction of the dense kernels' time
REPEATS, BUDGET_S = 5, 0.5  # of one measurement: repetitions of each candidate, and the time after which it ends


class Decision(NamedTuple):
    """Why a layer runs as it does."""

    step: int
    layer: str
    tokens: int
    density: float
    seconds: dict[str, float]  # back end -> median time of forward and backward pass
    chosen: str


def can_store(method: Method) -> bool:
    """Whether weights that a method does not select need not be stored."""
    return "weights" in method.selects and "operands" not in method.selects and not method.keeps_weights


def check(backend: str, method: Method) -> None:
    """Raise a ValueError unless a method's selections can run on a back end; `auto` and `masked` run every method."""
    if backend not in BACKENDS:
        raise ValueError(f"backend={backend}: unknown; choose one of {', '.join(sorted(BACKENDS))}")
    if backend in STORED and not can_store(method):
        what = "keeps weights that it does not compute" if "weights" in method.selects else "selects no weights"
        what = "selects operands of single products" if "operands" in method.selects else what
        raise ValueError(f"backend={backend}: {method.name()} {what}; use masked or auto")
    if backend == "semi_structured" and "weights" not in method.selects:
        raise ValueError(f"backend={backend}: {method.name()} selects no weights; use masked or auto")


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
