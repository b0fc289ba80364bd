"""The three products of a layer with unstructured weights, on the CPU: only the weights that exist are multiplied.

Legend: T tokens, I inputs, O outputs, C columns of a block, P tokens of a tile. X [T, I], Y [T, O] and their gradients
are ordinary row-major arrays. For each tile they are turned so that one weight meets P consecutive numbers, held in
registers. The weights are stored block by block of C columns and row by row within a block, so that the piece of X that
a block reads, [C, P], stays in the processor's first or second cache. Results do not depend on the number of threads.
Compiled code is kept on disk; sums have a written order, so that fresh code gives the same bits as kept code.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import numba
import numpy as np
import torch
from numba import njit, prange

from hundredfold.methods.execution.kernels import cache  # noqa: F401  # first: it decides where code is kept
from hundredfold.methods.execution.kernels.simd import (
    dot,
    load,
    plus,
    scaled_sum,
    store,
    store_dots,
    transpose16,
    zeros,
)

WIDTHS = (64, 32, 16)  # tokens of a tile, P; the last one is filled up with zeros where tokens are left over
PARALLEL_FROM = 500_000  # multiplications below which a second thread costs more than it brings

# OpenMP first: its threads wait as PyTorch's do, where others sleep and are late.
numba.config.THREADING_LAYER_PRIORITY = ["omp", "tbb", "workqueue"]


@njit(nogil=True, cache=True, inline="never")
def _turn_in(source, features, t, tokens, first, count, target, P):
    """source[t : t + P, first : first + count] -> target [count, P]; tokens beyond the last are zeros."""
    whole = count // 16 * 16 if t + P <= tokens else 0
    for i in range(0, whole, 16):
        for p in range(0, P, 16):
            transpose16(source, (t + p) * features + first + i, features, target, i * P + p, P)
    for i in range(whole, count):
        for p in range(P):
            target[i * P + p] = source[(t + p) * features + first + i] if t + p < tokens else 0


@njit(nogil=True, cache=True, inline="never")
def _turn_out(source, P, target, features, t, tokens, first, count):
    """source [count, P] -> target[t : t + P, first : first + count]."""
    whole = count // 16 * 16 if t + P <= tokens else 0
    for i in range(0, whole, 16):
        for p in range(0, P, 16):
            transpose16(source, i * P + p, P, target, (t + p) * features + first + i, features)
    for p in range(min(P, tokens - t)):
        for i in range(whole, count):
            target[(t + p) * features + first + i] = source[i * P + p]


@functools.cache
def _compiled(product: str, width: int) -> Callable:
    """The kernel of one product for tiles of one width, compiled at its first call or read from the cache."""
    P = width

    @njit(parallel=True, nogil=True, cache=True)
    def forward(start, column, value, x, y, tokens, inputs, size, parts):
        outputs = start.shape[1] - 1
        for part in prange(len(parts)):
            t0, t1, row0, row1 = parts[part]
            buffer = np.empty(size * P, x.dtype)
            total = np.empty((row1 - row0) * P, x.dtype)
            for t in range(t0, t1, P):
                for block in range(start.shape[0]):
                    first = block * size
                    _turn_in(x, inputs, t, tokens, first, min(size, inputs - first), buffer, P)
                    for row in range(row0, row1):
                        begin, end = start[block, row], start[block, row + 1]
                        place = (row - row0) * P
                        if block == 0:
                            y_row = zeros(x, P)
                        elif begin == end:
                            continue
                        else:
                            y_row = load(total, place, P)
                        odd = zeros(x, P)  # two sums hide the latency of each addition
                        pairs = begin + (end - begin) // 2 * 2
                        for k in range(begin, pairs, 2):
                            y_row = scaled_sum(value[k], load(buffer, np.intp(column[k]) * P, P), y_row)
                            odd = scaled_sum(value[k + 1], load(buffer, np.intp(column[k + 1]) * P, P), odd)
                        for k in range(pairs, end):
                            y_row = scaled_sum(value[k], load(buffer, np.intp(column[k]) * P, P), y_row)
                        store(total, place, plus(y_row, odd))
                _turn_out(total, P, y, outputs, t, tokens, row0, row1 - row0)

    @njit(parallel=True, nogil=True, cache=True)
    def input_grad(start, column, value, dy, dx, tokens, inputs, size, parts):
        outputs = start.shape[1] - 1
        for part in prange(len(parts)):
            t0, t1, block0, block1 = parts[part]
            d = np.empty(outputs * P, dy.dtype)
            buffer = np.empty(size * P, dy.dtype)
            for t in range(t0, t1, P):
                _turn_in(dy, outputs, t, tokens, 0, outputs, d, P)
                for block in range(block0, block1):
                    first = block * size
                    here = min(size, inputs - first)
                    for i in range(here):
                        store(buffer, i * P, zeros(dy, P))
                    for row in range(outputs):
                        begin, end = start[block, row], start[block, row + 1]
                        if begin < end:
                            d_row = load(d, row * P, P)
                            for k in range(begin, end):
                                place = np.intp(column[k]) * P
                                store(buffer, place, scaled_sum(value[k], d_row, load(buffer, place, P)))
                    _turn_out(buffer, P, dx, inputs, t, tokens, first, here)

    @njit(parallel=True, nogil=True, cache=True)
    def weight_grad(start, column, grad, dy, x, tokens, inputs, size, parts):
        outputs = start.shape[1] - 1
        for part in prange(len(parts)):
            t0, t1, row0, row1 = parts[part]
            d = np.empty((row1 - row0) * P, dy.dtype)
            buffer = np.empty(size * P, x.dtype)
            for t in range(t0, t1, P):
                _turn_in(dy, outputs, t, tokens, row0, row1 - row0, d, P)
                for block in range(start.shape[0]):
                    first = block * size
                    _turn_in(x, inputs, t, tokens, first, min(size, inputs - first), buffer, P)
                    for row in range(row0, row1):
                        begin, end = start[block, row], start[block, row + 1]
                        if begin == end:
                            continue
                        d_row = load(d, (row - row0) * P, P)
                        fours = begin + (end - begin) // 4 * 4
                        for k in range(begin, fours, 4):
                            store_dots(
                                grad,
                                np.intp(k),
                                d_row,
                                load(buffer, np.intp(column[k]) * P, P),
                                load(buffer, np.intp(column[k + 1]) * P, P),
                                load(buffer, np.intp(column[k + 2]) * P, P),
                                load(buffer, np.intp(column[k + 3]) * P, P),
                                t > 0,
                            )
                        for k in range(fours, end):
                            single = dot(d_row, load(buffer, np.intp(column[k]) * P, P))
                            grad[k] = grad[k] + single if t > 0 else single

    return {"forward": forward, "input_grad": input_grad, "weight_grad": weight_grad}[product]


@functools.cache
def _most_threads() -> int:
    """Start Numba's threads, before any kernel does.

    They may share an OpenMP runtime with PyTorch's, whose number must stay as it was.
    """
    threads = torch.get_num_threads()
    numba.set_num_threads(1)
    torch.set_num_threads(threads)
    return numba.config.NUMBA_NUM_THREADS


def _parts(total: int, threads: int, multiple: int = 1) -> list[tuple[int, int]]:
    """[0, total) in at most `threads` near-equal ranges whose edges are multiples, the last one excepted."""
    inner = {round(total * i / threads / multiple) * multiple for i in range(1, threads)}
    return list(itertools.pairwise(sorted({0, total} | inner)))


def multiply(product: str, start, column, value, left: np.ndarray, right: np.ndarray, inputs: int, size: int) -> None:
    """Run one product over all tokens, tile by tile.

    Args:
        product: forward, input_grad or weight_grad.
        start: int32 [blocks, O + 1]; where the weights of a row begin within a block.
        column: int16 [nnz]; input of each weight, within its block.
        value: [nnz]; read, or written by weight_grad.
        left, right: row-major: X and Y, dY and dX, or dY and X; all are read but Y and dX.
        inputs, size: I, C.
    """
    tokens = left.shape[0]
    most = min(_most_threads(), torch.get_num_threads())
    threads = most if len(column) * tokens > PARALLEL_FROM else 1
    pieces = start.shape[0] if product == "input_grad" else start.shape[1] - 1
    arguments = (start, column, value, left.reshape(-1), right.reshape(-1), tokens, inputs, size)
    done = 0
    for width in WIDTHS:
        stop = tokens if width == WIDTHS[-1] else done + (tokens - done) // width * width
        if stop > done:
            tiles = -(-(stop - done) // width)
            if product != "weight_grad" and (tiles % threads == 0 or tiles > 4 * threads):
                parts = [(done + a, done + b, 0, pieces) for a, b in _parts(stop - done, threads, width)]
            else:
                parts = [(done, stop, a, b) for a, b in _parts(pieces, threads)]
            numba.set_num_threads(len(parts))
            _compiled(product, width)(*arguments, np.array(parts))
            done = stop
