"""The share of a run's CPU seconds that each method spends outside forward pass, backward pass and optimizer.

Every method of weights and units with its default intervals, two hidden layers of 1024 units, batches of 128.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.progress import track
from rich.table import Table

from hundredfold.methods.views import Batch
from hundredfold.replication.benchmark.measure import console, save
from hundredfold.replication.composition import compose
from hundredfold.replication.config import registry
from hundredfold.replication.energy.ledger import Ledger
from hundredfold.replication.energy.meter import Meter
from hundredfold.replication.energy.sources import choose
from hundredfold.replication.module import TrainingModule
from hundredfold.replication.process import prepare

STEPS = 400


def selection_share(name: str, steps: int) -> dict[str, float]:
    """CPU seconds of one run by part; observed steps are charged what they cost over the median of plain ones."""
    overrides = [f"method={name}", f"recipe.steps={steps}", "recipe.batch_size=128", "trainer.segments=1"]
    experiment = compose(overrides)
    with tempfile.TemporaryDirectory() as folder:
        meter = Meter(choose("estimate", "cpu", 10.0), Ledger(Path(folder) / "energy.jsonl"))
        module = TrainingModule(experiment, experiment.dataset.spec(), *experiment.dataset.training(), meter)
        meter.close()
    session = module.session
    rows = module.batches(0, steps)
    inputs, targets = module.train_split
    passes: list[float] = []
    observed: list[float] = []
    decisions = optimizer = 0.0
    module.model.train()
    for step in range(module.total_steps):
        x, y = inputs[rows[step % steps]], targets[rows[step % steps]]
        module.loss(module.model, x, y).backward() if step == 0 else None  # first use of every kernel
        module.optimizer.zero_grad()
        session.context.batch = Batch(x, y)
        start = time.process_time()
        module.loss(module.model, x, y).backward()
        watched = session.observes(step)
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


def main(scale: float, folder: Path) -> None:
    """Print and save the share of every method that selects weights or units and needs no other run."""
    prepare(threads=1)
    steps = max(20, round(STEPS * scale))
    methods: dict[str, Any] = dict(registry("method"))
    names = [
        name
        for name, cls in methods.items()
        if {part.selects for part in cls().parts()} & {"weights", "units"} and not cls.reference and not cls().twin_of
    ]
    console.print(f"methods: {len(names)} methods, {steps} steps each, about {len(names) * steps * 0.02:.0f} s")
    table = Table("method", "outside forward, backward, optimizer", "seconds of", "in all")
    shares = {}
    for name in track(names, description="methods", console=console):
        shares[name] = parts = selection_share(name, steps)
        spent = parts["decisions_s"] + parts["watching_s"]
        table.add_row(name, f"{100 * parts['share']:.1f} %", f"{spent:.3f}", f"{parts['total_s']:.2f}")
    console.print(table)
    save(folder / "methods.json", {"steps": steps, "methods": shares}, threads=1)
