"""Kills, faults and crowds: what a run survives, bit for bit and with every joule accounted.

`make reliability` tries all of it in under 15 minutes and prints a table; a test tries the fast core. Each worker has
the libraries loaded and trains nothing itself: runs are its children, so that an attempt costs a second.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import itertools
import json
import mmap
import os
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from hundredfold.methods.execution.session import Session
from hundredfold.replication import module
from hundredfold.replication import run as running
from hundredfold.replication.composition import compose
from hundredfold.replication.config import run_folder
from hundredfold.replication.energy import meter as metering
from hundredfold.replication.energy import sources
from hundredfold.replication.energy.ledger import Ledger
from hundredfold.replication.energy.meter import Meter
from hundredfold.replication.record import read_record
from hundredfold.replication.study import preload  # noqa: F401

HEARTBEAT_S = 0.02  # shorter than in a run, so that an attempt of half a second has many
SLACK_S = 0.15  # CPU seconds a kill may lose: a heartbeat, and what runs between the two clocks
COMMON = ("dataset=digits", "model=mlp", "model.widths=[64,64]", "recipe.steps=60", "recipe.batch_size=32")
OFTEN = ("trainer.segments=6", "trainer.checkpoint_every_s=0", "energy.source=estimate")
ARMS = {
    "dense": ("method=dense",),
    "rigl": ("method=rigl", "method.update.interval=7"),
    "dsc": ("method=dsc", "method.density=0.25", "method.interval=6", "method.observe_every=2"),
    "infobatch": ("method=infobatch",),
}
KILLS, FAULTS, SWEEPS = "kills at triggered points", "injected faults", "sweeps killed, and in crowds"


class Ended(NamedTuple):
    """How a child ended: its exit code (minus the signal), its CPU seconds while metered, and what it answered."""

    code: int
    metered_s: float
    answer: dict[str, Any] | None


class Tried(NamedTuple):
    """What was tried: its kind, its name, what did not survive, and the CPU seconds that a kill has lost."""

    kind: str
    name: str
    wrong: str | None
    lost_s: float | None = None


# ---- runs as children -----------------------------------------------------------------------------------------------
def overrides(folder: Path, arm: str, *more: str) -> list[str]:
    return [*COMMON, *OFTEN, *ARMS[arm], f"results={folder}", *more]


def child(task: Callable[[], dict[str, Any] | None]) -> Ended:
    """Do a task in a process of its own; what it writes to the terminal is thrown away, and a traceback is answered."""
    shared = mmap.mmap(-1, 8)  # CPU seconds of the child when its meter began
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(reader)
            for stream in (1, 2):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
            _watch_meter(shared)
            answer = task()
            os.write(writer, json.dumps(answer).encode())
            code = 0
        except ValueError as error:
            os.write(writer, json.dumps({"refused": str(error)}).encode())
            code = 2
        except BaseException:
            os.write(writer, json.dumps({"traceback": traceback.format_exc()}).encode())
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read()
    _, status, usage = os.wait4(pid, 0)
    begun = struct.unpack("d", shared[:8])[0]
    metered = usage.ru_utime + usage.ru_stime - begun if begun else 0.0
    return Ended(os.waitstatus_to_exitcode(status), metered, json.loads(told) if told else None)


def _watch_meter(shared: mmap.mmap) -> None:
    metering.HEARTBEAT_S = HEARTBEAT_S
    begin = Meter.__init__

    def watched(self, *arguments, **options):
        shared[:8] = struct.pack("d", time.process_time())
        begin(self, *arguments, **options)

    Meter.__init__ = watched


def whole(folder: Path, arm: str, *more: str) -> dict[str, Any]:
    """Bring a run to its end and answer with its record."""
    return running.run(compose(overrides(folder, arm, *more))).record


def place(folder: Path, arm: str, *more: str) -> Path:
    return run_folder(compose(overrides(folder, arm, *more)).config)


def accounted(folder: Path) -> float:
    """CPU seconds that a run's ledger knows."""
    return sum(figures[2] for line in Ledger(folder / "energy.jsonl").earlier for figures in line["phases"].values())


