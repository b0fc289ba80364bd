"""What the framework costs: a training step of the suite over the same step in a plain PyTorch loop.

python -m replication.benchmark [--steps N] [--blocks N] [--output FILE]
python -m replication.benchmark --methods [--steps N] [--output FILE]

With --methods, the share of a run's CPU seconds that every method of weights and units spends outside forward pass,
backward pass and optimizer: default intervals, two hidden layers of 1024 units, batches of 128. Without it, the
smallest model of the suite (two hidden layers of 32 units), CPU seconds, blocks in the order A B B A. The suite's
side includes Lightning's Trainer, the session, the meter and its ledger; evaluation is left out on both sides.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table

from methods.base import Batch
from replication.config import registry
from replication.energy.ledger import Ledger
from replication.energy.meter import Meter
from replication.energy.sources import choose
from replication.environment import collect
from replication.module import TrainingModule, make_optimizer
from replication.process import prepare
from replication.run import fit
from replication.worker import compose


def new_module(steps: int, folder: Path) -> TrainingModule:
    overrides = ["method=dense_small", "method.density=0.03125", f"recipe.steps={steps}", "trainer.segments=5"]
    experiment = compose(overrides)
    meter = Meter(choose("estimate", "cpu", 10.0), Ledger(folder / "energy.jsonl"))
    return TrainingModule(experiment, experiment.dataset.spec(), *experiment.dataset.training(), meter)


def suite_seconds(steps: int) -> float:
    """CPU seconds of one run of the suite without its evaluations."""
    with tempfile.TemporaryDirectory() as folder:
        module = new_module(steps, Path(folder))
        start = time.process_time()
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


def selection_share(name: str, steps: int) -> dict[str, float]:
    """CPU seconds of one run by part; observed steps are charged what they cost over the median of plain ones."""
    overrides = [f"method={name}", f"recipe.steps={steps}", "recipe.batch_size=128", "trainer.segments=1"]
    experiment = compose(overrides)
    with tempfile.TemporaryDirectory() as folder:
        meter = Meter(choose("estimate", "cpu", 10.0), Ledger(Path(folder) / "energy.jsonl"))
        module = TrainingModule(experiment, experiment.dataset.spec(), *experiment.dataset.training(), meter)
        meter.close()
    session, method = module.session, experiment.method
    rows = module.batches(0, steps)
    inputs, targets = module.train_split
    passes, observed, decisions, optimizer = [], [], 0.0, 0.0
    module.model.train()
    for step in range(module.total_steps):
        x, y = inputs[rows[step % steps]], targets[rows[step % steps]]
        module.loss(module.model, x, y).backward() if step == 0 else None  # first use of every kernel
        module.optimizer.zero_grad()
        session.batch = Batch(x, y)
        start = time.process_time()
        module.loss(module.model, x, y).backward()
        watched = method.observes(step, module.total_steps)
        (observed if watched else passes).append(time.process_time() - start)
        marks = [time.process_time()]
        for part in (session.before_step, module.optimizer.step, session.after_step):
            part()
            marks.append(time.process_time())
        decisions += marks[1] - marks[0] + marks[3] - marks[2]
        optimizer += marks[2] - marks[1]
    plain = statistics.median(passes or observed)
    watching = max(sum(observed) - plain * len(observed), 0.0)
    total = sum(passes) + sum(observed) + optimizer + decisions
    return {"share": (decisions + watching) / total, "decisions_s": decisions, "watching_s": watching, "total_s": total}


def methods_table(steps: int, output: Path) -> int:
    """Print and save the share of every method that selects weights or units and needs no other run."""
    names = [
        name
        for name, cls in registry("method").items()
        if {"weights", "units"} & cls().selects and not cls.reference and name != "random_twin"
    ]
    print(f"{len(names)} methods, {steps} steps each, about {len(names) * steps * 0.02:.0f} s")
    table = Table("method", "outside forward, backward, optimizer", "seconds of", "in all")
    shares = {}
    for name in names:
        shares[name] = parts = selection_share(name, steps)
        spent = parts["decisions_s"] + parts["watching_s"]
        table.add_row(name, f"{100 * parts['share']:.1f} %", f"{spent:.3f}", f"{parts['total_s']:.2f}")
    Console().print(table)
    output.parent.mkdir(parents=True, exist_ok=True)
    result = {"steps": steps, "methods": shares, "environment": collect("cpu", 1, "float32")}
    output.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def main() -> int:
    """Print the ratio with its spread, and save it with the machine's description."""
    parser = argparse.ArgumentParser(prog="replication.benchmark", description=__doc__.split("\n")[0])
    parser.add_argument("--methods", action="store_true", help="measure the methods' decisions instead of the loop")
    parser.add_argument("--steps", type=int, help="training steps of a block (2000) or of a method's run (400)")
    parser.add_argument("--blocks", type=int, default=4, help="repetitions of A B B A")
    parser.add_argument("--output", type=Path, help="default results/benchmark/overhead.json or methods.json")
    options = parser.parse_args()
    options.steps = options.steps or (400 if options.methods else 2000)
    name = "methods.json" if options.methods else "overhead.json"
    options.output = options.output or Path("results/benchmark") / name
    if options.steps < 10 or options.blocks < 1:
        print("hundredfold: --steps must be 10 or more and --blocks 1 or more", file=sys.stderr)
        return 2
    prepare(threads=1)
    if options.methods:
        return methods_table(options.steps, options.output)
    print(f"{4 * options.blocks} blocks of {options.steps} steps, about {options.blocks * options.steps * 0.006:.0f} s")
    suite_seconds(50), plain_seconds(50)  # first use of every kernel
    ratios, times = [], {"suite": [], "plain": []}
    for _ in range(options.blocks):
        block = [suite_seconds(options.steps), plain_seconds(options.steps)]
        block += [plain_seconds(options.steps), suite_seconds(options.steps)]
        times["suite"] += [block[0] / options.steps, block[3] / options.steps]
        times["plain"] += [block[1] / options.steps, block[2] / options.steps]
        ratios.append((block[0] + block[3]) / (block[1] + block[2]))
    table = Table("loop", "CPU ms per step, median", "lowest", "highest")
    for name, values in times.items():
        table.add_row(name, *(f"{1e3 * f(values):.3f}" for f in (statistics.median, min, max)))
    Console().print(table)
    print(f"suite over plain: median {statistics.median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    result = {"steps": options.steps, "ratios": ratios, "cpu_s_per_step": times}
    options.output.write_text(json.dumps(result | {"environment": collect("cpu", 1, "float32")}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
