"""What Numba's loops do not reach: eight numbers side by side, and fetching memory before it is needed.

Rows of weights are padded with zeros to a multiple of eight. A loop over so few numbers would not be vectorised: LLVM
unrolls fourfold and leaves the rest to single steps. A random place in a large table costs 100 ns, but many can be on
their way at once.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.extending import intrinsic

from hundredfold.methods.execution.kernels import cache  # noqa: F401  # first: it decides where code is kept
from hundredfold.methods.execution.kernels.simd import load, plus, scaled_sum, store

LANES = 8
LINE = 64  # bytes that memory hands over at once

SOURCES = sorted(Path(__file__).parent.glob("*.py"))
STAMP = hashlib.sha256(b"".join(path.read_bytes() for path in SOURCES)).hexdigest()


def kernel(**flags):
    """Compile a function at its first call and keep the code on disk.

    No reference counts: kernels allocate nothing, and counting the uses of every array takes half the time of a step.
    The code kept is good for the sources of this whole folder: Numba compares a function's own file alone, though the
    code of functions and constants of other files has become part of it.
    """

    def compiled(function):
        dispatcher = njit(cache=True, error_model="numpy", _nrt=False, **flags)(function)
        dispatcher._cache._cache_file._source_stamp = STAMP
        return dispatcher

    return compiled


inlined = functools.partial(kernel, forceinline=True)


def aligned(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Zeros that begin at a line of memory, so that no slot or row reaches over the edge of one needlessly."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + LINE, np.uint8)
    skip = -raw.ctypes.data % LINE
    return raw[skip : skip + size].view(dtype).reshape(shape)


@intrinsic
def prefetch(typing, array, index):
    """Ask for the line of memory in which the array's row `index` begins; changes nothing."""

    def generate(context, builder, signature, args):
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        fetch = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [pointer] + [number] * 3), "llvm.prefetch.p0i8"
        )
        values = context.make_array(signature.args[0])(context, builder, args[0])
        step = cgutils.unpack_tuple(builder, values.strides)[0]
        place = builder.add(builder.ptrtoint(values.data, step.type), builder.mul(args[1], step))
        hints = [ir.Constant(number, hint) for hint in (0, 3, 1)]  # to read, keep close, data
        builder.call(fetch, [builder.inttoptr(place, pointer), *hints])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


@intrinsic
def float_from_bits(typing, bits):
    """The float32 that an int32 is the pattern of."""
    return types.float32(types.int32), lambda context, builder, signature, args: builder.bitcast(
        args[0], ir.FloatType()
    )


@intrinsic
def times(typing, x, y):
    """The product of two tiles, number by number."""
    return x(x, y), lambda context, builder, signature, args: builder.fmul(*args)


@intrinsic
def total(typing, x):
    """The sum of a tile's numbers, pairs first."""

    def generate(context, builder, signature, args):
        kind = ir.FunctionType(args[0].type.element, [args[0].type.element, args[0].type])
        name = f"llvm.vector.reduce.fadd.v{x.width}f{x.dtype.bitwidth}"
        reduce = cgutils.get_or_insert_function(builder.module, kind, name)
        return builder.call(reduce, [ir.Constant(args[0].type.element, 0.0), args[0]], fastmath=("reassoc",))

    return x.dtype(x), generate


@inlined()
def product(x, weights, offset):
    """The scalar product of x, float32 [M], and weights[offset : offset + M]; M is a multiple of eight."""
    tile = times(load(x, 0, 8), load(weights, offset, 8))
    for j in range(LANES, len(x), LANES):
        tile = plus(tile, times(load(x, j, 8), load(weights, offset + j, 8)))
    return total(tile)


@inlined()
def total_of(x):
    """The sum of x, float32 [M]."""
    tile = load(x, 0, 8)
    for j in range(LANES, len(x), LANES):
        tile = plus(tile, load(x, j, 8))
    return total(tile)


@inlined()
def add(x, scale, weights, offset):
    """weights[offset : offset + M] += scale * x."""
    for j in range(0, len(x), LANES):
        store(weights, offset + j, scaled_sum(scale, load(x, j, 8), load(weights, offset + j, 8)))
