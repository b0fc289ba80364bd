"""How a source of joules behaves: how often its counter steps, what a read costs, and the watts of doing nothing and of
working."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch

from hundredfold.replication.energy.sources import Source

PAUSE_S = 0.002  # between two reads while nothing is done
SIDE = {"cpu": 512, "cuda": 4096, "mps": 2048}  # of the matrices that are multiplied as work
Trace = list[tuple[float, float]]  # (seconds, joules), one for every read


class Behaviour(NamedTuple):
    """What a counter showed; None where it did not show it.

    Attributes:
        read_s: median duration of a read.
        step_s: median time between two changes of the counter.
        idle_w, busy_w: mean watts at rest and at work.
        lag_s: from the beginning of work until half of the rise is seen.
    """

    read_s: float
    step_s: float | None
    idle_w: float | None
    busy_w: float | None
    lag_s: float | None


def watch(source: Source, seconds: float, work: Callable[[], object] | None = None) -> Trace:
    """Read a counter for some seconds, at rest or between pieces of work."""
    trace: Trace = []
    begin = time.perf_counter()
    while (now := time.perf_counter() - begin) < seconds or len(trace) < 2:
        trace.append((now, source.joules() or 0.0))
        work() if work is not None else time.sleep(PAUSE_S)
    return trace


def work_on(device: str) -> Callable[[], object]:
    """A piece of work of a few milliseconds on a device, which is waited for."""
    side = SIDE[device.partition(":")[0]]
    matrix = torch.randn(side, side, device=device)

    def work() -> float:
        return float((matrix @ matrix)[0, 0])

    work()  # the first one loads kernels
    return work


def behaviour(source: Source, idle: Trace, busy: Trace) -> Behaviour:
    """What two traces say, the second of which began with the work."""
    cost = []
    for _ in range(100):
        begin = time.perf_counter()
        source.joules()
        cost.append(time.perf_counter() - begin)
    rest, at_work = mean_watts(idle), mean_watts(busy)
    return Behaviour(statistics.median(cost), step_s(busy), rest, at_work, _lag(busy, rest, at_work))


def step_s(trace: Trace) -> float | None:
    """Median time between two changes of the counter; None where it has changed once at most."""
    changes = [t for (_, before), (t, after) in pairwise(trace) if after != before]
    gaps = [after - before for before, after in pairwise(changes)]
    return statistics.median(gaps) if gaps else None


def mean_watts(trace: Trace) -> float | None:
    """Mean power from the first read to the last; None where the counter stood still."""
    (first, before), (last, after) = trace[0], trace[-1]
    return (after - before) / (last - first) if after > before else None


def _lag(busy: Trace, rest: float | None, at_work: float | None) -> float | None:
    if at_work is None:
        return None
    half, (began, joules) = (at_work + (rest or 0.0)) / 2, busy[0]
    for now, seen in busy[1:]:
        if seen > joules:
            if (seen - joules) / (now - began) > half:
                return now
            began, joules = now, seen
    return None


def bins(trace: Trace, count: int) -> list[float]:
    """Mean watts in so many equal parts of a trace."""
    end, joules, found, k = trace[-1][0], trace[0][1], [], 0
    for now, seen in trace:
        while k < count and now >= (k + 1) * end / count:
            found.append((seen - joules) / (end / count))
            joules, k = seen, k + 1
    return found
