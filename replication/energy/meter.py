"""Joules, wall and CPU seconds of a run by exclusive phases, through interruptions.

Phases: train, select (scores and topology updates) and warmup make up training; eval, checkpoint and account
(counting FLOPs) and setup (all else) stand beside it. A phase within another pauses the outer one.

A run that was interrupted takes steps again. What it is judged by is the training that made its final weights: the
figures up to a checkpoint lie in the checkpoint itself, and an attempt adds its own to them. The ledger has everything
that was drawn; what it has beyond that is the phase `replayed`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import NamedTuple

from hundredfold.analysis.schema import TRAINING
from hundredfold.replication.energy.ledger import Ledger
from hundredfold.replication.energy.sources import Source

Phases = dict[str, list[float]]  # phase -> joules, wall seconds, CPU seconds


class EnergyError(ValueError):
    """A counter gave figures that cannot be."""


class Totals(NamedTuple):
    """A run so far, every attempt included; joules are None where the source has none.

    Attributes:
        phases_j, phases_s, phases_cpu_s: all that was drawn, by phase.
        training_j, training_s, training_cpu_s: of the steps that made the weights, without those taken again.
        unmetered_fraction: share of the wall time between the meter's start and now that lay in no phase.
    """

    phases_j: dict[str, float] | None
    phases_s: dict[str, float]
    phases_cpu_s: dict[str, float]
    training_j: float | None
    training_s: float
    training_cpu_s: float
    unmetered_fraction: float


class Meter:
    """Charges everything that happens to the innermost open phase.

    Args:
        source: of the joules.
        ledger: where cumulative figures are kept for a resumed run.
        heartbeat_s: least time between two lines of the ledger.
    Attributes:
        source: that of the joules; one without any where earlier attempts had another, since theirs do not add up.
    """

    def __init__(self, source: Source, ledger: Ledger, heartbeat_s: float = 5.0):
        self.source, self.ledger, self.heartbeat_s = source, ledger, heartbeat_s
        self._synchronize = source.synchronize
        names = sorted({line["source"] for line in ledger.earlier} | {source.name})
        if len(names) > 1:
            self.source = Source(f"Attempts were metered by {' and '.join(names)}, whose joules do not add up.")
        self._open: list[str] = []
        self._before: Phases = {}  # training up to the checkpoint that this attempt goes on from
        self._phases: Phases = {}  # of this attempt
        self._mark = self._read()
        self._start = self._beat = time.perf_counter()

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
        self._synchronize()
        self._charge()
        self._open.append(name)
        try:
            yield
        finally:
            self._synchronize()
            self._charge()
            self._open.pop()

    def heartbeat(self, step: int) -> None:
        """Write a line to the ledger if the last one is old enough; cheap otherwise."""
        if time.perf_counter() - self._beat >= self.heartbeat_s:
            self._charge()
            self._write(step)

    def commit(self, step: int) -> Phases:
        """Bring the account to the disk; returns the training up to `step`, which belongs into its checkpoint."""
        self._charge()
        self._write(step)
        return self._made()

    def resume(self, made: Phases) -> None:
        """Go on from a checkpoint, with what `commit` returned for it."""
        self._before = made

    def close(self) -> None:
        """Write the last line.

        Raises:
            EnergyError: the counter ran backwards, or stood still through a long run.
        """
        self._charge()
        joules, wall, _ = _training(self._phases)
        if self.source.evidence != "none":
            if any(figures[0] < -1e-9 for figures in self._phases.values()):
                raise EnergyError(f"{self.source.name} gave negative joules; choose another energy.source")
            if joules <= 0 and wall > 1.0:
                raise EnergyError(f"{self.source.name} counted no joules in {wall:.1f} s; choose another energy.source")
        self._write(None)
        self.ledger.close()

    def totals(self) -> Totals:
        """Figures of all attempts up to now."""
        self._charge()
        drawn, made = _added(*(line["phases"] for line in self.ledger.earlier), self._phases), self._made()
        phases, training = drawn | made, _training(made)
        if self.ledger.earlier:
            phases["replayed"] = [max(0.0, all_ - kept) for all_, kept in zip(_training(drawn), training, strict=True)]
        joules, seconds, cpu_seconds = ({name: figures[i] for name, figures in phases.items()} for i in range(3))
        metered = self.source.evidence != "none"
        elapsed = sum(line["elapsed_s"] for line in self.ledger.earlier) + time.perf_counter() - self._start
        inside = sum(figures[1] for figures in drawn.values())
        return Totals(
            phases_j=joules if metered else None,
            phases_s=seconds,
            phases_cpu_s=cpu_seconds,
            training_j=training[0] if metered else None,
            training_s=training[1],
            training_cpu_s=training[2],
            unmetered_fraction=max(0.0, 1 - inside / elapsed) if elapsed > 0 else 0.0,
        )

    def _made(self) -> Phases:
        """Training of the steps that made the weights as they are now."""
        return _added(self._before, {name: figures for name, figures in self._phases.items() if name in TRAINING})

    def _write(self, step: int | None) -> None:
        self._beat = time.perf_counter()
        self.ledger.write(
            {
                "step": step,
                "source": self.source.name,
                "phases": self._phases,
                "elapsed_s": self._beat - self._start,
            }
        )


def _added(*accounts: Phases) -> Phases:
    """The sum of several accounts."""
    total: Phases = {}
    for account in accounts:
        for name, figures in account.items():
            total[name] = [sum(pair) for pair in zip(total.get(name, (0.0, 0.0, 0.0)), figures, strict=True)]
    return total


def _training(phases: Phases) -> list[float]:
    """Joules, wall and CPU seconds of the phases that make up training."""
    return [sum(phases[name][i] for name in TRAINING if name in phases) for i in range(3)]
