"""The first 25 minutes on a GPU, in three blocks: hundredfold card [facts runs kernels]

facts: what the driver says, how the energy counter behaves, the tests that need a GPU. runs: tiny whole runs, one that
is killed and goes on, and the strong dense baseline of CIFAR-10. kernels: the benchmarks of layers and whole steps.
Every step has a limit of its own, and one that fails does not stop the next. What came out is a table, card.json beside
the records; on a machine without a GPU, --device cpu tries the same out.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from hundredfold.replication.environment import collect
from hundredfold.replication.process import check_device

BLOCKS = ("facts", "runs", "kernels")
TAIL = 300  # characters of a step's last line that are kept
COMMAND = (sys.executable, "-m", "hundredfold.replication")
TRAIN = (*COMMAND, "train")
console = Console(highlight=False, soft_wrap=True)


class Step(NamedTuple):
    """One thing to do, with its limit in seconds."""

    block: str
    name: str
    limit_s: float
    command: tuple[str, ...]


def steps(device: str, output: Path) -> Iterator[Step]:
    """Every step of the 25 minutes."""
    gpu = device == "cuda"
    where = ("trainer=gpu" if gpu else "trainer=cpu", f"results={output / 'results'}", f"reports={output / 'reports'}")
    if gpu:
        yield Step("facts", "driver", 30, ("nvidia-smi", "-q", "-d", "POWER,CLOCK,PERFORMANCE,ECC"))
    yield Step("facts", "counter", 60, (*COMMAND, "meter", "--device", device))
    if gpu:
        yield Step("facts", "tests", 420, (sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests", "--maxfail=30"))
    tiny = ("dataset=digits", "model=mlp", "recipe.steps=100")
    for method in ("dense", "rigl", "dsc", "infobatch"):
        often = {"rigl": ("method.update.interval=10",), "dsc": ("method.interval=10",)}.get(method, ())
        yield Step("runs", f"tiny {method}", 45, (*TRAIN, *tiny, f"method={method}", *often, *where))
    killed = (sys.executable, "-m", "hundredfold.replication.benchmark.killed", "dataset=digits", "model=mlp", *where)
    yield Step("runs", "killed and resumed", 90, killed)
    image = ("dataset=cifar10", "dataset.flip=alternating", "dataset.crop=2", "model=airbench", "trainer.segments=4")
    small = () if gpu else ("recipe.steps=12", "model.channels=[16,16,16]", "recipe.batch_size=100")
    yield Step("runs", "cifar10, dense", 120, (*TRAIN, *image, *small, *where))
    if gpu:
        yield Step("runs", "cifar10, dense, compiled", 90, (*TRAIN, *image, *small, "trainer.compile=true", *where))
    dsc = ("method=dsc", "method.density=0.5", f"method.interval={40 if gpu else 2}", "method.multiple=8")
    yield Step("runs", "cifar10, dsc", 120, (*TRAIN, *image, *small, *dsc, *where))
    scale = "0.5" if gpu else "0.02"
    for name, limit in (("layers", 150.0), ("steps", 150.0)):
        bench = (*COMMAND, "bench", name, "--device", device, "--scale", scale, "--output", str(output / "benchmark"))
        yield Step("kernels", name, limit, bench)


def perform(step: Step) -> dict[str, object]:
    """Do one step within its limit; a row of the table."""
    begin = time.perf_counter()
    try:
        done = subprocess.run(step.command, capture_output=True, text=True, timeout=step.limit_s)
        code, text = done.returncode, done.stdout if done.returncode == 0 and done.stdout.strip() else done.stderr
    except subprocess.TimeoutExpired:
        code, text = None, f"stopped after its {step.limit_s:g} seconds"
    except FileNotFoundError:
        code, text = None, f"{step.command[0]}: no such program"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return {"block": step.block, "step": step.name, "limit_s": step.limit_s, "seconds": time.perf_counter() - begin,
            "code": code, "said": lines[-1][-TAIL:] if lines else ""}  # fmt: skip


def card(blocks: tuple[str, ...], device: str, output: Path) -> int:
    """Do the steps of some blocks, all by default; print and save their table.

    Returns:
        0 where every step has succeeded, else 1.
    Raises:
        ValueError: an unknown block, or no such device.
    """
    unknown = [block for block in blocks if block not in BLOCKS]
    if unknown:
        raise ValueError(f"{unknown[0]}: no such block; choose any of {', '.join(BLOCKS)}")
    check_device(device, option="--device")
    todo = [step for step in steps(device, output) if step.block in (blocks or BLOCKS)]
    console.print(f"{len(todo)} steps on {device}, at most {sum(step.limit_s for step in todo) / 60:.0f} minutes")
    path, rows = output / "card.json", []
    about = collect(device, 1, "bfloat16" if device == "cuda" else "float32")
    output.mkdir(parents=True, exist_ok=True)
    for step in todo:
        console.print(f"{step.block}: {step.name}, at most {step.limit_s:g} s", markup=False)
        rows.append(perform(step))
        path.write_text(json.dumps({"rows": rows, "environment": about}, indent=1) + "\n")  # whatever comes next
    table = Table("block", "step", "s", "exit code", "said last")
    for row in rows:
        code = "-" if row["code"] is None else str(row["code"])
        table.add_row(str(row["block"]), str(row["step"]), f"{row['seconds']:.1f}", code, str(row["said"])[:90])
    console.print(table)
    console.print(f"Table: {path}")
    return int(any(row["code"] != 0 for row in rows))
