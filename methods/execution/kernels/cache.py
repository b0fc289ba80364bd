"""Where Numba keeps compiled code, decided before any kernel is defined.

Numba keeps it beside the source, or below the home folder. In a container with a random user neither may be writable,
and then it refuses to define a kernel; the folder for temporary files takes their place.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numba


def choose() -> None:
    """Point Numba to a folder that can be written, unless one is chosen already."""
    beside, home = Path(__file__).parent, Path(os.path.expanduser("~"))
    if numba.config.CACHE_DIR or os.access(beside, os.W_OK) or os.access(home, os.W_OK):
        return
    numba.config.CACHE_DIR = str(Path(tempfile.gettempdir()) / f"hundredfold-kernels-{os.getuid()}")


choose()
