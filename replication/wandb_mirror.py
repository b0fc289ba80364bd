"""Exports an ended run to Weights & Biases: offline unless asked, and outside the measured window.

The run's id is that of the record; its curves have the step and the cumulative training joules as x-axes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def mirror(record: dict[str, Any], folder: Path, *, project: str, mode: str) -> Path:
    """Write one W&B run; returns its folder.

    Args:
        record: as in record.json.
        folder: of the run; W&B's files go to `wandb` beside `runs`.
        mode: "offline", or "online" to send it at once.
    """
    import wandb  # slow to import, so only where it is used

    quiet = wandb.Settings(
        console="off",
        silent=True,
        disable_git=True,
        disable_code=True,
        disable_job_creation=True,
        x_disable_stats=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
    )
    root = folder.parent.parent.parent
    run = wandb.init(
        project=project,
        id=f"{record['run_id']}-{record['machine']}-{record['replicate']}",
        name=f"{record['task']} {record['label']} seed {record['seed']}",
        group=record["task"],
        config=record["config"],
        dir=str(root),
        mode=mode,  # type: ignore[arg-type]  # checked with the options
        reinit="finish_previous",
        settings=quiet,
    )
    run.define_metric("training_j")
    run.define_metric("validation/*", step_metric="training_j")
    densities = {point["step"]: point["layers"] for point in record["density_curve"] or []}
    for point in (record["quality"] or {}).get("curve", []):
        row = {
            "training_j": point["training_j"],
            "training_cpu_s": point["training_cpu_s"],
            "executed_flops": point["executed_flops"],
            "train/loss": point["train_loss"],
            "validation/accuracy": point["validation_accuracy"],
            "validation/loss": point["validation_loss"],
        }
        row |= {f"density/{layer}": value for layer, value in densities.get(point["step"], {}).items()}
        run.log({key: value for key, value in row.items() if value is not None}, step=point["step"])
    for block in ("energy", "flops", "density", "parameters", "time"):
        for name, value in (record[block] or {}).items():
            if isinstance(value, (int, float)):
                run.summary[f"{block}/{name}"] = value
    for name, value in ((record["quality"] or {}).get("test") or {}).items():
        run.summary[f"test/{name}"] = value
    run.summary["status"] = record["status"]
    path = Path(run.dir).parent
    run.finish()
    wandb.teardown()  # W&B's own process has written everything and is gone
    return path
