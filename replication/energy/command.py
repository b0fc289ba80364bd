"""`hundredfold meter`: the joules of any program, or what measures them on this machine."""

from __future__ import annotations

import resource
import shutil
import subprocess
import time
from collections.abc import Sequence

from rich.console import Console

from hundredfold.replication.energy.sources import Estimate, choose

console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def metered(command: Sequence[str], source: str = "auto", device: str = "cpu") -> int:
    """Run a program and say on the standard error what it took; without one, say what measures here.

    Returns:
        the program's exit code.
    Raises:
        ValueError: there is no such source on this machine, or no such program.
    """
    meter = choose(source, device)
    if command and shutil.which(command[0]) is None:
        raise ValueError(f"{command[0]}: no such program")
    console.print(f"Energy: {meter.name} ({meter.evidence}). {meter.reason}")
    if not command:
        return 0
    joules, wall, cpu = meter.joules(), time.perf_counter(), _cpu_s()
    code = subprocess.run(command).returncode
    seconds, cpu_s = time.perf_counter() - wall, _cpu_s() - cpu
    if isinstance(meter, Estimate):  # counts the CPU seconds of this process, which has only waited
        spent = meter.watts_per_core * cpu_s
    else:
        spent = None if joules is None else meter.joules() - joules
    drawn = "not measured" if spent is None else f"{spent:.4g} J ({meter.evidence})"
    console.print(f"{' '.join(command)}: {drawn} in {seconds:.3g} s, {cpu_s:.3g} CPU seconds, exit code {code}")
    return code


def _cpu_s() -> float:
    """CPU seconds of all programs that this process has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
