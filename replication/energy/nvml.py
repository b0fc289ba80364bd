"""Which GPU of the machine a run uses, and what its driver says of it; names by number or by UUID alike."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

VISIBLE = "CUDA_VISIBLE_DEVICES"


class Unavailable(ValueError):
    """A source that this machine does not have; the message says why in half a sentence."""


def visible_indices() -> list[int] | None:
    """Numbers on this machine of the GPUs that a program may see, in its order; None where it may see all.

    Raises:
        Unavailable: none, an unknown one, or a part of one, whose joules no counter tells from those of its neighbours.
    """
    text = os.environ.get(VISIBLE)
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if any(name.startswith("MIG") for name in names):
        raise Unavailable(f"{VISIBLE}={text!r} names a MIG part, and the counter is that of the whole GPU")
    if all(name.isdigit() for name in names):
        return [int(name) for name in names]
    known = _uuids() if all(name.startswith("GPU-") for name in names) else []
    found = [[index for index, uuid in enumerate(known) if uuid.startswith(name)] for name in names]
    if not all(len(indices) == 1 for indices in found):
        raise Unavailable(f"{VISIBLE}={text!r} names no GPU of this machine")
    return [indices[0] for indices in found]


@contextlib.contextmanager
def named_by(indices: list[int] | None) -> Iterator[None]:
    """Name the visible GPUs by their numbers meanwhile, which is all that Zeus reads."""
    before = os.environ.get(VISIBLE)
    if indices is not None:
        os.environ[VISIBLE] = ",".join(map(str, indices))
    try:
        yield
    finally:
        if before is not None:
            os.environ[VISIBLE] = before


def facts() -> dict[str, Any]:
    """Name, driver, limits and state of the GPU that this process uses, for the record's environment.

    Of a MIG part, whose limits are those of the whole GPU, the name alone.
    """
    import pynvml
    import torch

    try:
        handle = _handle()
    except Unavailable:
        return {"device": torch.cuda.get_device_properties(0).name}
    return {
        "device": torch.cuda.get_device_properties(0).name,
        "driver": str(pynvml.nvmlSystemGetDriverVersion()),
        "power_limit_w": pynvml.nvmlDeviceGetPowerManagementLimit(handle) / 1e3,
        "clock_mhz": float(pynvml.nvmlDeviceGetMaxClockInfo(handle, pynvml.NVML_CLOCK_SM)),
        "temperature_c": float(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)),
        "throttled": hex(pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle)),
        "cudnn": str(torch.backends.cudnn.version()),
        "tf32": bool(torch.backends.cuda.matmul.allow_tf32),
    }


def others() -> int | None:
    """Other processes on the GPU that this process has used; None where the driver does not list them.

    In a container the driver may name this process by another number; one of those it lists is this one all the same.
    """
    import pynvml

    try:
        found = {process.pid for process in pynvml.nvmlDeviceGetComputeRunningProcesses(_handle())}
    except (Unavailable, pynvml.NVMLError):
        return None
    return len(found) - 1 if found else None


def _handle() -> Any:
    """What NVML calls the GPU that this process uses.

    Raises:
        Unavailable: as `visible_indices`.
    """
    import pynvml

    visible = visible_indices()
    pynvml.nvmlInit()
    return pynvml.nvmlDeviceGetHandleByIndex(0 if visible is None else visible[0])


def _uuids() -> list[str]:
    import pynvml

    pynvml.nvmlInit()
    count = pynvml.nvmlDeviceGetCount()
    return [str(pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(i))) for i in range(count)]
