"""Says how to view or sync the W&B runs that `logger=wandb` has recorded."""

from __future__ import annotations

from pathlib import Path


def runs_below(results: Path) -> list[Path]:
    """Offline runs of a results folder, oldest first."""
    return sorted((results / "wandb").glob("offline-run-*"))


def describe(results: Path) -> None:
    """List the offline runs and the commands.

    Raises:
        ValueError: there are none.
    """
    folder, runs = results / "wandb", runs_below(results)
    if not runs:
        raise ValueError(f"no W&B runs in {folder}; record one with `hundredfold train logger=wandb` and ask again")
    print(f"{len(runs)} W&B runs in {folder}, recorded offline; nothing has left this machine.")
    for run in runs[-10:]:
        print(f"  {run}")
    print(f"View them in the terminal:  wandb leet {folder}")
    print(f"Send them to your account: wandb login && wandb sync {folder}/offline-run-*")
