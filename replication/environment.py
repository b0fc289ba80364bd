"""What a run ran on: code, versions, device and load, for the record. Unknown is None."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "torch torchvision timm transformers lightning hydra-core zeus wandb numpy pandas scipy scikit-learn".split()
)
ROOT = Path(__file__).resolve().parent.parent
CODE = (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])


def collect(device: str, threads: int, precision: str) -> dict:
    """The `environment` block of a record.

    `device_key` is equal for two runs only if device, driver, power limit, clocks, threads and precision are: a ratio
    of energies between different keys is refused.
    """
    hardware = _gpu() if device.startswith("cuda") else {"device": _cpu()}
    facts = dict.fromkeys(("driver", "power_limit_w", "clock_mhz", "temperature_c")) | hardware
    key = [facts[name] for name in ("device", "driver", "power_limit_w", "clock_mhz")] + [threads, precision]
    return facts | _code() | {
        "device_key": hashlib.sha256(repr(key).encode()).hexdigest()[:12],
        "versions": {name: _version(name) for name in PACKAGES},
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": threads,
        "precision": precision,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


@cache
def machine_id() -> str:
    """8 hex digits, the same for every run on this machine; a hash, so that it tells nothing about it."""
    path = Path("/etc/machine-id")
    identity = path.read_text().strip() if path.exists() else platform.node()
    return hashlib.sha256(f"{identity}/{_cpu()}/{os.cpu_count()}".encode()).hexdigest()[:8]


@cache
def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


@cache
def _cpu() -> str:
    """The processor's own name, as Linux or the platform tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


@cache
def _code() -> dict[str, str | bool | None]:
    """Commit of the code, and whether files that git tracks differ from it; None outside its repository."""
    try:
        commit, status, _ = (
            subprocess.run(["git", "-C", str(ROOT), *command], capture_output=True, text=True, check=True, timeout=20)
            for command in (*CODE, ["ls-files", "--error-unmatch", str(Path(__file__).resolve())])
        )
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "dirty": None}
    return {"commit": commit.stdout.strip(), "dirty": bool(status.stdout.strip())}


def _gpu() -> dict[str, str | float]:
    """Name, driver, power limit, highest clock and temperature of the CUDA device in use."""
    import pynvml
    import torch

    pynvml.nvmlInit()
    properties = torch.cuda.get_device_properties(0)
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    return {
        "device": properties.name,
        "driver": str(pynvml.nvmlSystemGetDriverVersion()),
        "power_limit_w": pynvml.nvmlDeviceGetPowerManagementLimit(handle) / 1e3,
        "clock_mhz": float(pynvml.nvmlDeviceGetMaxClockInfo(handle, pynvml.NVML_CLOCK_SM)),
        "temperature_c": float(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)),
    }
