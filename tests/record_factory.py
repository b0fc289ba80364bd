"""Records as a suite would write them, made up from a few numbers, for tests of the analysis."""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hundredfold.analysis.schema import MEASURED, SCHEMA_VERSION

TASKS = {"digits/mlp": "accuracy", "digits/vit": "accuracy", "topics/gpt": "loss", "topics/llama": "loss"}
EDGES = 6
CONFIG = {"budget": 1.0, "dataset": {"characters": None, "fold": None}, "recipe": {"steps": 300, "batch_size": 64}}
CODE = dict.fromkeys(("data", "model", "execution", "loop"), "c" * 8)


@dataclass(frozen=True)
class Arm:
    """One arm: `saving` is E_dense / E_arm, `gain` how much better its test quality is than that of dense."""

    method: str
    family: str
    options: dict = field(default_factory=dict)
    saving: float = 1.0
    gain: float = 0.0
    simulated: bool = False
    twin_of: str | None = None
    replicate: int = 0
    label: str | None = None

    def text(self) -> str:
        density = self.options.get("density")
        return self.label or (self.method if density is None else f"{self.method} {density:g}")


REALISTIC = (
    Arm("dense", "dense"),
    Arm("dense", "dense", replicate=1),
    Arm("dense_small", "dense_control", {"density": 0.25}, 3.1, -0.002),
    Arm("dense_small", "dense_control", {"density": 0.0625}, 8.2, -0.008),
    Arm("dense_small", "dense_control", {"density": 0.03125}, 11.5, -0.02),
    Arm("dense_short", "dense_control", {"duration": 0.25}, 3.9, -0.012),
    Arm("random_erk", "static", {"density": 0.1}, 0.8, -0.012, simulated=True),
    Arm("snip", "static", {"density": 0.1}, 0.8, -0.007, simulated=True),
    Arm("gmp", "static", {"density": 0.1}, 0.7, -0.004, simulated=True),
    Arm("set", "dynamic", {"density": 0.1}, 0.75, -0.006, simulated=True),
    Arm("rigl", "dynamic", {"density": 0.1}, 0.72, -0.001, simulated=True),
    Arm("dsc", "neurons", {"density": 0.25}, 2.4, -0.003),
    Arm("dsc", "neurons", {"density": 0.0625}, 5.3, -0.009),
    Arm("dsc", "neurons", {"density": 0.03125}, 6.9, -0.021),
    Arm("dsc_random", "control", {"density": 0.0625}, 5.4, -0.024, twin_of="dsc"),
    Arm(
        "dsc_random", "control", {"density": 0.0625, "regrow": 0}, 5.6, -0.013, twin_of="dsc",
        label="dsc_random 0.0625 (leaving only)",
    ),
    Arm("dsc_frozen", "control", {"density": 0.0625}, 8.0, -0.01),
)  # fmt: skip


def study(arms=REALISTIC, tasks=TASKS, seeds=5, noise=0.004, energy_noise=0.02, **energy) -> list[dict]:
    """Records of every arm, task and seed; `noise` is the spread of quality between seeds, of each arm by itself.

    Args:
        energy: overrides of the record's energy block.
    """
    generator = np.random.default_rng(7)
    return [
        record(arm, task, seed, generator.normal(0, noise), float(np.exp(generator.normal(0, energy_noise))), **energy)
        for task in tasks
        for seed in range(seeds)
        for arm in arms
    ]


