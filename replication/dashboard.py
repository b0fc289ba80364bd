"""Exports records to W&B at any time, and says how to view or sync what lies there."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import track


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
        raise ValueError(f"no W&B runs in {folder}; export records with `hundredfold wandb --where status=finished`")
    print(f"{len(runs)} W&B runs in {folder}, recorded offline; nothing has left this machine.")
    for run in runs[-10:]:
        print(f"  {run}")
    print(f"View them in the terminal:  wandb leet {folder}")
    print(f"Send them to your account: wandb login && wandb sync {folder}/offline-run-*")


def export(results: Path, where: str, online: bool, project: str, report: Path | None = None) -> None:
    """Write a W&B run for each record that meets the conditions, and one of a report's figures, tables and verdicts.

    Online it also saves a view of the project.

    Raises:
        ValueError: a condition that cannot be read, or that no record meets, or a folder without a report.
    """
    from hundredfold.analysis import records, selection
    from hundredfold.replication.record import read_record
    from hundredfold.replication.wandb_mirror import mirror
    from hundredfold.replication.wandb_workspace import check_report, mirror_report, workspace

    if report is not None:
        check_report(report)
    chosen = selection.where(records.load(results), where).runs
    mode = "online" if online else "offline"
    print(f"{len(chosen)} records, about {2 * len(chosen)} s" + ("" if online else "; nothing leaves this machine"))
    for run in track(list(chosen.itertuples()), description="W&B", console=Console(stderr=True)):
        folder = results / "runs" / run.run_id / f"{run.machine}-{run.replicate}"
        record = (read_record(folder) or {}) | {"label": run.label}
        mirror(record, folder, project=project, mode=mode)
    if report is not None:
        mirror_report(report, results, project=project, mode=mode)
    if not online:
        return describe(results)
    import wandb

    view = workspace(wandb.Api().default_entity or "", project)
    view.save()
    print(f"View: {view.url}")
