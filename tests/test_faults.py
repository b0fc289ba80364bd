"""Faults of disks, counters and permissions: what can be rebuilt is rebuilt, the rest is set aside in a sentence."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from hundredfold.replication import run as running
from hundredfold.replication.composition import compose
from hundredfold.replication.energy.rapl import RaplCounter, counters
from hundredfold.replication.run import CheckedIO, Damaged, run, run_folder


def experiment(folder, *overrides):
    short = ["recipe.steps=30", "trainer.segments=3", "trainer.checkpoint_every_s=0", "model.widths=[16]"]
    return compose([*short, "energy.source=none", f"results={folder}", *overrides])


class Killed(Exception):
    pass


def stopped(folder):
    """A run that was killed in its last segment, with a checkpoint behind it."""

    def progress(done, total):
        if done > 25:
            raise Killed

    made = experiment(folder)
    with pytest.raises(Killed):
        run(made, progress=progress)
    return made, run_folder(made.config)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run(experiment(tmp_path_factory.mktemp("whole"))).record


def flipped(raw, place):
    changed = bytearray(raw)
    changed[place] ^= 1
    return bytes(changed)


DAMAGES = {
    "empty": lambda raw: b"",
    "truncated": lambda raw: raw[: len(raw) // 2],
    "foreign": lambda raw: b"PK\x03\x04 another program's file" * 100,
    "first bit": lambda raw: flipped(raw, 0),
    "a bit in the middle": lambda raw: flipped(raw, len(raw) // 2),
    "the last bit": lambda raw: flipped(raw, len(raw) - 1),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_set_aside_and_the_run_begins_anew(tmp_path, whole, damage, capsys):
    made, folder = stopped(tmp_path)
    checkpoint = folder / "checkpoint.ckpt"
    checkpoint.write_bytes(DAMAGES[damage](checkpoint.read_bytes()))
    record = run(made).record
    assert record["weights_sha256"] == whole["weights_sha256"] and record["attempts"] == 2
    assert (folder / "checkpoint.damaged").exists() and "begins anew" in capsys.readouterr().err
    assert record["time"]["phases_cpu_s"]["replayed"] > 0  # what was done twice is on the account


def test_no_flipped_bit_of_a_checkpoint_is_accepted(tmp_path):
    _, folder = stopped(tmp_path)
    path = folder / "checkpoint.ckpt"
    raw = path.read_bytes()
    CheckedIO().load_checkpoint(path)
    for place in np.random.default_rng(0).integers(0, len(raw), 200):
        path.write_bytes(flipped(raw, int(place)))
        with pytest.raises(Damaged):
            CheckedIO().load_checkpoint(path)


@pytest.mark.parametrize("content", ["", "two", "\x00\x00", "-5"])
def test_a_count_of_attempts_that_is_lost_is_taken_from_the_ledger(tmp_path, whole, content):
    made, folder = stopped(tmp_path)
    (folder / "attempts").write_text(content)
    record = run(made).record
    assert record["weights_sha256"] == whole["weights_sha256"] and record["attempts"] == 2


@pytest.mark.parametrize("name", running.FILES)
def test_a_folder_where_a_run_has_a_file_is_answered_before_anything_is_done(tmp_path, name):
    made = experiment(tmp_path)
    folder = run_folder(made.config)
    (folder / name).mkdir(parents=True)
    with pytest.raises(ValueError, match="is a folder where a run has a file") as caught:
        run(made)
    assert "\n" not in str(caught.value) and [path.name for path in folder.iterdir()] == [name]


def zone(root, name, energy, number=0, span=262_143_328_850):
    folder = root / f"intel-rapl:{number}"
    folder.mkdir()
    for file, value in {"name": name, "energy_uj": energy, "max_energy_range_uj": span}.items():
        (folder / file).write_text(f"{value}\n")
    return folder


def test_a_counter_that_steps_back_a_little_adds_nothing(tmp_path):
    folder = zone(tmp_path, "package-0", 5_000_000)
    counter = RaplCounter(folder)
    readings = []
    for value in (6_000_000, 5_999_000, 6_000_500, 7_000_000):
        (folder / "energy_uj").write_text(str(value))
        readings.append(counter.joules())
    assert readings == pytest.approx([1.0, 1.0, 1.0005, 2.0])


def test_a_counter_that_wraps_goes_on_and_one_that_is_reset_is_an_error(tmp_path):
    folder = zone(tmp_path, "package-0", 262_143_000_000)
    counter = RaplCounter(folder)
    (folder / "energy_uj").write_text("1000000")
    assert counter.joules() == pytest.approx(0.328850 + 1.0)
    (folder / "energy_uj").write_text("200000000000")
    counter.joules()
    (folder / "energy_uj").write_text("150000000000")
    with pytest.raises(OSError, match="ran backwards by 50000 J"):
        counter.joules()


def test_two_packages_of_one_name_are_both_counted(tmp_path):
    for number in range(2):
        zone(tmp_path, "package-0", 0, number)
    assert sorted(counters(tmp_path)) == ["package-0 (intel-rapl:0)", "package-0 (intel-rapl:1)"]


def test_another_users_lock_is_no_obstacle(tmp_path, monkeypatch):
    def refuse(path, mode="r"):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.delenv("HUNDREDFOLD_LOCK")
    monkeypatch.setattr(running, "open", refuse, raising=False)
    lock = running.metering_lock()
    assert Path(lock.lock_file) == Path(tempfile.gettempdir()) / f"hundredfold-metered-run-{os.getuid()}.lock"


@pytest.mark.slow
def test_the_fast_core_of_kills_and_faults_is_survived():
    command = [sys.executable, "-m", "tests.reliability", "--scale", "0.1", "--sweeps", "0"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "0 did not survive" in ended.stdout


@pytest.mark.slow
def test_kernels_are_kept_elsewhere_where_neither_source_nor_home_can_be_written(tmp_path):
    code = """
import os
real = os.access
os.access = lambda path, mode, **options: False if mode == os.W_OK else real(path, mode, **options)
import numba
from hundredfold.methods.execution.kernels import cache
print(numba.config.CACHE_DIR)
"""
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"} | {"TMPDIR": str(tmp_path)}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str(tmp_path / f"hundredfold-kernels-{os.getuid()}")
