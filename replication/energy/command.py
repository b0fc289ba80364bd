"""`hundredfold meter`: the joules of any program, or what measures them on this machine."""

from __future__ import annotations

import resource
import shutil
import subprocess
import time
from collections.abc import Sequence

from rich.console import Console

from hundredfold.replication.energy.sources import Estimate, Source, choose

HALF = 10  # bars for the time at rest, and as many for the time at work
WIDTH = 50  # characters of the longest bar
console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def metered(command: Sequence[str], source: str = "auto", device: str = "cpu", seconds: float = 10.0) -> int:
    """Run a program and say on the standard error what it took; without one, say what measures here, and show it.

    Args:
        seconds: that are shown, half of them at rest and half at work.
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
        if meter.metered:
            show(meter, device, seconds)
        console.print(more(meter))
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


def show(source: Source, device: str, seconds: float) -> None:
    """Draw what a counter counts at rest and at work, and say how it behaves."""
    from hundredfold.replication.energy.watch import behaviour, bins, watch, work_on  # torch takes seconds to import

    work = work_on(device)
    console.print(f"Watching it for {seconds:g} seconds, the first half at rest, the second at work on {device}:")
    idle, busy = watch(source, seconds / 2), watch(source, seconds / 2, work)
    watts = [(name, w) for name, trace in (("rest", idle), ("work", busy)) for w in bins(trace, HALF)]
    highest = max(w for _, w in watts) or 1.0
    for i, (name, w) in enumerate(watts):
        console.print(f"{i * seconds / len(watts):5.1f} s  {name}  {w:7.2f} W  {'#' * round(WIDTH * w / highest)}")
    found = behaviour(source, idle, busy)
    step = "its counter has not stepped" if found.step_s is None else f"its counter steps every {_short(found.step_s)}"
    lag = "" if found.lag_s is None else f", half of the rise is seen after {_short(found.lag_s)}"
    console.print(f"A read takes {_short(found.read_s)}, {step}{lag}; {_watts(found.idle_w)} at rest, "
                  f"{_watts(found.busy_w)} at work.")  # fmt: skip


def more(source: Source) -> str:
    """How this machine could measure better, in a sentence."""
    if source.evidence == "measured":
        return "This is a hardware counter: nothing better is known for this device."
    if "not readable" in source.reason:
        return "To measure: let this user read the counters, sudo chmod a+r /sys/class/powercap/*/energy_uj."
    if source.name == "zeus-apple":
        return "Apple's figures are a model of the chip; a wattmeter at the plug is the only better source."
    return (
        "To measure: a Linux machine that is not virtual, whose processor has RAPL counters, or an NVIDIA GPU since "
        "Volta (--device cuda); virtual machines rarely pass counters on."
    )


def _short(seconds: float) -> str:
    return f"{1e6 * seconds:.3g} us" if seconds < 1e-3 else f"{1e3 * seconds:.3g} ms"


def _watts(watts: float | None) -> str:
    return "nothing counted" if watts is None else f"{watts:.3g} W"


def _cpu_s() -> float:
    """CPU seconds of all programs that this process has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
