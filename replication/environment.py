"""What a run ran on: code, versions, device and load, for the record. Unknown is None."""

from __future__ import annotations

import ast
import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path

from hundredfold.replication.energy import nvml

PACKAGES = (
    "torch torchvision timm transformers lightning hydra-core zeus wandb numpy pandas scipy scikit-learn".split()
)
ROOT = Path(__file__).resolve().parent.parent
COMPONENTS = {  # of the code -> the files that make it up
    "data": ("replication/datasets", "replication/tokenizer.py"),
    "model": ("replication/models", "replication/pretrained.py"),
    "execution": ("methods/execution", "methods/base.py", "methods/products.py", "methods/topology.py",
                  "methods/views.py"),
    "loop": ("replication/energy", "replication/module.py", "replication/optimizer.py", "replication/process.py",
             "replication/recipe.py", "replication/run.py", "replication/scoring.py", "replication/streams.py",
             "replication/structured.py"),
}  # fmt: skip
GPU = ("driver", "power_limit_w", "clock_mhz", "temperature_c", "throttled", "cudnn", "tf32")  # facts of one
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
CODE = (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])


def collect(device: str, threads: int, precision: str, method: type | None = None) -> dict:
    """The `environment` block of a record; `method` is the class of the run's own.

    `device_key` is equal for two runs only if device, driver, power limit, clocks, threads and precision are: a ratio
    of energies between different keys is refused.
    """
    hardware = nvml.facts() if device.startswith("cuda") else {"device": _cpu()}
    facts = dict.fromkeys(GPU) | hardware
    key = [facts[name] for name in ("device", "driver", "power_limit_w", "clock_mhz")] + [threads, precision]
    code = {name: component(name) for name in COMPONENTS} | ({} if method is None else {"method": _method(method)})
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
        "boot": boot(),
        "code": code,
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
def component(name: str) -> str:
    """8 hex digits that change with the code of a component, but not with its comments and its layout."""
    paths = [ROOT / path for path in COMPONENTS[name]]
    return _hash(file for path in paths for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path]))


@cache
def _method(method: type) -> str:
    """The same of the files in which a method and what it derives from are written, and of the tools of all methods."""
    classes = [sys.modules[each.__module__] for each in method.__mro__ if each.__module__ != "builtins"]
    files = dict.fromkeys(Path(module.__file__) for module in classes if module.__file__)
    return _hash((*files, *sorted((ROOT / "methods" / "tools").rglob("*.py"))))


def _hash(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:]
        digest.update(f"{file.name} {ast.unparse(tree)}".encode())
    return digest.hexdigest()[:8]


@cache
def boot() -> str | None:
    """8 hex digits that change whenever the machine starts; None where it does not tell."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8] if path.exists() else None


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
