"""What the data cost: an epoch's batches alone over an epoch of training, and the suite over a plain loop.

The plain loop is what anyone would write: the same model, the same tensors in memory, standardised by hand, no
augmentation on either side. CPU seconds, blocks in the order A B B A. Data sets that are not on this machine are left
out.
"""

from __future__ import annotations

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

CASES: tuple[tuple[str, str, list[str]], ...] = (
    ("fashion_mnist", "mlp", ["model.widths=[256,256]"]),
    ("fashion_mnist", "small_cnn", []),
    ("cifar10", "small_cnn", []),
    ("digits", "mlp", []),
)
STEPS, BLOCKS, BATCH = 60, 4, 128


def new_module(dataset: str, model: str, options: list[str], steps: int, folder: Path) -> TrainingModule:
    """A dense run of so many steps."""
    overrides = [f"dataset={dataset}", f"model={model}", "recipe=digits-mlp", "strict=false"]
    experiment = compose([*overrides, *options, f"recipe.batch_size={BATCH}", f"recipe.steps={steps}"])
    meter = Meter(choose("estimate", "cpu", 10.0), Ledger(folder / "energy.jsonl"))
    return TrainingModule(experiment, experiment.dataset.spec(), *experiment.dataset.training(), meter)


def batches_alone(module: TrainingModule, steps: int) -> float:
    """CPU seconds of gathering, augmenting and standardising the batches of so many steps."""
    start = time.process_time()
    for inputs, targets, _ in module.examples(0, steps):
        if not module.ready:
            module.experiment.dataset.prepare(inputs, targets)
    return time.process_time() - start


def suite(module: TrainingModule, steps: int) -> float:
    """CPU seconds of so many steps of the suite; the cost of a step has been counted before."""
    start = time.process_time()
    module.train_steps(0, steps)
    return time.process_time() - start


def plain(module: TrainingModule, steps: int) -> float:
    """CPU seconds of so many steps of a plain loop on the same model."""
    model, recipe = module.model, module.experiment.recipe
    optimizer = make_optimizer(model, recipe)
    parameters, split = list(model.parameters()), module.train_split
    pixels, classes = split.inputs[: 64 * BATCH], split.targets[: 64 * BATCH]
    if not module.ready:
        pixels, classes = module.experiment.dataset.prepare(pixels, classes)
    start = time.process_time()
    model.train()
    for step in range(steps):
        rows = torch.randint(len(pixels), (BATCH,))
        loss = F.cross_entropy(model(pixels[rows]), classes[rows])
        loss.backward()
        if recipe.clip is not None:
            torch.nn.utils.clip_grad_norm_(parameters, recipe.clip)
        for group in optimizer.param_groups:
            group["lr"] = module.rates[step]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return time.process_time() - start


def main(scale: float, folder: Path) -> None:
    """Print and save the share of the data and the ratio to a plain loop, for every data set that is here."""
    prepare(threads=1)
    steps = max(10, round(STEPS * scale))
    console.print(f"data: {len(CASES)} cases, {4 * BLOCKS} blocks of {steps} steps, about {240 * scale + 20:.0f} s")
    table = Table("data set", "model", "batches alone, of training", "speed over a plain loop", "lowest", "highest")
    rows = []
    for dataset, model, options in CASES:
        with tempfile.TemporaryDirectory() as temporary:
            try:
                module = new_module(dataset, model, options, steps, Path(temporary))
            except ValueError as error:
                console.print(f"{dataset}: left out ({error})")
                continue
            suite(module, 2), plain(module, 2), batches_alone(module, 2)
            ratios, shares = [], []
            for _ in range(BLOCKS):
                block = [suite(module, steps), plain(module, steps), plain(module, steps), suite(module, steps)]
                ratios.append((block[1] + block[2]) / (block[0] + block[3]))
                shares.append(batches_alone(module, steps) / block[3])
            rows.append({"dataset": dataset, "model": model, "data_share": shares, "speed_over_plain": ratios})
            figures = statistics.median(ratios), min(ratios), max(ratios)
            table.add_row(dataset, model, f"{statistics.median(shares):.1%}", *(f"{figure:.3f}" for figure in figures))
    console.print(table)
    save(folder / "data.json", {"steps": steps, "batch": BATCH, "rows": rows}, threads=1)
