import json
import os
import subprocess
import sys
import types

import filelock
import pytest

from hundredfold.replication.energy import nvml, sources
from hundredfold.replication.energy.ledger import Ledger
from hundredfold.replication.energy.meter import Meter
from hundredfold.replication.energy.sources import Estimate, Rapl, Unavailable, ZeusGpu, choose
from hundredfold.replication.environment import collect
from hundredfold.replication.run import metering_lock


def powercap(root, zones):
    """A fake /sys/class/powercap: zone -> (name, microjoules, range)."""
    for zone, (name, energy, span) in zones.items():
        folder = root / zone
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "name").write_text(name + "\n")
        (folder / "energy_uj").write_text(f"{energy}\n")
        (folder / "max_energy_range_uj").write_text(f"{span}\n")
    return root


MACHINE = {
    "intel-rapl:0": ("package-0", 1_000_000, 10_000_000),
    "intel-rapl:0:0": ("core", 600_000, 10_000_000),
    "intel-rapl:1": ("package-1", 2_000_000, 10_000_000),
    "intel-rapl:2": ("psys", 9_000_000, 10_000_000),
    "intel-rapl-mmio:0": ("package-0", 1_000_000, 10_000_000),
}


def advance(root, zone, energy):
    (root / zone / "energy_uj").write_text(f"{energy}\n")


def test_rapl_counts_packages_once_and_never_psys_or_parts(tmp_path):
    source = Rapl("", root=powercap(tmp_path, MACHINE))
    for zone in MACHINE:
        advance(tmp_path, zone, MACHINE[zone][1] + 500_000)
    assert source.joules() == pytest.approx(1.0)  # 0.5 J of each of two packages
    assert set(source.domains) == {"package-0", "package-1"}


def test_a_wrapped_rapl_counter_goes_on(tmp_path):
    source = Rapl("", root=powercap(tmp_path, {"intel-rapl:0": ("package-0", 9_990_000, 10_000_000)}))
    advance(tmp_path, "intel-rapl:0", 50_000)
    assert source.joules() == pytest.approx(0.06)


def test_rapl_without_packages_or_permission_says_so(tmp_path, monkeypatch):
    with pytest.raises(Unavailable, match="there is no RAPL counter"):
        Rapl("", root=powercap(tmp_path / "a", {"intel-rapl:0": ("psys", 1, 10)}))

    def denied(root):
        raise PermissionError

    monkeypatch.setattr(sources.rapl, "counters", denied)
    with pytest.raises(Unavailable, match="not readable for this user"):
        Rapl("", root=tmp_path)


class FakeGpus:
    """NVML through Zeus: joules per device, in mJ as Zeus gives them."""

    def __init__(self, millijoules, supported=True):
        self.millijoules, self.supported = millijoules, supported

    def supports_get_total_energy_consumption(self, index):
        return self.supported

    def get_total_energy_consumption(self, index):
        return self.millijoules[index]


@pytest.fixture
def fake_gpu(monkeypatch):
    """Makes Zeus and CUDA look present; returns the counters."""
    import torch

    gpus = FakeGpus({0: 5000.0, 1: 9e9})
    monkeypatch.setitem(sys.modules, "zeus.device", types.SimpleNamespace(get_gpus=lambda: gpus))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda index=None: None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return gpus


def test_zeus_meters_exactly_the_gpu_of_the_run(fake_gpu):
    source = choose("auto", "cuda")
    fake_gpu.millijoules[0] += 2500
    fake_gpu.millijoules[1] += 1e6
    assert source.joules() == pytest.approx(2.5)
    assert (source.name, source.evidence, source.domains) == ("zeus-gpu", "measured", ("gpu0",))


def test_a_gpu_without_a_counter_is_unavailable_and_never_zero(fake_gpu):
    fake_gpu.supported = False
    with pytest.raises(ValueError, match="energy.source=zeus-gpu: the GPU"):
        choose("zeus-gpu", "cuda")
    source = choose("auto", "cuda")
    assert source.name == "none" and source.joules() is None and "CPU seconds say nothing about a GPU" in source.reason


