"""Joules, wall and CPU seconds of a run by exclusive phases, through interruptions.

Phases: train, select (scores and topology updates) and warmup make up training; eval, checkpoint and account
(counting FLOPs) and setup (all else) stand beside it. A phase within another pauses the outer one.

A run that was interrupted takes steps again. What it is judged by is the training that made its final weights: the
figures up to a checkpoint lie in the checkpoint itself, and an attempt adds its own to them. The ledger has everything
that was drawn; what it has beyond that is the phase `replayed`.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

from hundredfold.analysis.schema import TRAINING
from hundredfold.replication.energy.ledger import Ledger
from hundredfold.replication.energy.sources import Source

HEARTBEAT_S = 1.0  # between two lines of the ledger: what a kill may lose
DURABLE_S = 5.0  # between two lines that wait for the disk
NOTHING = [0.0] * 4  # joules, wall and CPU seconds, stretches
STILL_S = 1.0  # of training, after which every counter has moved
ROUNDING_J = 1e-9

COARSE = 10  # steps of a counter that a stretch of a phase has to last, or its joules tell little

Phases = dict[str, list[float]]  # phase -> joules, wall seconds, CPU seconds, stretches of it


class Totals(NamedTuple):
    """A run so far, every attempt included; joules are None where the source has none.

    Attributes:
        phases_j, phases_s, phases_cpu_s: all that was drawn, by phase.
        training_j, training_s, training_cpu_s: of the steps that made the weights, without those taken again.
        by_seconds: phases whose stretches are too short for the counter, so that their joules follow from their
            seconds and from the watts of training, or of all that stands beside it.
        unmetered_fraction: share of the wall time between the meter's start and now that lay in no phase; an attempt
            that was killed counts a heartbeat more, which is what it may have done after its last line.
    """

    phases_j: dict[str, float] | None
    phases_s: dict[str, float]
    phases_cpu_s: dict[str, float]
    training_j: float | None
    training_s: float
    training_cpu_s: float
    unmetered_fraction: float
    by_seconds: tuple[str, ...] = ()


def together(all_: list[Totals]) -> Totals:
    """Totals of several processes that have worked on a run side by side, those of the first one first.

    Joules and CPU seconds add up, and are not known where one process does not know its own; wall seconds are the
    first's, and the unmetered fraction is the worst.
    """

    def added(accounts: list[dict[str, float]]) -> dict[str, float]:
        return {name: sum(one.get(name, 0.0) for one in accounts) for account in accounts for name in account}

    joules = [one.phases_j for one in all_ if one.phases_j is not None]
    known = len(joules) == len(all_)
    return all_[0]._replace(
        phases_j=added(joules) if known else None,
        phases_cpu_s=added([one.phases_cpu_s for one in all_]),
        training_j=sum(one.training_j for one in all_) if known else None,
        training_cpu_s=sum(one.training_cpu_s for one in all_),
        by_seconds=tuple(dict.fromkeys(name for one in all_ for name in one.by_seconds)),
        unmetered_fraction=max(one.unmetered_fraction for one in all_),
    )


class Meter:
    """Charges everything that happens to the innermost open phase.

    Args:
        source: of the joules.
        ledger: where cumulative figures are kept for a resumed run.
        heartbeat_s: least time between two lines of the ledger.
        attempts: so many processes have begun the run before, as far as is known apart from the ledger.
    Attributes:
        source: that of the joules; one without any, whose reason says why, where earlier attempts had another, where
            what they drew is lost, or where a counter fails. The run itself goes on.
    """

    def __init__(self, source: Source, ledger: Ledger, heartbeat_s: float | None = None, attempts: int = 0):
        self.source, self.ledger = source, ledger
        self.heartbeat_s = HEARTBEAT_S if heartbeat_s is None else heartbeat_s
        self._synchronize = source.synchronize
        names = sorted({line["source"] for line in ledger.earlier} | {source.name})
        self._lock = threading.RLock()  # the heart beats beside the run
        self._step: int | None = None
        self._open: list[str] = []
        self._before: Phases = {}  # training up to the checkpoint that this attempt goes on from
        self._phases: Phases = {}  # of this attempt
        self._mark = (0.0, 0.0, 0.0)
        if len(names) > 1:
            self._refuse(f"Attempts were metered by {' and '.join(names)}, whose joules do not add up.")
        if attempts > ledger.segment:
            self._refuse(f"The ledger knows {ledger.segment} of {attempts} earlier attempts, whose joules are lost.")
        self._mark = self._read()
        self._start = self._beat = self._durable = time.perf_counter()

    def _refuse(self, reason: str) -> None:
        """Know no joules of this run any more."""
        self.source = Source(reason)
        self._mark = (0.0, *self._mark[1:])

    def _read(self) -> tuple[float, float, float]:
        """Joules, wall and CPU seconds now."""
        joules = None
        try:
            joules = self.source.joules()
        except Exception as error:  # every counter's library has kinds of its own
            self._refuse(f"{self.source.name} could not be read any more ({str(error) or type(error).__name__}).")
        return joules or 0.0, time.perf_counter(), time.process_time()

    def _charge(self) -> None:
        """Charge what has happened since the last edge to the open phase."""
        with self._lock:
            now = self._read()
            if now[0] < self._mark[0] - ROUNDING_J:
                self._refuse(f"{self.source.name} ran backwards by {self._mark[0] - now[0]:.3g} J.")
                now = (0.0, *now[1:])
            if self._open:
                figures = self._figures()
                for i in range(3):
                    figures[i] += now[i] - self._mark[i]
            self._mark = now

    def _figures(self) -> list[float]:
        """Those of the innermost open phase."""
        return self._phases.setdefault(self._open[-1], NOTHING.copy())

    def _stretch(self) -> None:
        """Count that the innermost open phase begins, or goes on after another within it."""
        if self._open:
            self._figures()[3] += 1

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Charge the block to a phase; the device is synchronised at both edges."""
        self._synchronize()
        with self._lock:
            self._charge()
            self._open.append(name)
            self._stretch()
        try:
            yield
        finally:
            self._synchronize()
            with self._lock:
                self._charge()
                self._open.pop()
                self._stretch()

    @contextlib.contextmanager
    def beating(self) -> Iterator[None]:
        """Write lines to the ledger all through a block, whatever it does, and one at its end, however it ends."""
        ended = threading.Event()

        def beat() -> None:
            with contextlib.suppress(OSError):  # of a disk: the run meets it at its next edge
                while not ended.wait(self.heartbeat_s):
                    self.heartbeat(self._step)

        thread = threading.Thread(target=beat, daemon=True)
        self._write(None)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            with contextlib.suppress(OSError):
                self._end(self._step)

    def heartbeat(self, step: int | None) -> None:
        """Write a line to the ledger if the last one is old enough; cheap otherwise."""
        self._step = step
        if time.perf_counter() - self._beat >= self.heartbeat_s:
            self._charge()
            self._write(step)

    def commit(self, step: int) -> Phases:
        """Bring the account to the disk; returns the training up to `step`, which belongs into its checkpoint."""
        self._charge()
        self._write(step, durable=True)
        return self._made()

    def resume(self, made: Phases) -> None:
        """Go on from a checkpoint, with what `commit` returned for it.

        The ledger was written before the checkpoint: where it knows less, a part of it is lost.
        """
        self._before = made
        known = _training(_added(*(line["phases"] for line in self.ledger.earlier)))
        if known[1] < _training(_added(made))[1] - 1e-6:
            self._refuse("The ledger knows less than the checkpoint, so that joules of earlier attempts are lost.")

    def close(self) -> None:
        """Write the last line; joules of a counter that has stood still through training are none."""
        self._charge()
        joules, wall, *_ = _training(self._phases)
        if self.source.metered and wall > STILL_S:
            still = self.source.still(joules)
            if still:
                self._refuse(f"{self.source.name}: {' and '.join(still)} stood still through {wall:.1f} s of training.")
        self._end(None)

    def _end(self, step: int | None) -> None:
        """Write a line after which nothing more is expected, and let go of the ledger."""
        self._charge()
        self._write(step, closed=True)
        self.ledger.close()

    def totals(self) -> Totals:
        """Figures of all attempts up to now."""
        self._charge()
        drawn, made = _added(*(line["phases"] for line in self.ledger.earlier), self._phases), self._made()
        phases, training = drawn | made, _training(made)
        if self.ledger.earlier:
            phases["replayed"] = [max(0.0, all_ - kept) for all_, kept in zip(_training(drawn), training, strict=True)]
        metered, step_s = self.source.metered, self.source.step_s
        short = tuple(name for name, figures in phases.items() if figures[1] < COARSE * step_s * figures[3])
        joules, seconds, cpu_seconds = ({name: figures[i] for name, figures in phases.items()} for i in range(3))
        earlier = sum(line["elapsed_s"] + self.heartbeat_s * (not line.get("closed")) for line in self.ledger.earlier)
        elapsed = earlier + time.perf_counter() - self._start
        inside = sum(figures[1] for figures in drawn.values())
        return Totals(
            phases_j=_by_seconds(joules, seconds, short) if metered else None,
            phases_s=seconds,
            phases_cpu_s=cpu_seconds,
            training_j=training[0] if metered else None,
            training_s=training[1],
            training_cpu_s=training[2],
            unmetered_fraction=max(0.0, 1 - inside / elapsed) if elapsed > 0 else 0.0,
            by_seconds=short if metered else (),
        )

    def _made(self) -> Phases:
        """Training of the steps that made the weights as they are now."""
        return _added(self._before, {name: figures for name, figures in self._phases.items() if name in TRAINING})

    def _write(self, step: int | None, durable: bool = False, closed: bool = False) -> None:
        with self._lock:
            self._beat = time.perf_counter()
            durable = durable or closed or self._beat - self._durable >= DURABLE_S
            if durable:
                self._durable = self._beat
            figures = {
                "step": step,
                "source": self.source.name,
                "phases": self._phases,
                "elapsed_s": self._beat - self._start,
                "closed": closed,
            }
            self.ledger.write(figures, durable)