# ---- kills ----------------------------------------------------------------------------------------------------------
def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def passing(owner: Any, name: str, number: int, before: bool = True, only: Callable[..., bool] | None = None) -> None:
    """Kill this process before (or after) a function is called for the n-th time."""
    real, calls = getattr(owner, name), itertools.count(1)

    def watched(*arguments, **options):
        counts = only is None or only(*arguments)
        now = counts and next(calls) == number
        if now and before:
            die()
        result = real(*arguments, **options)
        if now:
            die()
        return result

    setattr(owner, name, watched)


def half_written(suffix: str, number: int) -> None:
    """Kill this process when half of a file is written for the n-th time."""
    calls, real = itertools.count(1), open

    class Half:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, content):
            self.file.write(content[: len(content) // 2])
            self.file.flush()
            die()

    def watched(path, mode="r", *arguments, **options):
        file = real(path, mode, *arguments, **options)
        writing = str(path).endswith(suffix) and any(letter in mode for letter in "wa")
        return Half(file) if writing and next(calls) == number else file

    running.open = watched


def torn_line(number: int) -> None:
    """Kill this process in the middle of the n-th line of its ledger."""
    real, calls = Ledger.write, itertools.count(1)

    def watched(self, figures, durable=True):
        if next(calls) != number:
            return real(self, figures, durable)
        real(self, figures, durable)
        os.truncate(self.path, self.path.stat().st_size - 40)
        die()

    Ledger.write = watched


def replaced(suffix: str) -> Callable[..., bool]:
    return lambda source, target: str(target).endswith(suffix)


POINTS: dict[str, Callable[[int], None]] = {
    "a step": lambda n: passing(Session, "step", 13 * n),
    "a topology update": lambda n: passing(Session, "apply", n),
    "after a topology update": lambda n: passing(Session, "apply", n, before=False),
    "an evaluation": lambda n: passing(module, "evaluate", n),
    "before a checkpoint": lambda n: passing(running.CheckedIO, "save_checkpoint", n),
    "half of a checkpoint": lambda n: half_written("checkpoint.tmp", n),
    "a checkpoint that is not in its place": lambda n: passing(os, "replace", n, only=replaced("checkpoint.ckpt")),
    "after a checkpoint": lambda n: passing(os, "replace", n, before=False, only=replaced("checkpoint.ckpt")),
    "before a line of the ledger": lambda n: passing(Ledger, "write", 3 * n),
    "half a line of the ledger": lambda n: torn_line(3 * n),
    "after a line of the ledger": lambda n: passing(Ledger, "write", 3 * n, before=False),
    "the test": lambda n: passing(running, "_test", 1),
    "before the record": lambda n: passing(running, "write_record", 1),
    "a record that is not in its place": lambda n: passing(os, "replace", 1, only=replaced("record.json")),
    "after the record": lambda n: passing(running, "write_record", 1, before=False),
}
ONCE = ("the test", "before the record", "a record that is not in its place", "after the record")


CASES = [(p, a, n) for p in POINTS for a in ARMS for n in ((1,) if p in ONCE else (1, 3))]


def kill(root: Path, references: dict[str, dict], point: str, arm: str, number: int) -> Tried | None:
    """Kill a run, let it go on, and compare weights, quality and joules with those of a whole one."""
    name, folder = f"{point} ({number}), {arm}", Path(tempfile.mkdtemp(dir=root))

    def killed():
        POINTS[point](number)
        return whole(folder, arm)

    first = child(killed)
    if first.code != -signal.SIGKILL:
        if point.endswith("topology update"):  # the arm has none
            return None
        return Tried(KILLS, name, f"was not killed, exit code {first.code}: {str(first.answer)[-300:]}")
    lost = first.metered_s - accounted(place(folder, arm))
    wrong = differs(child(lambda: whole(folder, arm)), references[arm])
    if not wrong and lost > SLACK_S:
        wrong = f"{lost:.2f} CPU seconds are lost"
    shutil.rmtree(folder)
    return Tried(KILLS, name, wrong, lost)


def differs(ended: Ended, reference: dict[str, Any], joules: bool = True) -> str | None:
    """What is not as in the record of a whole run, or None."""
    if ended.code != 0:
        return f"exit code {ended.code}: {str(ended.answer)[-300:]}"
    record = ended.answer
    if record["status"] != "finished":
        return f"{record['status']}: {record['reason']}"
    if record["weights_sha256"] != reference["weights_sha256"] or record["flops"] != reference["flops"]:
        return "other weights or FLOPs"
    if record["quality"]["test"] != reference["quality"]["test"]:
        return "another quality"
    if joules and record["energy"]["training_j"] is None:
        return f"no joules: {record['energy']['reason']}"
    return None


# ---- faults ---------------------------------------------------------------------------------------------------------
class Fault(NamedTuple):
    """What is broken in the folder of a run that was killed in its middle, and what the next attempt does.

    Attributes:
        expected: "rebuilt" (the run ends as if nothing had been), "no joules" (the same, but for its joules), or words
            of the sentence that refuses it; then `mend` takes the fault away, and the run ends.
    """

    breaks: Callable[[Path], None]
    expected: str = "rebuilt"
    mend: Callable[[Path], None] | None = None


def spoil(name: str, content: bytes | Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def breaks(folder: Path) -> None:
        path = folder / name
        path.write_bytes(content(path.read_bytes()) if callable(content) else content)

    return breaks


def flip(place_: float) -> Callable[[bytes], bytes]:
    def flipped(raw: bytes) -> bytes:
        changed = bytearray(raw)
        changed[int(place_ * (len(raw) - 1))] ^= 1
        return bytes(changed)

    return flipped


def foreign_source(folder: Path) -> None:
    ledger = Ledger(folder / "energy.jsonl")
    ledger.write({"step": 1, "source": "rapl", "phases": {"train": [5000.0, 1.0, 1.0]}, "elapsed_s": 1.0})
    ledger.close()
    (folder / "attempts").write_text("2")


def made(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).mkdir()


def gone(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def unmade(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).rmdir()


FAULTY = "dsc"  # the arm of the faults
NOISE = bytes(range(256)) * 40
IN_FOLDER: dict[str, Fault] = {
    "checkpoint empty": Fault(spoil("checkpoint.ckpt", b"")),
    "checkpoint of one byte": Fault(spoil("checkpoint.ckpt", b"x")),
    "checkpoint halved": Fault(spoil("checkpoint.ckpt", lambda raw: raw[: len(raw) // 2])),
    "checkpoint foreign": Fault(spoil("checkpoint.ckpt", NOISE)),
    "checkpoint longer": Fault(spoil("checkpoint.ckpt", lambda raw: raw + b"\0")),
    "checkpoint, first bit": Fault(spoil("checkpoint.ckpt", flip(0))),
    "checkpoint, a bit in the middle": Fault(spoil("checkpoint.ckpt", flip(0.5))),
    "checkpoint, last bit": Fault(spoil("checkpoint.ckpt", flip(1))),
    "checkpoint gone": Fault(gone("checkpoint.ckpt")),
    "half a checkpoint beside it": Fault(spoil("checkpoint.tmp", NOISE)),
    "damaged checkpoint beside it": Fault(spoil("checkpoint.damaged", NOISE)),
    "ledger with noise at its end": Fault(spoil("energy.jsonl", lambda raw: raw + NOISE)),
    "ledger with noise at its beginning": Fault(spoil("energy.jsonl", lambda raw: NOISE + b"\n" + raw)),
    "ledger with a line of another program": Fault(spoil("energy.jsonl", lambda raw: raw + b"{}\nnull\n[1, 2]\n")),
    "ledger with a line torn": Fault(spoil("energy.jsonl", lambda raw: raw + b'12345678 {"segment": 0')),
    "ledger twice": Fault(spoil("energy.jsonl", lambda raw: raw + raw)),
    "ledger gone": Fault(gone("energy.jsonl"), "no joules"),
    "ledger empty": Fault(spoil("energy.jsonl", b""), "no joules"),
    "ledger noise": Fault(spoil("energy.jsonl", NOISE), "no joules"),
    "ledger cut to its first line": Fault(
        spoil("energy.jsonl", lambda raw: b"\n".join(raw.splitlines()[:2]) + b"\n"), "no joules"
    ),
    "an attempt of another source": Fault(foreign_source, "no joules"),
    "attempts empty": Fault(spoil("attempts", b"")),
    "attempts garbage": Fault(spoil("attempts", b"\0\0two")),
    "attempts gone": Fault(gone("attempts")),
    "attempts below zero": Fault(spoil("attempts", b"-5")),
    "configuration garbage": Fault(spoil("config.yaml", NOISE)),
    "configuration gone": Fault(gone("config.yaml")),
    "units garbage": Fault(spoil("units.safetensors", NOISE)),
    "half a record beside it": Fault(spoil("record.json.tmp", b"{")),
    "lock garbage": Fault(spoil("run.lock", NOISE)),
    "checkpoint's temporary file a folder": Fault(made("checkpoint.tmp"), "remove it", unmade("checkpoint.tmp")),
    "units a folder": Fault(made("units.safetensors"), "remove it", unmade("units.safetensors")),
    "a folder of somebody's": Fault(made("notes")),
    "record empty": Fault(spoil("record.json", b""), "record.json", gone("record.json")),
    "record halved": Fault(spoil("record.json", b'{"run_id": "0'), "record.json", gone("record.json")),
    "record of another form": Fault(spoil("record.json", b"[]"), "record.json", gone("record.json")),
    "record a folder": Fault(made("record.json"), "remove it", unmade("record.json")),
    "record's temporary file a folder": Fault(made("record.json.tmp"), "remove it", unmade("record.json.tmp")),
}


def break_method(error: Exception) -> Callable[[], None]:
    def installs() -> None:
        def breaks(self, *_):
            raise error

        Session.step = breaks

    return installs


def break_disk(name: str) -> Callable[[], None]:
    """No space left, when a file of this name is written."""

    def installs() -> None:
        real = open

        def full(path, mode="r", *arguments, **options):
            if str(path).endswith(name) and any(letter in mode for letter in "wa"):
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            return real(path, mode, *arguments, **options)

        running.open = full

    return installs


def break_ledger() -> None:
    def full(self, figures, durable=True):
        raise OSError(errno.ENOSPC, "No space left on device", str(self.path))

    Ledger.write = full


def break_counter(figures: Iterator[float]) -> Callable[[], None]:
    """Joules of a counter that goes wrong."""

    def installs() -> None:
        sources.Estimate.joules = lambda self: next(figures)

    return installs


def vanishing() -> Iterator[float]:
    yield from range(6)
    raise OSError(errno.ENODEV, "No such device")


IN_PROCESS: dict[str, tuple[Callable[[], None], str]] = {
    "a method raises ValueError": (break_method(ValueError("a method's own mistake")), "a method's own mistake"),
    "a method raises RuntimeError": (break_method(RuntimeError("a kernel failed")), "a kernel failed"),
    "a method runs out of memory": (break_method(MemoryError()), "MemoryError"),
    "a method exits": (break_method(SystemExit(3)), "SystemExit"),
    "no space for a checkpoint": (break_disk("checkpoint.tmp"), "No space left"),
    "no space for the ledger": (break_ledger, "No space left"),
    "a counter runs backwards": (break_counter(iter(range(0, -(10**9), -1))), "ran backwards"),
    "a counter vanishes": (break_counter(vanishing()), "No such device"),
    "Ctrl-C": (break_method(KeyboardInterrupt()), "KeyboardInterrupt"),
}


def middle_of_a_run(folder: Path) -> None:
    """Leave what a run leaves that is killed after two thirds of its steps."""

    def killed():
        POINTS["a step"](3)
        return whole(folder, FAULTY)

    assert child(killed).code == -signal.SIGKILL


def break_folder(root: Path, references: dict[str, dict], name: str) -> Tried:
    """Break what lies in a killed run's folder, and see that the run ends all the same."""
    fault, folder = IN_FOLDER[name], Path(tempfile.mkdtemp(dir=root))
    shutil.copytree(root / "middle", folder, dirs_exist_ok=True)
    fault.breaks(place(folder, FAULTY))
    ended, wrong = child(lambda: whole(folder, FAULTY)), None
    if fault.mend:
        said = (ended.answer or {}).get("refused", "")
        if fault.expected not in said or "\n" in said:
            wrong = f"expected a sentence with {fault.expected!r}: {str(ended.answer)[-300:]}"
        fault.mend(place(folder, FAULTY))
        ended = child(lambda: whole(folder, FAULTY))
    wrong = wrong or differs(ended, references[FAULTY], joules=fault.expected != "no joules")
    if fault.expected == "no joules" and not wrong and ended.answer["energy"]["training_j"] is not None:
        wrong = "joules that nobody can know are printed"
    shutil.rmtree(folder)
    return Tried(FAULTS, name, wrong)


def break_process(root: Path, references: dict[str, dict], name: str) -> Tried:
    """Break what a run calls: it ends in words, or without joules and with their reason, and then it goes on."""
    (installs, word), folder = IN_PROCESS[name], Path(tempfile.mkdtemp(dir=root))

    def broken():
        installs()
        return whole(folder, FAULTY)

    ended = child(broken)
    if name.startswith("a counter"):
        wrong = differs(ended, references[FAULTY], joules=False)
        energy = (ended.answer or {}).get("energy") or {}
        if not wrong and (energy["training_j"] is not None or word not in energy["reason"]):
            wrong = f"expected no joules, and {word!r}: {energy['reason']}"
    else:
        expected = ended.code != 0 and word in str(ended.answer)
        wrong = None if expected else f"expected {word!r}: {ended.code} {str(ended.answer)[-300:]}"
        wrong = wrong or differs(child(lambda: whole(folder, FAULTY)), references[FAULTY])
    shutil.rmtree(folder)
    return Tried(FAULTS, name, wrong)


# ---- sweeps ---------------------------------------------------------------------------------------------------------
SWEEP = (
    *COMMON, "trainer.segments=30", "trainer.checkpoint_every_s=0", "energy.source=estimate",
    "method=dense,rigl", "method.update.interval=7", "strict=false", "seed=0,1",
)  # fmt: skip


MEMBERS = ("parent", "server", "child")


def sweep(folder: Path) -> subprocess.Popen:
    """The command of a sweep of four runs, in a session of its own."""
    given = [*SWEEP, f"results={folder}", f"reports={folder}/reports"]
    code = "from hundredfold.replication.command_line import main; main()"
    command = [sys.executable, "-c", code, "sweep", *given]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment, start_new_session=True, text=True
    )


def family(parent: int) -> dict[int, int]:
    """Process -> its parent, of all that descend from one."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            fields = stat.read_text().rpartition(")")[2].split()
            if fields[0] != "Z":
                parents[int(stat.parent.name)] = int(fields[1])
    found, grown = {parent}, True
    while grown:
        more = {pid for pid, above in parents.items() if above in found} - found
        found |= more
        grown = bool(more)
    return {pid: parents[pid] for pid in found if pid in parents}


def records(folder: Path) -> list[dict[str, Any]]:
    return [r for path in sorted((folder / "runs").glob("*/*")) if (r := read_record(path)) is not None]


def wait_for(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    return None


def member(process: subprocess.Popen, which: str) -> int | None:
    """The parent of a sweep, its server, or the child that trains at this moment."""
    if which == "parent":
        return process.pid
    tree = family(process.pid)
    under = {pid for pid, above in tree.items() if above == process.pid}
    grand = [pid for pid, above in tree.items() if above in under]
    if which == "child":
        return grand[0] if grand else None
    return next((pid for pid in under if pid in {tree[one] for one in grand}), None)


def whole_sweep(folder: Path) -> dict[str, str]:
    """Run -> weights of a sweep that nothing disturbs.

    Raises:
        RuntimeError: the sweep does not end well.
    """
    process = sweep(folder)
    words = process.communicate()[1]
    if process.returncode != 0 or len(records(folder)) != 4:
        raise RuntimeError(f"the sweep of four runs ended with exit code {process.returncode}: {words[-500:]}")
    return {record["run_id"]: record["weights_sha256"] for record in records(folder)}


def kill_sweep(root: Path, expected: dict[str, str], which: str, done: int) -> Tried:
    """Kill a sweep's parent, server or child, and let the same command go on."""
    name, folder, wrong = f"{which} after {done} runs", Path(tempfile.mkdtemp(dir=root)), None
    process = sweep(folder)
    wait_for(lambda: len(records(folder)) >= done)
    victim = wait_for(lambda: member(process, which))
    tree = set(family(process.pid))
    if victim is None:
        wrong = "no such process was found"
    else:
        os.kill(victim, signal.SIGKILL)
    process.communicate()
    if not wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in tree), 15):
        wrong = "a process outlived its sweep by 15 s"
    words = sweep(folder).communicate()[1]
    found = {record["run_id"]: record["weights_sha256"] for record in records(folder)}
    if found != expected:
        wrong = f"{len(found)} of {len(expected)} runs, or other weights: {words[-300:]}"
    elif any(record["energy"]["training_j"] is None for record in records(folder)):
        wrong = "joules are unknown"
    return Tried(SWEEPS, name, wrong)


def crowd(root: Path, expected: dict[str, str], count: int) -> Tried:
    """Several sweeps over one folder at once: every run is done once."""
    folder = Path(tempfile.mkdtemp(dir=root))
    processes = [sweep(folder) for _ in range(count)]
    words = [process.communicate()[1] for process in processes]
    codes, found, wrong = [process.returncode for process in processes], records(folder), None
    attempts = [record["attempts"] for record in found]
    segments = [Ledger(path).segment for path in (folder / "runs").glob("*/*/energy.jsonl")]
    if codes != [0] * count:
        wrong = f"exit codes {codes}: {words[codes.index(max(codes))][-300:]}"
    elif {record["run_id"]: record["weights_sha256"] for record in found} != expected:
        wrong = "runs are missing, or have other weights"
    elif {*attempts, *segments} != {1}:
        wrong = f"attempts {attempts}, segments of the ledgers {segments}"
    return Tried(SWEEPS, f"{count} at once over one folder", wrong)


# ---- the command ----------------------------------------------------------------------------------------------------
def own_lock(root: Path) -> None:
    """Let each worker's runs wait for each other alone: what they draw says nothing."""
    os.environ["HUNDREDFOLD_LOCK"] = str(root / f"metering-{os.getpid()}.lock")


def main(arguments: list[str] | None = None) -> int:
    """Exit code 1 where something did not survive."""
    parser = argparse.ArgumentParser(prog="reliability", description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="fraction of the kills and faults that is tried")
    parser.add_argument("--sweeps", type=int, default=8, help="sweeps over one folder at once; 0 leaves sweeps out")
    parser.add_argument("--jobs", type=int, default=2, help="workers side by side")
    parser.add_argument("--only", default="", help="words that the names have of what is tried")
    options = parser.parse_args(arguments)
    console, start = Console(highlight=False, soft_wrap=True), time.monotonic()
    with (
        tempfile.TemporaryDirectory() as name,
        ProcessPoolExecutor(options.jobs, get_context("fork"), own_lock, (Path(name),)) as pool,
        Progress(console=Console(stderr=True), transient=True) as bar,
    ):
        root, some = Path(name), max(1, round(1 / options.scale))
        task = bar.add_task("whole runs, to compare with", total=None)
        references = dict(zip(ARMS, pool.map(_reference, itertools.repeat(root), ARMS), strict=True))
        pool.submit(middle_of_a_run, root / "middle").result()
        asked = [(kill, references, *case) for case in CASES[::some]]
        asked += [(break_folder, references, fault) for fault in list(IN_FOLDER)[::some]]
        asked += [(break_process, references, fault) for fault in list(IN_PROCESS)[::some]]
        if options.sweeps:
            expected = pool.submit(whole_sweep, root / "sweep").result()
            asked += [(kill_sweep, expected, which, done) for which in MEMBERS for done in (0, 2)]
            asked.append((crowd, expected, options.sweeps))
        asked = [one for one in asked if options.only in " ".join(map(str, (one[0].__name__, *one[2:])))]
        futures = [pool.submit(one[0], root, *one[1:]) for one in asked]
        found: dict[str, list[Tried]] = defaultdict(list)
        bar.update(task, description="kills, faults and crowds", total=len(futures))
        for future in as_completed(futures):
            bar.advance(task)
            if tried := future.result():
                found[tried.kind].append(tried)
    failures = [f"{one.kind}, {one.name}: {one.wrong}" for each in found.values() for one in each if one.wrong]
    table = Table("what", "tried", "survived", "CPU seconds lost to a kill: median, most")
    for kind, each in found.items():
        lost = [one.lost_s for one in each if one.lost_s is not None]
        shown = f"{statistics.median(lost):.3f}, {max(lost):.3f}" if lost else ""
        table.add_row(kind, str(len(each)), str(sum(one.wrong is None for one in each)), shown)
    console.print(table, *map(escape, failures), sep="\n")
    console.print(f"{len(failures)} did not survive; {time.monotonic() - start:.0f} s")
    return 1 if failures else 0


def _reference(root: Path, arm: str) -> dict[str, Any]:
    ended = child(lambda: whole(root / "whole", arm))
    assert ended.code == 0, ended.answer
    return ended.answer


if __name__ == "__main__":
    sys.exit(main())
