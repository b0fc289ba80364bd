"""Joules, wall and CPU seconds of a run by exclusive phases, through interruptions.

Phases: train, select (scores and topology updates) and warmup make up training; eval, checkpoint and account
(counting FLOPs) and setup (all else) stand beside it. A phase within another pauses the outer one.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import NamedTuple

from replication.energy.ledger import Ledger
from replication.energy.sources import Source

TRAINING = ("train", "select", "warmup")


class EnergyError(ValueError):
    """A counter gave figures that cannot be."""


class Totals(NamedTuple):
    """A run so far, every segment included; joules are None where the source has none.

    Attributes:
        spent_j: training joules, replayed steps included.
        productive_j: training joules that led to the final weights.
        unmetered_fraction: share of the wall time between the meter's start and now that lay in no phase.
    """

    phases_j: dict[str, float] | None
    phases_s: dict[str, float]
    phases_cpu_s: dict[str, float]
    training_j: float | None
    training_s: float
    training_cpu_s: float
    spent_j: float | None
    productive_j: float | None
    unmetered_fraction: float


class Meter:
    """Charges everything that happens to the innermost open phase.

    Args:
        source: of the joules.
        ledger: where cumulative figures are kept for a resumed run.
        heartbeat_s: least time between two lines of the ledger.
    """

    def __init__(self, source: Source, ledger: Ledger, heartbeat_s: float = 5.0):
        self.source, self.ledger, self.heartbeat_s = source, ledger, heartbeat_s
        self._open: list[str] = []
        self._phases: dict[str, list[float]] = {}  # phase -> joules, wall seconds, CPU seconds
        self._mark = self._read()
        self._start = self._beat = time.perf_counter()
        self._committed: float | None = 0.0

    def _read(self) -> tuple[float, float, float]:
        return self.source.joules() or 0.0, time.perf_counter(), time.process_time()

    def _charge(self) -> None:
        """Charge what has happened since the last edge to the open phase."""
        now = self._read()
        if self._open:
            figures = self._phases.setdefault(self._open[-1], [0.0, 0.0, 0.0])
            for i in range(3):
                figures[i] += now[i] - self._mark[i]
        self._mark = now

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Charge the block to a phase; the device is synchronised at both edges."""
        self.source.synchronize()
        self._charge()
        self._open.append(name)
        try:
            yield
        finally:
            self.source.synchronize()
            self._charge()
            self._open.pop()

    def heartbeat(self, step: int) -> None:
        """Write a line to the ledger if the last one is old enough; cheap otherwise."""
        if time.perf_counter() - self._beat >= self.heartbeat_s:
            self._charge()
            self._write(step)

    def commit(self, step: int) -> None:
        """Everything up to `step` is in a checkpoint: a later segment will build on it."""
        self._charge()
        self._committed = self._training(self._phases)[0]
        self._write(step)

    def close(self) -> None:
        """Write the last line.

        Raises:
            EnergyError: the counter ran backwards, or stood still through a long run.
        """
        self._charge()
        joules, wall, _ = self._training(self._phases)
        if self.source.evidence != "none":
            if any(figures[0] < -1e-9 for figures in self._phases.values()):
                raise EnergyError(f"{self.source.name} gave negative joules; choose another energy.source")
            if joules <= 0 and wall > 1.0:
                raise EnergyError(f"{self.source.name} counted no joules in {wall:.1f} s; choose another energy.source")
        self._committed = joules
        self._write(None)
        self.ledger.close()

    def totals(self) -> Totals:
        """Figures of all segments up to now."""
        self._charge()
        phases = {name: list(figures) for name, figures in self._phases.items()}
        for line in self.ledger.earlier:
            for name, figures in line["phases"].items():
                mine = phases.setdefault(name, [0.0, 0.0, 0.0])
                for i in range(3):
                    mine[i] += figures[i]
        joules, wall, cpu = self._training(phases)
        metered = self.source.evidence != "none"
        productive = sum(line["committed_j"] for line in self.ledger.earlier) + self._training(self._phases)[0]
        elapsed = sum(line["elapsed_s"] for line in self.ledger.earlier) + time.perf_counter() - self._start
        inside = sum(figures[1] for figures in phases.values())
        return Totals(
            phases_j={name: figures[0] for name, figures in phases.items()} if metered else None,
            phases_s={name: figures[1] for name, figures in phases.items()},
            phases_cpu_s={name: figures[2] for name, figures in phases.items()},
            training_j=joules if metered else None,
            training_s=wall,
            training_cpu_s=cpu,
            spent_j=joules if metered else None,
            productive_j=productive if metered else None,
            unmetered_fraction=max(0.0, 1 - inside / elapsed) if elapsed > 0 else 0.0,
        )

    def _training(self, phases: dict[str, list[float]]) -> list[float]:
        return [sum(phases[name][i] for name in TRAINING if name in phases) for i in range(3)]

    def _write(self, step: int | None) -> None:
        self._beat = time.perf_counter()
        self.ledger.write(
            {
                "step": step,
                "source": self.source.name,
                "phases": self._phases,
                "committed_j": self._committed,
                "elapsed_s": self._beat - self._start,
            }
        )