@pytest.mark.parametrize(("visible", "device"), [(None, "gpu0"), ("3, 5", "gpu3"), ("1", "gpu1")])
def test_a_gpu_has_a_lock_of_its_own_by_its_number_on_the_machine(fake_gpu, monkeypatch, visible, device):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    source = choose("zeus-gpu", "cuda")
    assert source.shares == device and choose("estimate").shares == ""
    with metering_lock(source.shares).acquire(timeout=0), metering_lock().acquire(timeout=0):
        with pytest.raises(filelock.Timeout):
            metering_lock(device).acquire(timeout=0)


UUIDS = ["GPU-8f2a-1", "GPU-77c0-2", "GPU-8f2b-3"]
PROCESSES = [[], [7], [7, 8, 9, 7]]  # on each; a process with two contexts is listed twice


@pytest.fixture
def named_gpus(fake_gpu, monkeypatch):
    """Three GPUs that the driver knows by name; Zeus numbers them as CUDA_VISIBLE_DEVICES says when it is asked."""
    driver = types.SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: len(UUIDS),
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetUUID=lambda handle: UUIDS[handle],
        nvmlDeviceGetComputeRunningProcesses=lambda gpu: [types.SimpleNamespace(pid=pid) for pid in PROCESSES[gpu]],
        NVMLError=OSError,
    )
    asked = []
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    get_gpus = lambda: asked.append(os.environ.get("CUDA_VISIBLE_DEVICES")) or fake_gpu  # noqa: E731
    monkeypatch.setitem(sys.modules, "zeus.device", types.SimpleNamespace(get_gpus=get_gpus))
    return asked


@pytest.mark.parametrize(
    ("visible", "words"),
    [
        ("", "names no GPU of this machine"),
        ("-1", "names no GPU of this machine"),
        ("GPU-9", "names no GPU of this machine"),
        ("GPU-8f2", "names no GPU of this machine"),  # of two
        ("MIG-1", "names a MIG part, and the counter is that of the whole GPU"),
    ],
)
def test_hidden_or_oddly_named_gpus_are_refused_in_words(named_gpus, monkeypatch, visible, words):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(Unavailable, match=words):
        ZeusGpu("", device="cuda")


@pytest.mark.parametrize(("visible", "others"), [("0", None), ("1", 0), ("GPU-8f2b-3", 2), ("MIG-1", None)])
def test_other_processes_on_the_gpu_of_a_run_are_counted_once_each(named_gpus, monkeypatch, visible, others):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert nvml.others() == others


@pytest.mark.parametrize(("visible", "index"), [("GPU-77c0-2", 1), ("GPU-8f2b", 2)])
def test_a_gpu_is_metered_by_its_uuid(named_gpus, monkeypatch, visible, index):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert choose("zeus-gpu", "cuda").shares == f"gpu{index}"
    assert named_gpus == [str(index)] and os.environ["CUDA_VISIBLE_DEVICES"] == visible


@pytest.mark.parametrize(("change", "words"), [(0.0, "stood still through 10"), (-1000.0, "ran backwards by 1 J")])
def test_a_counter_that_stands_still_or_runs_backwards_has_no_joules(fake_gpu, tmp_path, change, words):
    meter = Meter(choose("zeus-gpu", "cuda"), Ledger(tmp_path / "energy.jsonl"))
    with meter.phase("train"):
        fake_gpu.millijoules[0] += change
    meter._phases["train"][1] += 10.0  # ten seconds of wall time
    meter.close()
    assert meter.totals().training_j is None and words in meter.source.reason
    assert Ledger(tmp_path / "energy.jsonl").earlier[-1]["phases"]["train"][0] >= 0


