"""The same work on many things by all cores, in processes that share nothing with this one."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(function: Callable[[Item], Result], items: Sequence[Item], chunksize: int = 1) -> list[Result]:
    """What a module's function makes of every item, in order; so many items go to a process at once."""
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("forkserver")) as pool:
        return list(pool.map(function, items, chunksize=chunksize))
