"""What W&B shows beside the runs: a saved view of a project, and a report's figures, tables and verdicts as one run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace

NAME = "Hundredfold"
REPORT_FILES = ("verdicts.json", "verdicts.md", "answer.md", "report.html")


def workspace(entity: str, project: str) -> Workspace:
    """A view that groups runs by arm and shows quality against joules, what training took, and what was skipped.

    Simulated runs have no joules, so that they are missing where those are an axis. `save()` needs a server.
    """
    import wandb_workspaces.reports.v2 as panels
    import wandb_workspaces.workspaces as views

    def section(name: str, *shown: Any) -> views.Section:
        return views.Section(name=name, panels=list(shown), is_open=True)

    def over(axis: str, metric: str) -> panels.LinePlot:
        return panels.LinePlot(x=axis, y=[metric], title=f"{metric} over {axis}")

    def against(x: str, y: str) -> panels.ScatterPlot:
        return panels.ScatterPlot(x=panels.SummaryMetric(x), y=panels.SummaryMetric(y), title=f"{y} against {x}")

    def bars(metric: str) -> panels.BarPlot:
        return panels.BarPlot(metrics=[panels.SummaryMetric(metric)], title=metric)

    return views.Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=[
            section(
                "Quality and energy",
                against("energy/training_j", "test/accuracy"),
                against("energy/training_j", "test/loss"),
                over("training_j", "validation/accuracy"),
                over("training_j", "validation/loss"),
            ),
            section("Energy", *map(bars, ("energy/training_j", "time/training_cpu_s"))),
            section("Arithmetic", *map(bars, ("flops/executed", "flops/ideal"))),
            section("On the way", over("training_cpu_s", "train/loss"), over("Step", "validation/loss")),
            section("Density", panels.MediaBrowser(media_keys=["density by layer"])),
        ],
        runset_settings=views.RunsetSettings(groupby=[views.Config("task"), views.Config("label")]),
    )


def check_report(report: Path) -> None:
    """Raise a ValueError for a folder that holds no report."""
    missing = [name for name in REPORT_FILES if not (report / name).is_file()]
    if missing:
        raise ValueError(f"--report {report}: no {missing[0]}; make the report first")


def mirror_report(report: Path, results: Path, *, project: str, mode: str) -> Path:
    """Write a W&B run of a report: its plots, its tables, and its verdicts as an artifact; returns the run's folder.

    Raises:
        ValueError: the folder holds no report.
    """
    import wandb

    from hundredfold.replication.wandb_mirror import quiet

    check_report(report)
    run = wandb.init(
        project=project,
        name=f"report {report.name}",
        job_type="report",
        tags=[report.name],
        dir=str(results),
        mode=mode,  # type: ignore[arg-type]  # checked with the options
        reinit="finish_previous",
        settings=quiet(),
    )
    run.log({plot.stem: wandb.Image(str(plot)) for plot in sorted((report / "plots").glob("*.png"))})
    tables = {path.stem: pd.read_csv(path).astype(str) for path in sorted((report / "tables").glob("*.csv"))}
    run.log({f"table/{name}": wandb.Table(dataframe=table) for name, table in tables.items()})
    verdicts = wandb.Artifact(f"verdicts-{report.name}", type="verdicts")
    for name in REPORT_FILES:
        verdicts.add_file(str(report / name))
    run.log_artifact(verdicts)
    folder = Path(run.dir).parent
    run.finish()
    wandb.teardown()
    return folder
