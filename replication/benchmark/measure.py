"""Interleaved timing of things that do the same, and where the figures go."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console

from hundredfold.replication.energy.sources import Source
from hundredfold.replication.environment import collect

METERED_S = 1.0  # of repeated calls: ten steps of a counter that steps every tenth of a second
console = Console()


class Timing(NamedTuple):
    """Seconds of one call: medians over the repetitions with the quartiles of the wall time."""

    wall_s: float
    low_s: float
    high_s: float
    cpu_s: float  # of the process, all threads


def interleaved(calls: Mapping[str, Callable[[], object]], repeats: int, warmup: int = 2) -> dict[str, Timing]:
    """Time calls in turn, so that whatever disturbs the machine meets all of them; short ones are called several times.

    Args:
        repeats: rounds that count.
    """
    counts = {}
    for name, call in calls.items():
        for _ in range(warmup):
            call()
        counts[name] = max(1, min(50, int(0.005 / max(_timed(call)[0], 1e-7))))
    samples: dict[str, list] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            call()  # what ran before has filled the caches with its own data
            start = time.perf_counter(), time.process_time()
            for _ in range(counts[name]):
                call()
            _synchronize()
            ended = time.perf_counter(), time.process_time()
            samples[name].append([(b - a) / counts[name] for a, b in zip(start, ended, strict=True)])
    return {name: _summary(values) for name, values in samples.items()}


def joules_of(call: Callable[[], object], source: Source, scale: float = 1.0) -> float | None:
    """Joules of one call: the mean over `METERED_S` seconds of them; None where the source counts none."""
    source.synchronize()
    before, begin, count = source.joules(), time.perf_counter(), 0
    while count == 0 or time.perf_counter() - begin < METERED_S * scale:
        call()
        count += 1
    source.synchronize()
    after = source.joules()
    return None if before is None or after is None else (after - before) / count


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _timed(call: Callable[[], object]) -> tuple[float, float]:
    start, cpu = time.perf_counter(), time.process_time()
    call()
    _synchronize()
    return time.perf_counter() - start, time.process_time() - cpu


def _summary(values: list[list[float]]) -> Timing:
    wall = sorted(wall for wall, _ in values)
    low, high = wall[len(wall) // 4], wall[-1 - len(wall) // 4]
    return Timing(statistics.median(wall), low, high, statistics.median(cpu for _, cpu in values))


def file_of(folder: Path, name: str, device: str) -> Path:
    """Where the figures of a device lie."""
    return folder / (f"{name}.json" if device == "cpu" else f"{name}-{device}.json")


def save(path: Path, result: dict, *, threads: int, device: str = "cpu") -> None:
    """Write a benchmark's figures with the description of the machine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result | {"environment": collect(device, threads, "float32")}, indent=1) + "\n")
    console.print(f"saved {path}")
