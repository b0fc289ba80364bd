"""Reads Intel's and AMD's energy counters of packages and of memory from Linux' powercap tree.

A package's `core` and `uncore` are parts of it and `psys` covers it again, so that adding them would count twice. Its
`dram` is listed below it and counted apart from it. A counter that wraps is continued by its max_energy_range_uj.
Source: Khan et al. 2018, "RAPL in Action", and Linux' Documentation/power/powercap/powercap.rst.
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


def counters(root: Path = ROOT) -> dict[str, RaplCounter]:
    """Domain, as in "package-0" and "package-0 dram", -> open counter; a memory's that has never counted is left out.

    Raises:
        OSError: there is no powercap tree, no package zone in it, or no permission to read one.
    """
    packages = [zone for zone in sorted(root.glob("*-rapl:*")) if _is_package(zone)]
    if not packages:
        raise FileNotFoundError(f"no RAPL package counter at {root}")
    names = [_name(zone) for zone in packages]
    found = {}
    for name, zone in zip(names, packages, strict=True):
        name = name if names.count(name) == 1 else f"{name} ({zone.name})"
        found[name] = RaplCounter(zone)
        for below in sorted(zone.glob(f"{zone.name}:*")):
            if _name(below) == "dram" and (memory := RaplCounter(below)).last_uj > 0:
                found[f"{name} dram"] = memory
    return found


def _is_package(zone: Path) -> bool:
    return zone.name.count(":") == 1 and _name(zone).startswith("package")


def _name(zone: Path) -> str:
    path = zone / "name"
    return path.read_text().strip() if path.exists() else ""
