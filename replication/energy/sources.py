"""Where joules come from, and how far they can be trusted.

Evidence classes: measured (a hardware counter), modeled (a counter that models power), estimated (a proxy from CPU
seconds), none. Sources are never added up across classes: a run has one.
"""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from hundredfold.replication.energy import nvml, rapl
from hundredfold.replication.energy.nvml import Unavailable

NAMES = ("auto", "zeus-gpu", "rapl", "zeus-apple", "estimate", "none")


@dataclass
class Source:
    """A source without joules, and the base of the others.

    Attributes:
        domains: what is metered, as in "gpu0" or "package-0".
        reason: one sentence that says why this source was taken.
        step_s: seconds between two steps of its counter, 0 where it has none or they are not known.
        shares: what its counters count beside this run, so that no other run may draw from it: the whole machine, "",
            or one of its devices.
    """

    reason: str = "No energy source was asked for."
    name: str = field(default="none", init=False)
    evidence: str = field(default="none", init=False)
    domains: tuple[str, ...] = field(default=(), init=False)
    step_s: float = field(default=0.0, init=False)
    shares: str = field(default="", init=False)
    machine: ClassVar[bool] = False  # whether its counters count all that runs on the machine

    @property
    def metered(self) -> bool:
        """Whether joules are counted, so that no other run may draw some meanwhile."""
        return self.evidence != "none"

    def joules(self) -> float | None:
        """Joules since the source was opened, all domains; None if this source has none."""
        return None

    def still(self, joules: float) -> tuple[str, ...]:
        """Domains that have counted nothing since the source was opened.

        Args:
            joules: that it has told of a time in which every counter has moved.
        """
        return ("it",) if joules <= 0 else ()

    def synchronize(self) -> None:
        """Wait for the device, so that work is charged to the phase that asked for it."""


@dataclass
class Estimate(Source):
    """Watts per core x CPU seconds of this process: the constant cancels in every ratio."""

    watts_per_core: float = 10.0

    def __post_init__(self):
        self.name, self.evidence, self.domains = "estimate", "estimated", ("cpu",)

    def joules(self) -> float:
        return self.watts_per_core * time.process_time()


@dataclass
class Rapl(Source):
    """Package and memory counters of the whole machine, other processes included."""

    machine = True
    root: Path = rapl.ROOT

    def __post_init__(self):
        try:
            self.counters = rapl.counters(self.root)
        except PermissionError:
            raise Unavailable(f"the RAPL counters at {self.root} are not readable for this user") from None
        except (OSError, ValueError):
            raise Unavailable(f"there is no RAPL counter at {self.root}") from None
        self.name, self.evidence, self.domains = "rapl", "measured", tuple(self.counters)

    def joules(self) -> float:
        return sum(counter.joules() for counter in self.counters.values())

    def still(self, joules: float) -> tuple[str, ...]:
        still = tuple(name for name, counter in self.counters.items() if counter.total_uj == 0)
        return still or super().still(joules)


@dataclass
class ZeusGpu(Source):
    """The total-energy counter of exactly the GPU that the run uses, read through Zeus."""

    device: str = "cuda"

    def __post_init__(self):
        import torch
        from zeus.device import get_gpus  # slow to import, so only where a meter is opened

        if not torch.cuda.is_available():
            raise Unavailable("there is no CUDA device")
        visible = nvml.visible_indices()
        try:
            with nvml.named_by(visible):
                self.gpus = get_gpus()
            self.index = torch.device(self.device).index or 0
            self.start_mj = self._counter_mj()
        except Exception as error:  # Zeus raises its own kind for every cause
            raise Unavailable(f"the GPU has no readable energy counter ({type(error).__name__})") from None
        self.name, self.evidence, self.domains = "zeus-gpu", "measured", (f"gpu{self.index}",)
        self.shares = f"gpu{self.index if visible is None else visible[self.index]}"

    def _counter_mj(self) -> float:
        if not self.gpus.supports_get_total_energy_consumption(self.index):
            raise Unavailable("the GPU is older than Volta and counts no energy")
        return self.gpus.get_total_energy_consumption(self.index)

    def joules(self) -> float:
        return (self._counter_mj() - self.start_mj) / 1e3

    def synchronize(self) -> None:
        import torch

        torch.cuda.synchronize(self.index)


@dataclass
class ZeusApple(Source):
    """Apple's own model of the chip's power, read through Zeus."""

    machine = True

    def __post_init__(self):
        if (platform.system(), platform.machine()) != ("Darwin", "arm64"):
            raise Unavailable("this is no Apple silicon")
        try:
            from zeus.device.soc import get_soc

            self.soc = get_soc()
            self.start = self._counter_mj()
        except Exception as error:  # Zeus raises its own kind for every cause
            raise Unavailable(f"Zeus cannot read this chip ({type(error).__name__})") from None
        self.name, self.evidence, self.domains = "zeus-apple", "modeled", ("soc",)

    def _counter_mj(self) -> float:
        figures = self.soc.get_total_energy_consumption()
        return sum(v for v in (figures.cpu_total_mj, figures.gpu_mj, figures.dram_mj) if v is not None)

    def joules(self) -> float:
        return (self._counter_mj() - self.start) / 1e3


class Elsewhere(Source):
    """Counters that another rank on this machine reads, for all that runs on it."""

    def __init__(self, source: Source):
        super().__init__(source.reason)
        self.name, self.evidence, self.domains = source.name, source.evidence, source.domains

    def joules(self) -> float:
        return 0.0

    def still(self, joules: float) -> tuple[str, ...]:
        return ()


def choose(name: str, device: str = "cpu", watts_per_core: float = 10.0) -> Source:
    """Open a source.

    Args:
        name: one of NAMES; `auto` takes the best that this machine has for the device.
        device: that the run trains on.
        watts_per_core: of `estimate`.
    Raises:
        ValueError: unknown name, a source this machine lacks, or watts that are not positive.
    """
    if name not in NAMES:
        raise ValueError(f"energy.source={name}: unknown; choose one of {', '.join(NAMES)}")
    if not watts_per_core > 0:
        raise ValueError(f"energy.watts_per_core={watts_per_core}: expected a number above 0")
    openers = {
        "zeus-gpu": lambda reason: ZeusGpu(reason, device=device),
        "rapl": lambda reason: Rapl(reason),
        "zeus-apple": lambda reason: ZeusApple(reason),
        "estimate": lambda reason: Estimate(reason, watts_per_core=watts_per_core),
        "none": lambda reason: Source(reason),
    }
    if name != "auto":
        try:
            return openers[name](f"Asked for by energy.source={name}.")
        except Unavailable as error:
            raise ValueError(f"energy.source={name}: {error}; choose another source or auto") from None
    missing = []
    for candidate in ("zeus-gpu",) if device.startswith("cuda") else ("rapl", "zeus-apple"):
        try:
            return openers[candidate](f"The best counter of this machine for {device}.")
        except Unavailable as error:
            missing.append(str(error))
    if device.startswith("cuda"):
        return Source(f"No counter for {device}: {missing[0]}; CPU seconds say nothing about a GPU.")
    return Estimate(
        f"No counter was found ({'; '.join(missing)}), so CPU seconds stand in at {watts_per_core:g} W per core.",
        watts_per_core=watts_per_core,
    )
