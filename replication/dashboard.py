"""Says how to view or sync the W&B runs that `logger=wandb` has recorded.

    python -m replication.dashboard [--results DIR]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def runs_below(results: Path) -> list[Path]:
    """Offline runs of a results folder, oldest first."""
    return sorted((results / "wandb").glob("offline-run-*"))


def main() -> int:
    """List the offline runs and the commands; exit code 2 if there are none."""
    parser = argparse.ArgumentParser(prog="replication.dashboard", description=__doc__.split("\n")[0])
    parser.add_argument("--results", default="results", help="folder of the records")
    results = Path(parser.parse_args().results)
    folder, runs = results / "wandb", runs_below(results)
    if not runs:
        print(
            f"hundredfold: no W&B runs in {folder}; record one with "
            "`python -m replication.train logger=wandb` and ask again",
            file=sys.stderr,
        )
        return 2
    print(f"{len(runs)} W&B runs in {folder}, recorded offline; nothing has left this machine.")
    for run in runs[-10:]:
        print(f"  {run}")
    print("View them in the terminal:  .venv/bin/wandb leet " + str(folder))
    print(f"Send them to your account: .venv/bin/wandb login && .venv/bin/wandb sync {folder}/offline-run-*")
    return 0


if __name__ == "__main__":
    sys.exit(main())
