"""Does benchmarks one after the other, prints and saves them: `hundredfold bench [NAME ...]`.

loop: the suite over a plain PyTorch loop; methods: what each method's decisions cost; layers: one linear layer with
selected weights, every back end and its peers; steps: whole training steps of models; data: what batches cost, and the
suite over a plain loop on real data; curve, only where it is named: the first epochs of a long recipe beside a
published curve (an hour on one core).
"""

from __future__ import annotations

import importlib
from pathlib import Path

USUAL = ("loop", "methods", "layers", "steps", "data")
NAMES = (*USUAL, "curve")


def benchmark(names: tuple[str, ...], scale: float, output: Path) -> None:
    """Do the benchmarks of these names, or the usual ones.

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
    for name in names or USUAL:
        importlib.import_module(f"hundredfold.replication.benchmark.{name}").main(scale, output)
