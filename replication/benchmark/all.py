"""Does benchmarks one after the other, prints and saves them: `hundredfold bench [NAME ...]`.

loop: the suite over a plain PyTorch loop; methods: what each method's decisions cost; layers: one linear layer with
selected weights, every back end and its peers; steps: whole training steps of models; data: what batches cost, and the
suite over a plain loop on real data; curve, only where it is named: the first epochs of a long recipe beside a
published curve (an hour on one core).
"""

from __future__ import annotations

import importlib
from pathlib import Path

from hundredfold.replication.process import check_device

USUAL = ("loop", "methods", "layers", "steps", "data")
NAMES = (*USUAL, "curve")
ON_A_GPU = ("layers", "steps")


def benchmark(names: tuple[str, ...], scale: float, output: Path, device: str = "cpu") -> None:
    """Do the benchmarks of these names, or the usual ones of the device.

    Args:
        scale: of the repetitions.
        output: folder of the JSON files.
    Raises:
        ValueError: an unknown name or an impossible scale.
    """
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise ValueError(f"{unknown[0]}: no such benchmark; choose any of {', '.join(NAMES)}")
    if not 0 < scale <= 100:
        raise ValueError(f"--scale={scale:g}: expected a factor above 0, such as 0.1")
    check_device(device, option="--device")
    elsewhere = [name for name in names if device != "cpu" and name not in ON_A_GPU]
    if elsewhere:
        raise ValueError(f"{elsewhere[0]}: is of the CPU; --device {device} has {', '.join(ON_A_GPU)}")
    for name in names or (USUAL if device == "cpu" else ON_A_GPU):
        where = {} if device == "cpu" else {"device": device}
        importlib.import_module(f"hundredfold.replication.benchmark.{name}").main(scale, output, **where)
