"""Print and save benchmarks: `python -m replication.benchmark [NAME ...] [--scale X] [--output FOLDER]`.

loop: the suite over a plain PyTorch loop; methods: what each method's decisions cost; layers: one linear layer with
selected weights, every back end and its peers; steps: whole training steps of models; data: what batches cost, and the
suite over a plain loop on real data; curve, only where it is named: the first epochs of a long recipe beside a
published curve (an hour on one core).
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

USUAL = ("loop", "methods", "layers", "steps", "data")
NAMES = (*USUAL, "curve")


def main() -> int:
    """Run the benchmarks asked for, one after the other; 2 after a mistake on the command line."""
    parser = argparse.ArgumentParser(prog="python -m replication.benchmark", description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(NAMES)}; default all but curve")
    parser.add_argument("--scale", type=float, default=1.0, help="of the repetitions; 0.1 for a quick look")
    parser.add_argument("--output", type=Path, default=Path("results/benchmark"), help="folder of the JSON files")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in NAMES]
    if unknown:
        print(f"hundredfold: {unknown[0]}: no such benchmark; choose any of {', '.join(NAMES)}", file=sys.stderr)
        return 2
    if not 0 < options.scale <= 100:
        print(f"hundredfold: --scale={options.scale:g}: expected a factor above 0, such as 0.1", file=sys.stderr)
        return 2
    for name in options.names or USUAL:
        importlib.import_module(f"replication.benchmark.{name}").main(options.scale, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
