"""Reads Intel's and AMD's package energy counters from Linux' powercap tree.

Package zones only: `psys` covers the packages again and sub-zones are parts of them, so that adding either would
count twice. A counter that wraps is continued by its max_energy_range_uj.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path("/sys/class/powercap")
JITTER_UJ = 100_000  # a step back by less is an uncertain reading


class RaplCounter:
    """One package's counter, continued over wraps.

    Raises:
        OSError: the counter cannot be read, or has run backwards by more than jitter.
    """

    def __init__(self, zone: Path):
        self.zone = zone
        self.range_uj = int((zone / "max_energy_range_uj").read_text())
        self.last_uj = self._raw()
        self.total_uj = 0

    def _raw(self) -> int:
        return int((self.zone / "energy_uj").read_text())

    def joules(self) -> float:
        """Joules since the counter was opened; read it at least once per wrap (an hour or so)."""
        now = self._raw()
        step = now - self.last_uj
        if step < 0 and step + self.range_uj <= self.range_uj / 2:  # it has wrapped
            step += self.range_uj
        elif step < -JITTER_UJ:
            raise OSError(f"{self.zone}: the counter ran backwards by {-step / 1e6:g} J")
        if step >= 0:  # a smaller one is jitter, and what follows is counted from the higher value
            self.total_uj += step
            self.last_uj = now
        return self.total_uj / 1e6


def package_counters(root: Path = ROOT) -> dict[str, RaplCounter]:
    """Package name -> open counter.

    Raises:
        OSError: there is no powercap tree, no package zone in it, or no permission to read one.
    """
    zones = sorted(root.glob("*-rapl:*"))
    packages = [zone for zone in zones if zone.name.count(":") == 1 and _name(zone).startswith("package")]
    if not packages:
        raise FileNotFoundError(f"no RAPL package counter at {root}")
    names = [_name(zone) for zone in packages]
    pairs = zip(names, packages, strict=True)
    return {name if names.count(name) == 1 else f"{name} ({zone.name})": RaplCounter(zone) for name, zone in pairs}


def _name(zone: Path) -> str:
    path = zone / "name"
    return path.read_text().strip() if path.exists() else ""
