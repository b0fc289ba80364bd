"""Whole training steps, optimizer included: the dense model, eager and compiled, and with selected units or weights.

The ideal is the ratio of executed FLOPs by PyTorch's counter. Units are chosen at random, which takes as long as any
other choice; compact models are the full ones after their units have left, as in training.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from rich.table import Table
from torch import Tensor, nn

from hundredfold.methods.execution.cost import executed_flops
from hundredfold.methods.execution.loss import cross_entropy
from hundredfold.methods.execution.session import Session
from hundredfold.methods.execution.units.groups import find_units
from hundredfold.methods.execution.units.store import UnitStore
from hundredfold.methods.static.random_erk import RandomErk
from hundredfold.replication.benchmark.measure import console, file_of, interleaved, save
from hundredfold.replication.config import registry
from hundredfold.replication.datasets.base import DataSpec
from hundredfold.replication.registry import create

REPEATS = 7
THREADS = 2


class Case(NamedTuple):
    """A model, its batch, and how much of it computes."""

    model: str
    options: dict
    spec: DataSpec
    batch: int
    unit_density: float
    weight_densities: tuple[float, ...] = ()


def _image(*shape: int) -> DataSpec:
    return DataSpec("image", shape, 10, "accuracy")


CASES = {
    "mlp 784-2048-2048-10": Case(
        "mlp", {"widths": [2048, 2048]}, _image(1, 28, 28), 128, 1 / 16, (0.2, 0.1, 0.05, 0.01)
    ),
    "resnet18, 32 x 32": Case("resnet18", {}, _image(3, 32, 32), 16, 0.5),
    "vit tiny, 32 x 32": Case(
        "vit", {"patch": 4, "dim": 192, "depth": 12, "heads": 4}, _image(3, 32, 32), 32, 0.5
    ),
    "gpt 4 x 256": Case(
        "gpt", {"dim": 256, "depth": 4, "heads": 4, "hidden": 1024}, DataSpec("text", (128,), 256, "loss"), 8, 0.5
    ),
    "llama 4 x 256": Case(
        "llama",
        {"dim": 256, "depth": 4, "heads": 4, "groups": 2, "hidden": 688},
        DataSpec("text", (128,), 256, "loss"),
        8,
        0.5,
    ),
}  # fmt: skip


def batch_of(case: Case) -> tuple[Tensor, Tensor]:
    """Random inputs and targets of a case."""
    generator = torch.Generator().manual_seed(0)
    shape = (case.batch, *case.spec.input_shape)
    if case.spec.kind == "text":
        return torch.randint(256, shape, generator=generator), torch.randint(256, shape, generator=generator)
    return torch.randn(shape, generator=generator), torch.randint(10, (case.batch,), generator=generator)


def step_of(model: nn.Module, x: Tensor, y: Tensor, session: Session | None = None, compiled=None) -> Callable:
    """One training step: forward, backward, AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, fused=True) if session is None else session.optimizer

    def step():
        with torch.autocast(x.device.type, torch.bfloat16, enabled=x.device.type != "cpu"):
            loss = cross_entropy(model if compiled is None else compiled, x, y, "mean")
        loss.backward()
        optimizer.step() if session is None else session.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def compact(model: nn.Module, density: float) -> nn.Module:
    """The model after all but a fraction of every group's units have left."""
    small = copy.deepcopy(model)
    store = UnitStore(small, find_units(small), compact=True)
    for name, group in store.groups.items():
        kept = torch.zeros(group.size, dtype=torch.bool)
        kept[torch.randperm(group.size)[: max(1, math.floor(density * group.size))]] = True
        store.set_alive(name, kept, None, None)
    return small


def candidates(case: Case, device: str = "cpu") -> dict[str, tuple[nn.Module, Callable]]:
    """Every way to take the step on a device, by name; stored weights on a CPU alone."""
    torch.manual_seed(0)
    full = create("model", registry("model"), case.model, **case.options).build(case.spec)
    if any(isinstance(m, nn.Conv2d) for m in full.modules()):
        full.to(memory_format=torch.channels_last)
    full.to(device)
    x, y = (part.to(device) for part in batch_of(case))
    small = compact(full, case.unit_density)
    found = {"dense": (full, step_of(full, x, y)), "compact": (small, step_of(small, x, y))}
    for name, model in (("dense, compiled", full), ("compact, compiled", small)):
        model = copy.deepcopy(model)
        step = step_of(model, x, y, compiled=torch.compile(model))
        try:
            step()
        except Exception as error:  # without a C++ compiler, say
            console.print(f"{case.model} {name}: not measured ({type(error).__name__})")
            continue
        found[name] = model, step
    for density in case.weight_densities if device == "cpu" else ():
        model = copy.deepcopy(full)
        optimizer = torch.optim.AdamW(model.parameters(), 1e-4, fused=True)
        session = Session(model, RandomErk(density=density), optimizer, total_steps=10**9, storage="csr")
        found[f"csr {density:g}"] = model, step_of(model, x, y, session)
    return found


def state_bytes(model: nn.Module) -> int:
    """Bytes of parameters, their gradients and AdamW's two moments, and of the indices of stored weights."""
    indices = [getattr(m, name) for m in model.modules() for name in ("start", "column") if hasattr(m, name)]
    return sum(16 * p.numel() for p in model.parameters()) + sum(index.nbytes for index in indices)


def main(scale: float, folder: Path, device: str = "cpu") -> None:
    """Time every case, print a table, save all."""
    torch.set_num_threads(THREADS)
    repeats = max(3, round(REPEATS * scale))
    console.print(f"steps on {device}: {len(CASES)} models, about {60 + repeats * 25:.0f} s")
    table = Table("model", "step", "ms", "CPU ms", "dense over", "by CPU time", "ideal", "of the ideal", "state")
    rows = []
    for title, case in CASES.items():
        found = candidates(case, device)
        flops = {name: executed_flops(step) for name, (_, step) in found.items() if "compiled" not in name}
        flops |= {name: flops[name.split(",")[0]] for name in found if "compiled" in name}
        timings = interleaved({name: step for name, (_, step) in found.items()}, repeats)
        dense, bytes_of_dense = timings["dense"], state_bytes(found["dense"][0])
        for name, timing in timings.items():
            row = {
                "model": case.model, "step": name, "case": dataclasses.asdict(case.spec) | {"batch": case.batch},
                "ideal": flops["dense"] / flops[name], "speedup": dense.wall_s / timing.wall_s,
                "cpu_speedup": dense.cpu_s / timing.cpu_s, "state": state_bytes(found[name][0]) / bytes_of_dense,
                "flops": flops[name], **timing._asdict(),
            }  # fmt: skip
            rows.append(row)
            table.add_row(
                title, name, f"{1e3 * timing.wall_s:.2f}", f"{1e3 * timing.cpu_s:.2f}", f"{row['speedup']:.2f}",
                f"{row['cpu_speedup']:.2f}", f"{row['ideal']:.2f}", f"{row['speedup'] / row['ideal']:.0%}",
                f"{row['state']:.3f}",
            )  # fmt: skip
            title = ""
    console.print(table)
    save(file_of(folder, "steps", device), {"repeats": repeats, "rows": rows}, threads=THREADS, device=device)
