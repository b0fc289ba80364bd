"""What else ran on the machine while a run did."""

from __future__ import annotations

import time

import psutil

from hundredfold.replication.energy import nvml

BUSY = ("user", "nice", "system", "irq", "softirq", "steal")  # kinds of time in which a core does something


class CoTenants:
    """Counts from its start the CPU time of everything but this process; time stolen by other machines is in it."""

    def __init__(self) -> None:
        self._begin = self._now()

    def seen(self, device: str) -> dict[str, float | None]:
        """Fields of the record's environment, at the end of a run on a device."""
        return {"others_cores": self.cores(), "others_on_gpu": nvml.others() if device == "cuda" else None}

    def cores(self) -> float:
        """Cores that all else has kept busy since then, on average."""
        busy, own, wall = (now - before for now, before in zip(self._now(), self._begin, strict=True))
        return max(0.0, busy - own) / wall if wall > 0 else 0.0

    def _now(self) -> tuple[float, float, float]:
        """CPU seconds of the machine, those of this process, wall seconds."""
        times = psutil.cpu_times()
        return sum(getattr(times, kind, 0.0) for kind in BUSY), time.process_time(), time.perf_counter()
