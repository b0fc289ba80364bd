"""Exports ended runs to Weights & Biases: offline unless asked, and outside the measured window.

A W&B run is a view of a record: its id is the record's, it is grouped by its arm, and its curves can be drawn against
steps, CPU seconds or the cumulative training joules. A simulated run has no joules there either.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

NOT_OF_A_SIMULATED_RUN = ("energy", "time")


def mirror(record: dict[str, Any], folder: Path, *, project: str, mode: str) -> Path:
    """Write one W&B run; returns its folder.

    Args:
        record: as in record.json.
        folder: of the run; W&B's files go to `wandb` beside `runs`.
        mode: "offline", or "online" to send it at once.
    """
    import wandb  # slow to import, so only where it is used

    run = wandb.init(
        project=project,
        id=f"{record['run_id']}-{record['machine']}-{record['replicate']}",
        name=f"{record['task']} {record['label']} seed {record['seed']}",
        group=f"{record['task']} {record['label']}"[:128],
        job_type=record["family"],
        tags=sorted({record["dataset"], record["model"], record["method"], record["suite"] or "single run"}),
        config=_config(record),
        dir=str(folder.parent.parent.parent),
        mode=mode,  # type: ignore[arg-type]  # checked with the options
        reinit="finish_previous",
        settings=quiet(),
    )
    for axis in ("training_cpu_s", "training_j"):
        run.define_metric(axis)
    run.define_metric("validation/*", step_metric="training_cpu_s" if record["simulated"] else "training_j")
    for point in (record["quality"] or {}).get("curve", []):
        run.log(_row(record, point), step=point["step"])
    for name, value in _summary(record).items():
        run.summary[name] = value
    picture = _densities(record)
    if picture is not None:
        run.log({"density by layer": wandb.Image(picture)})
    path = Path(run.dir).parent
    run.finish()
    wandb.teardown()  # W&B's own process has written everything and is gone
    return path


def quiet() -> Any:
    """W&B's settings: nothing is printed, and nothing of the machine or the code is sent."""
    import wandb

    return wandb.Settings(
        console="off",
        silent=True,
        disable_git=True,
        disable_code=True,
        disable_job_creation=True,
        x_disable_stats=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
    )


def _config(record: dict[str, Any]) -> dict[str, Any]:
    """The run's configuration, and what it is compared by."""
    evidence = (record["energy"] or {}).get("evidence")
    names = ("label", "task", "family", "suite", "machine", "simulated", "replicate")
    return record["config"] | {name: record[name] for name in names} | {"evidence": evidence}


def _row(record: dict[str, Any], point: dict[str, Any]) -> dict[str, Any]:
    """What is drawn at one evaluation."""
    row = {
        "training_j": None if record["simulated"] else point["training_j"],
        "training_cpu_s": point["training_cpu_s"],
        "executed_flops": point["executed_flops"],
        "train/loss": point["train_loss"],
        "validation/accuracy": point["validation_accuracy"],
        "validation/loss": point["validation_loss"],
    }
    return {key: value for key, value in row.items() if value is not None}


def _summary(record: dict[str, Any]) -> dict[str, Any]:
    """Single figures of an ended run."""
    found: dict[str, Any] = {"status": record["status"]}
    for block in ("energy", "flops", "density", "parameters", "time"):
        if not (record["simulated"] and block in NOT_OF_A_SIMULATED_RUN):
            values = (record[block] or {}).items()
            found |= {f"{block}/{name}": value for name, value in values if isinstance(value, (int, float))}
    for split in ("validation", "test"):
        for name, value in ((record["quality"] or {}).get(split) or {}).items():
            found[f"{split}/{name}"] = value
    return found


def _densities(record: dict[str, Any]) -> Any | None:
    """A heat map of the layers' densities over the steps; None where nothing changes."""
    points = record["density_curve"] or []
    table = [list(point["layers"].values()) for point in points]
    if len(table) < 2 or not table[0] or all(row == table[0] for row in table):
        return None
    from hundredfold.analysis.plots import style

    layers = list(points[0]["layers"])
    figure, ax = style.new(7, 1.2 + 0.2 * len(layers))
    shown = ax.imshow(list(zip(*table, strict=True)), aspect="auto", vmin=0, vmax=1, cmap="viridis")
    ax.set_yticks(range(len(layers)), layers)
    ax.set_xticks(range(len(points)), [str(point["step"]) for point in points], rotation=90)
    ax.set(xlabel="step")
    ax.grid(visible=False)
    figure.colorbar(shown, label="density")
    return figure
