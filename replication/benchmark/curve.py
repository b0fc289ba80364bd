"""The first epochs of a long recipe beside a published curve: does a baseline that takes hours start as it should?

The recipe runs with its whole schedule and is left after its first epochs; a later call goes on where this one was
stopped. Ours is the accuracy on the validation split, which was held out from training; the published one is on the
test split.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from rich.progress import Progress, TimeElapsedColumn
from rich.table import Table

from hundredfold.replication.benchmark.measure import console, save
from hundredfold.replication.composition import compose
from hundredfold.replication.energy.ledger import Ledger
from hundredfold.replication.energy.meter import Meter
from hundredfold.replication.energy.sources import choose
from hundredfold.replication.module import TrainingModule
from hundredfold.replication.process import prepare
from hundredfold.replication.run import fit, placed


class Published(NamedTuple):
    """A curve of somebody else: test accuracy in per cent after each epoch."""

    source: str
    recipe: str
    accuracy: tuple[float, ...]


# The recipe is conf/recipe/cifar10-resnet18.yaml, the network differs: there pre-activation blocks, a last stage of 256
# channels and a head that reads averages and maxima, here timm's ResNet-18 with CIFAR's stem.
BASENET = Published(
    "DAWNBench, CIFAR10/train/basenet.tsv of stanford-futuredata/dawn-bench-entries (commit 5197470), 2018-04-20",
    "bkj/basenet, ResNet-18 with changes, SGD 0.1, one linear cycle over 30 epochs, batch 128, float16, one seed",
    (55.55, 65.62, 74.83, 75.66, 79.18, 79.15, 83.65, 79.71, 83.79, 78.21, 85.15, 84.95, 81.04, 83.14, 82.11),
)
OVERRIDES = ("dataset=cifar10", "model=resnet18")
EPOCHS = 3


def main(scale: float, folder: Path) -> None:
    """Train the first epochs and save both curves."""
    epochs = max(1, round(EPOCHS * scale))
    prepare(threads=1)
    overrides = [*OVERRIDES, "trainer=gpu" if torch.cuda.is_available() else "trainer.precision=bfloat16"]
    try:
        experiment = compose(overrides)
        train, validation = experiment.dataset.training()
    except ValueError as error:
        console.print(f"curve: left out ({error})")
        return
    steps_per_epoch = len(train.inputs) / experiment.recipe.batch_size
    experiment = compose([*overrides, f"trainer.segments={round(experiment.steps / steps_per_epoch)}"])
    console.print(
        f"curve: {epochs} epochs of ResNet-18 on CIFAR-10, about 13 min each on one core and 10 s on a GPU; stopped, "
        "it goes on after its last whole epoch"
    )
    work = folder / "curve"
    work.mkdir(parents=True, exist_ok=True)
    source = choose("auto", experiment.trainer.device, experiment.config["energy"]["watts_per_core"])
    with Progress(*Progress.get_default_columns(), TimeElapsedColumn(), console=console) as bar:
        task = bar.add_task(experiment.task, total=epochs * steps_per_epoch)
        meter = Meter(source, Ledger(work / "energy.jsonl"))
        with meter.phase("setup"):
            module = TrainingModule(
                experiment,
                experiment.dataset.spec(),
                placed(train, experiment),
                placed(validation, experiment),
                meter,
                progress=lambda done, _: bar.update(task, completed=done),
            )
            reason = fit(module, work, checkpoint_every_s=0.0, segments=epochs)
        meter.close()
    if reason:
        console.print(f"curve: {reason}")
        return
    points = [{"epoch": point["step"] / steps_per_epoch} | point for point in module.position.curve]
    table = Table("epoch", "ours, validation", "published, test")
    for ours, published in zip(points, BASENET.accuracy, strict=False):
        table.add_row(f"{ours['epoch']:.1f}", f"{ours['validation_accuracy']:.1%}", f"{published / 100:.1%}")
    console.print(table)
    result = {"config": experiment.config, "curve": points, "published": BASENET._asdict()}
    save(folder / "curve.json", result, threads=1, device=experiment.trainer.device)