def record(arm: Arm, task: str, seed: int, noise: float = 0.0, factor: float = 1.0, **energy) -> dict:
    """One finished record; `factor` multiplies its joules."""
    metric = TASKS[task]
    dense_j = {"digits/mlp": 40.0, "digits/vit": 95.0, "topics/gpt": 160.0, "topics/llama": 210.0}[task]
    joules = dense_j / arm.saving * factor
    accuracy = (0.955 if metric == "accuracy" else 0.42) + arm.gain + noise
    loss = 0.18 - arm.gain if metric == "accuracy" else 2.1 - 3 * (arm.gain + noise)
    quality = {"accuracy": accuracy, "loss": loss, "num_examples": 360}
    read_on = {"loss": loss - 0.05, "num_examples": 359, "cpu_s": 0.2, "context": "sliding", "cache": None}
    density = arm.options.get("density", 1.0)
    flops = 2e11 * (dense_j / 40) * (arm.options.get("duration", 1.0))
    identity = json.dumps([task, arm.method, arm.options, seed])
    phases = {"train": 0.93 * joules, "select": 0.07 * joules, "eval": 0.02 * dense_j, "checkpoint": 0.01 * dense_j}
    phases["test"] = 0.001 * joules
    if arm.family not in ("neurons", "dynamic"):
        phases |= {"train": joules, "select": 0.0}
    seconds = {phase: value / 10 for phase, value in phases.items()}  # of the CPU; the clock shows 3 % more
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": hashlib.sha256(identity.encode()).hexdigest()[:12],
        "machine": "a1b2c3d4",
        "replicate": arm.replicate,
        "status": "finished",
        "reason": None,
        "suite": "quick",
        "task": task,
        "dataset": task.split("/")[0],
        "model": task.split("/")[1],
        "method": arm.method,
        "label": arm.text(),
        "family": arm.family,
        "twin_of": arm.twin_of,
        "simulated": arm.simulated,
        "options": arm.options,
        "seed": seed,
        "config": CONFIG | {"seed": seed},
        "quality": {
            "metric": metric,
            "validation": {**quality, "accuracy": accuracy + 0.004, "loss": loss + 0.01},
            "test": quality,
            "correct": None,
            "read_on": dict.fromkeys(("validation", "test"), read_on) if metric == "loss" else None,
            "curve": _curve(accuracy, loss, joules, flops * density),
        },
        "energy": {
            "source": "estimate",
            "evidence": "estimated",
            "reason": "No counter was found (there is no RAPL counter), so CPU seconds stand in at 10 W per core.",
            "domains": ["cpu"],
            "phases_j": phases,
            "training_j": joules,
            "unmetered_fraction": 0.004,
            "by_seconds": [],
        }
        | energy,
        "time": {
            "phases_s": {phase: 1.03 * value for phase, value in seconds.items()},
            "phases_cpu_s": seconds,
            "training_s": joules / 10 * 1.03,
            "training_cpu_s": joules / 10,
        },
        "flops": {
            "executed": flops * (1 if arm.simulated else density**0.9),
            "ideal": flops * density**0.9,
            "selection": 0.01 * flops * density if arm.family in ("neurons", "dynamic") else 0.0,
        },
        "bytes": {"modeled": 3e9 * density},
        "density": {"target": arm.options.get("density"), "prunable": density, "total": density, "layers": {}},
        "density_curve": [],
        "parameters": {"total": 670_000, "active": int(670_000 * density)},
        "units": {},
        "storages": {"layers": {}, "decisions": []},
        "steps": 300,
        "updates": {"scheduled": None, "made": 0},
        "segments": 1,
        "attempts": 1,
        "weights_sha256": hashlib.sha256(f"{identity}".encode()).hexdigest(),
        "environment": {
            "commit": "0123456789abcdef0123456789abcdef01234567",
            "dirty": False,
            "versions": {"torch": "2.15.0", "numpy": "2.3.0"},
            "device": "Test CPU",
            "device_key": "d" * 12,
            "cpu": "Test CPU",
            "cores": 2,
            "threads": 1,
            "precision": "float32",
            "platform": "Linux",
            "python": "3.11.9",
            "started": f"2027-05-01T10:{seed:02d}:00+00:00",
            "load_average": 0.4,
            "others_cores": 0.1,
            "others_on_gpu": None,
            "temperature_c": None,
            "power_limit_w": None,
            "clock_mhz": None,
            "driver": None,
            "data_fingerprint": "0123456789ab",
            "boot": "b" * 8,
            "code": CODE | {"method": hashlib.sha256(arm.method.encode()).hexdigest()[:8]},
        },
    }


def _curve(accuracy: float, loss: float, joules: float, flops: float) -> list[dict]:
    points = []
    for edge in range(1, EDGES + 1):
        done = edge / EDGES
        left = np.exp(-5 * done) - np.exp(-5)
        points.append(
            {
                "step": 50 * edge,
                "fraction": done,
                "train_loss": loss + left,
                "validation_accuracy": accuracy * (1 - left) + 0.004,
                "validation_loss": loss + left + 0.01,
                "training_j": joules * done,
                "training_cpu_s": joules * done / 10,
                "executed_flops": flops * done,
            }
        )
    return points


def diverged(original: dict) -> dict:
    """The same run, ended by a loss that is not finite."""
    changed = copy.deepcopy(original)
    changed |= {"status": "diverged", "reason": "loss is not finite at step 40"}
    changed["quality"] |= {"test": None, "validation": None, "correct": None}
    return changed


def failed(original: dict, reason: str = "MemoryError: out of memory") -> dict:
    """The same run, which could not be brought to its end."""
    return original | dict.fromkeys(MEASURED) | {"status": "failed", "reason": reason}


def charged(original: dict, joules: float) -> dict:
    """The same run with other training joules."""
    energy = original["energy"]
    factor = joules / energy["training_j"]
    phases = {phase: factor * value for phase, value in energy["phases_j"].items()}
    return original | {"energy": energy | {"phases_j": phases, "training_j": joules}}


def interrupted(original: dict, replayed: float) -> dict:
    """The same run, which took steps again: so many times its own training."""
    changed = copy.deepcopy(original) | {"segments": 2, "attempts": 2}
    changed["energy"]["phases_j"]["replayed"] = replayed * changed["energy"]["training_j"]
    for clock, training in (("phases_s", "training_s"), ("phases_cpu_s", "training_cpu_s")):
        changed["time"][clock]["replayed"] = replayed * changed["time"][training]
    return changed


def unmetered(original: dict, reason: str = "No energy source was asked for.") -> dict:
    """The same run, whose joules nobody knows."""
    unknown = {"source": "none", "evidence": "none", "domains": [], "phases_j": None, "training_j": None}
    curve = [point | {"training_j": None} for point in original["quality"]["curve"]]
    energy = original["energy"] | unknown | {"reason": reason}
    return original | {"energy": energy, "quality": original["quality"] | {"curve": curve}}


def write(records: list[dict], results: Path) -> Path:
    """Write records into a results folder, and give it back."""
    for one in records:
        folder = results / "runs" / one["run_id"] / f"{one['machine']}-{one['replicate']}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "record.json").write_text(json.dumps(one))
    return results


def plan_of(records: list[dict]) -> list[dict]:
    """The plan that these records fulfil."""
    return [{key: one[key] for key in ("run_id", "replicate", "label", "task", "seed")} for one in records]
