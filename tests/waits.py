"""How often each method makes the host wait for a GPU, as a table: make waits, or python -m tests.waits [MODEL ...]

The pretend device counts; no GPU is needed. What a plain step and an update may wait is fixed below, and a test
enforces it on a perceptron and on a deeper network: a method that is not named has none in a plain step.
"""

from __future__ import annotations

import sys
from collections import Counter

import torch
from rich.console import Console
from rich.table import Table

from tests.on_device import Waits, waits
from tests.pretend_device import Log, pretend_device
from tests.test_matrix import METHODS, expected_refusals, options

MODELS = ("mlp", "vit", "gpt", "small_cnn")
PLAIN = {  # sizes of batches, and of groups of them, are read from the device
    "dsc_input": 2,  # one for each of its layers
    "infobatch": 1,
    "moe": 1,  # where layers are too narrow for a grouped product, which waits for nothing
}
UPDATE = 4  # however many layers a model has
UPDATES = {"deepr": 8}  # it decides at every step, and an update is counted with the step after it


def made(name: str):
    """A method with small options, and a schedule that decides a few times in the steps that are taken."""
    found = options(METHODS[name])
    found.pop("observe_every", None)
    return METHODS[name](**found | ({"rounds": 3} if name == "synflow" else {}))


def counted(name: str, model: str, log: Log) -> Waits | None:
    """Waits of a method on a model; None where it refuses the model or reads another run."""
    method = made(name)
    if name in expected_refusals(model) or method.reference:
        return None
    return waits(method, model, log)


def table(models: tuple[str, ...]) -> Table:
    """One method a row: waits of a plain step and of the worst update, and the line that waits most."""
    shown = Table(title="Waits of the host for the device: a plain step / the update that waits most")
    shown.add_column("method")
    for model in models:
        shown.add_column(model, justify="right")
    shown.add_column("most of a plain step at")
    for name in sorted(METHODS):
        cells, places = [], Counter()
        for model in models:
            with pretend_device() as log:
                found = counted(name, model, log)
            cells.append("-" if found is None else f"{found.plain.total()} / {found.update.total()}")
            places += Counter({place: n for (_, place), n in found.plain.items()}) if found else Counter()
        shown.add_row(name, *cells, next((place for place, _ in places.most_common(1)), ""))
    return shown


if __name__ == "__main__":
    torch.set_num_threads(1)
    Console(width=150).print(table(tuple(sys.argv[1:]) or MODELS))
