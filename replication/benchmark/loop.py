"""What the framework costs: a training step of the suite over the same step in a plain PyTorch loop.

The smallest model of the suite (two hidden layers of 32 units), CPU seconds, blocks in the order A B B A. The suite's
side includes Lightning's Trainer, the session, the meter and its ledger; evaluation is left out on both sides.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.table import Table

from hundredfold.replication.benchmark.measure import console, save
from hundredfold.replication.composition import compose
from hundredfold.replication.energy.ledger import Ledger
from hundredfold.replication.energy.meter import Meter
from hundredfold.replication.energy.sources import choose
from hundredfold.replication.module import TrainingModule, make_optimizer
from hundredfold.replication.process import prepare
from hundredfold.replication.run import fit

STEPS, BLOCKS = 2000, 4
METERED, BARE = ("estimate", True), ("none", False)  # source, and whether its thread reads it


def new_module(steps: int, folder: Path, source: str = "estimate") -> TrainingModule:
    overrides = ["method=dense_small", "method.density=0.03125", f"recipe.steps={steps}", "trainer.segments=5"]
    experiment = compose(overrides)
    meter = Meter(choose(source, "cpu", 10.0), Ledger(folder / "energy.jsonl"))
    return TrainingModule(experiment, experiment.dataset.spec(), *experiment.dataset.training(), meter)


def suite_seconds(steps: int, source: str = "estimate", metered: bool = True) -> float:
    """CPU seconds of one run of the suite without its evaluations.

    Args:
        metered: with the thread that reads the counter every second, as in every run.
    """
    with tempfile.TemporaryDirectory() as folder:
        module = new_module(steps, Path(folder), source)
        start = time.process_time()
        with module.meter.beating() if metered else contextlib.nullcontext():
            fit(module, Path(folder), checkpoint_every_s=1e9)
        spent = time.process_time() - start
        phases = module.meter.totals().phases_cpu_s
        module.meter.close()
    return spent - phases.get("eval", 0.0) - phases.get("account", 0.0)


def plain_seconds(steps: int) -> float:
    """CPU seconds of the same steps as anyone would write them."""
    with tempfile.TemporaryDirectory() as folder:
        module = new_module(steps, Path(folder))
        module.meter.close()
    model, recipe = module.model, module.experiment.recipe
    optimizer = make_optimizer(model, recipe)
    rows, rates = module.batches(0, steps), module.rates
    inputs, targets = module.train_split
    parameters = list(model.parameters())
    start = time.process_time()
    model.train()
    for step in range(steps):
        x, y = inputs[rows[step]], targets[rows[step]]
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, recipe.clip)
        for group in optimizer.param_groups:
            group["lr"] = rates[step]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return time.process_time() - start


def main(scale: float, folder: Path) -> None:
    """Print the ratio with its spread, and save it with the machine's description."""
    prepare(threads=1)
    steps = max(50, round(STEPS * scale))
    console.print(f"loop: {8 * BLOCKS} blocks of {steps} steps, about {BLOCKS * steps * 0.012:.0f} s")
    suite_seconds(50), plain_seconds(50)  # first use of every kernel
    ratios: list[float] = []
    times: dict[str, list[float]] = {"suite": [], "plain": []}
    for _ in range(BLOCKS):
        block = [suite_seconds(steps), plain_seconds(steps), plain_seconds(steps), suite_seconds(steps)]
        times["suite"] += [block[0] / steps, block[3] / steps]
        times["plain"] += [block[1] / steps, block[2] / steps]
        ratios.append((block[0] + block[3]) / (block[1] + block[2]))
    table = Table("loop", "CPU ms per step, median", "lowest", "highest")
    for name, values in times.items():
        table.add_row(name, *(f"{1e3 * f(values):.3f}" for f in (statistics.median, min, max)))
    console.print(table)
    console.print(f"suite over plain: median {statistics.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}")
    meters = []
    for _ in range(BLOCKS):
        first, *bare, last = (suite_seconds(steps, *how) for how in (METERED, BARE, BARE, METERED))
        meters.append((first + last) / sum(bare))
    console.print(f"metered over not: median {statistics.median(meters):.4f}, {min(meters):.4f} to {max(meters):.4f}")
    result = {"steps": steps, "ratios": ratios, "cpu_s_per_step": times, "metering": meters}
    save(folder / "overhead.json", result, threads=1)
