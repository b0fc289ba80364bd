"""How much skipping products can save: 1 / (1 - s) for their share s of the time of a few dense steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from hundredfold.methods.execution.loss import cross_entropy
from hundredfold.replication.config import build
from hundredfold.replication.datasets.base import DataSpec
from hundredfold.replication.optimizer import make_optimizer

BATCH, STEPS = 64, 3  # examples at most, and steps after the first
LONG_S = 1.0  # a step from which on one is enough
PRODUCTS = ("mm", "convolution", "attention", "rnn", "gru", "lstm", "linear")  # in names of operators


def sentence(config: Mapping[str, Any]) -> str | None:
    """What skipping all products of a dense run of a task could save; None where it cannot be known beforehand.

    Args:
        config: of any run of the task.
    """
    dense = build({**config, "method": {"name": "dense"}})
    if dense.model.learns or dense.trainer.device != "cpu" or not dense.dataset.present():
        return None
    share = products_share(dense)
    return (
        f"products are {share:.0%} of the processor time of a dense step (profiled now), so that skipping all of them "
        f"and nothing else saves {1 / (1 - share):.3g}x; smaller layers save work around them too"
    )


def products_share(experiment: Any) -> float:
    """Share of matrix products and convolutions in the processor time of dense training steps on random data."""
    spec = experiment.dataset.spec()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = experiment.model.build(spec)
        inputs, targets = _batch(spec, min(BATCH, experiment.recipe.batch_size))
    threads = torch.get_num_threads()
    torch.set_num_threads(experiment.trainer.threads)
    optimizer = make_optimizer(model, experiment.recipe)

    def step() -> float:
        """CPU seconds of one step."""
        begin = time.process_time()
        cross_entropy(model, inputs, targets, "mean").backward()
        optimizer.step()
        optimizer.zero_grad()
        return time.process_time() - begin

    try:
        steps = STEPS if step() < LONG_S else 1
        whole = min(step() for _ in range(steps))
        products = min(_products_of(step) for _ in range(steps))
    finally:
        torch.set_num_threads(threads)
    return min(products / whole, 0.999)


class _Timed(TorchDispatchMode):
    """Adds up the CPU seconds of products."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        begin = time.process_time()
        out = func(*args, **kwargs or {})
        if any(name in str(func) for name in PRODUCTS):
            self.seconds += time.process_time() - begin
        return out


def _products_of(step: Callable[[], object]) -> float:
    with _Timed() as timed:
        step()
    return timed.seconds


def _batch(spec: DataSpec, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    shape = (size, *spec.input_shape)
    if spec.kind == "text":
        return torch.randint(spec.num_classes, shape), torch.randint(spec.num_classes, shape)
    return torch.randn(shape), torch.randint(spec.num_classes, (size,))
