"""Sets a process up so that a training step costs what the arithmetic costs, for every arm alike."""

from __future__ import annotations

import ctypes
import logging
import os
import platform

import torch

MALLOC = {-3: 32 << 20, -1: 2**31 - 1, -2: 64 << 20}  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD of glibc


def check_device(device: str, ranks: int = 1, option: str = "trainer.device") -> None:
    """Raise a ValueError unless this machine has the device, and on CUDA one for each of the ranks that it starts.

    Asks without starting CUDA, which no fork survives. The option is the one that asked for the device.
    """
    there = {"cuda": torch.cuda.device_count() > 0, "mps": torch.backends.mps.is_available()}
    if not there.get(device, True):
        instead = option.removesuffix(".device")
        raise ValueError(f"{option}={device}: torch finds none on this machine; use {instead}=cpu")
    if device == "cuda" and torch.cuda.device_count() < ranks:
        raise ValueError(f"trainer.ranks={ranks}: this machine has {torch.cuda.device_count()} GPUs; use fewer ranks")


def prepare(threads: int) -> None:
    """Fix the threads, keep freed memory, ask for CUDA without searching for a driver library, and quiet Lightning.

    Without the second a step pays page faults for every large tensor, since glibc returns buffers of a megabyte to
    the kernel at once. Without the third every step of an optimizer tries to open NVML, because Lightning switches
    PyTorch's check over to it for the sake of processes that fork later; this one has forked already.
    """
    torch.set_num_threads(threads)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in MALLOC.items():
            mallopt(parameter, value)