def _added(*accounts: Phases) -> Phases:
    """The sum of several accounts."""
    total: Phases = {}
    for account in accounts:
        for name, figures in account.items():
            known = total.get(name, NOTHING)
            total[name] = [sum(pair) for pair in itertools.zip_longest(known, figures, fillvalue=0.0)]
    return total


def _by_seconds(joules: dict[str, float], seconds: dict[str, float], short: tuple[str, ...]) -> dict[str, float]:
    """Joules by phase, those of short ones from their seconds; training keeps its sum, and so does the rest."""
    found = dict(joules)
    for inside in (True, False):
        names = [name for name in joules if (name in TRAINING) == inside]
        whole, time_s = sum(joules[name] for name in names), sum(seconds[name] for name in names)
        long = sum(joules[name] for name in names if name not in short)
        if time_s > 0 and (long > 0 or all(name in short for name in names)):
            found |= {name: whole * seconds[name] / time_s for name in names if name in short}
            left = whole - sum(found[name] for name in names if name in short)
            found |= {name: joules[name] * left / long for name in names if name not in short}
    return found


def _training(phases: Phases) -> list[float]:
    """Joules, wall and CPU seconds and stretches of the phases that make up training."""
    return [sum(phases[name][i] for name in TRAINING if name in phases) for i in range(len(NOTHING))]
