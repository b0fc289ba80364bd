"""The same work on many things by all cores, in processes that share nothing with this one."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(function: Callable[[Item], Result], items: Sequence[Item], chunksize: int = 1) -> list[Result]:
    """What a module's function makes of every item, in order; so many items go to a process at once."""
    with beside(function, items, chunksize) as results:
        return results()


@contextlib.contextmanager
def beside(
    function: Callable[[Item], Result], items: Sequence[Item], chunksize: int = 1
) -> Iterator[Callable[[], list[Result]]]:
    """The same while the block does something else; what is given waits for the results."""
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("forkserver")) as pool:
        results = pool.map(function, items, chunksize=chunksize)
        yield lambda: list(results)