def test_a_counter_that_vanishes_costs_the_joules_and_not_the_run(tmp_path):
    root = tmp_path / "powercap"
    for domain in ("intel-rapl:0", "intel-rapl:0/intel-rapl:0:0"):
        (root / domain).mkdir(parents=True)
        name = "dram" if domain.endswith(":0:0") else "package-0"
        for file, value in {"name": name, "energy_uj": 1000, "max_energy_range_uj": 10**9}.items():
            (root / domain / file).write_text(f"{value}\n")
    source = Rapl("", root=root)
    assert source.domains == ("package-0", "package-0 dram")
    meter = Meter(source, Ledger(tmp_path / "energy.jsonl"))
    with meter.phase("train"):
        (root / "intel-rapl:0" / "energy_uj").write_text("2000000\n")
        (root / "intel-rapl:0/intel-rapl:0:0" / "energy_uj").write_text("1000000\n")
    assert meter.totals().training_j == pytest.approx(1.999 + 0.999)
    (root / "intel-rapl:0" / "energy_uj").unlink()
    with meter.phase("train"):
        pass
    meter.close()
    totals = meter.totals()
    assert totals.training_j is None and totals.training_s > 0
    assert "rapl could not be read any more" in meter.source.reason


def test_a_package_that_stands_still_beside_one_that_moves_is_noticed(tmp_path):
    root = tmp_path / "powercap"
    for number in range(2):
        (root / f"intel-rapl:{number}").mkdir(parents=True)
        for file, value in {"name": f"package-{number}", "energy_uj": 0, "max_energy_range_uj": 10**9}.items():
            (root / f"intel-rapl:{number}" / file).write_text(f"{value}\n")
    meter = Meter(Rapl("", root=root), Ledger(tmp_path / "energy.jsonl"))
    with meter.phase("train"):
        (root / "intel-rapl:0" / "energy_uj").write_text("2000000\n")
    meter._phases["train"][1] += 10.0
    meter.close()
    assert meter.totals().training_j is None and "rapl: package-1 stood still" in meter.source.reason


def test_auto_on_a_cpu_says_what_was_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(Rapl.__init__, "__defaults__", ("", tmp_path))  # an empty powercap tree
    source = choose("auto", "cpu")
    assert source.name == "estimate" and "no RAPL counter" in source.reason and source.evidence == "estimated"


WRONG = [("joulemeter", "cpu", 10.0), ("estimate", "cpu", 0.0), ("zeus-apple", "cpu", 10.0)]


@pytest.mark.parametrize("arguments", WRONG)
def test_a_wrong_source_is_answered_in_one_sentence(arguments):
    if arguments[0] == "zeus-apple" and sys.platform == "darwin":
        pytest.skip("this is Apple silicon")
    with pytest.raises(ValueError, match="energy\\.") as caught:
        choose(*arguments)
    assert "\n" not in str(caught.value)


def test_the_estimate_counts_this_process_alone():
    source = Estimate("", watts_per_core=10.0)
    before = source.joules()
    subprocess.run([sys.executable, "-c", "sum(range(3 * 10**7))"], check=True)
    assert source.joules() - before < 1.0  # the child burnt seconds, this process did not


def test_the_environment_is_complete_and_tells_no_host_name():
    from hundredfold.replication.environment import collect, machine_id

    facts = collect("cpu", 1, "float32")
    assert facts["versions"]["torch"] and facts["device"] and len(facts["device_key"]) == 12
    assert facts["temperature_c"] is None and facts["device_key"] != collect("cpu", 2, "float32")["device_key"]
    text = json.dumps(facts) + machine_id()
    assert os.uname().nodename not in text or len(os.uname().nodename) < 4


def test_a_part_of_a_gpu_has_a_name_in_the_record_and_no_limits_of_its_own(named_gpus, monkeypatch):
    import torch

    part = types.SimpleNamespace(name="H100 MIG 1g")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: part)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1")
    found = collect("cuda", 1, "bfloat16")
    assert (found["device"], found["power_limit_w"], found["tf32"]) == ("H100 MIG 1g", None, None)
