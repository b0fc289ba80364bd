"""A few numbers side by side as one value inside Numba kernels: LLVM's vector type, which its loops do not reach.

A tile of 64 floats held in a local variable stays in registers (four of AVX-512, sixteen of NEON; LLVM splits it), so
that a kernel reads one row of a matrix and adds a multiple of another to it without touching memory in between. Numba
vectorises loops over arrays only, and an accumulator array would live in memory.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, register_model

INT32 = ir.IntType(32)


class Tile(types.Type):
    """`width` numbers of the type `dtype`."""

    def __init__(self, dtype: types.Type, width: int):
        self.dtype, self.width = dtype, width
        super().__init__(name=f"Tile({dtype}, {width})")


@register_model(Tile)
class _TileModel(models.PrimitiveModel):
    def __init__(self, manager, tile):
        super().__init__(manager, tile, _vector(tile))


def _vector(tile: Tile) -> ir.VectorType:
    return ir.VectorType(ir.FloatType() if tile.dtype == types.float32 else ir.DoubleType(), tile.width)


def _pointer(context, builder, array_type, array, offset, vector):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [offset]), vector.as_pointer())


def _align(instruction, tile: Tile):
    instruction.align = tile.dtype.bitwidth // 8
    return instruction


def _shuffle(builder, left, right, lanes):
    return builder.shuffle_vector(left, right, ir.Constant(ir.VectorType(INT32, len(lanes)), list(lanes)))


def _folded(builder, vector):
    """The lower half of a vector plus its upper half."""
    half = vector.type.count // 2
    lower, upper = (_shuffle(builder, vector, vector, range(start, start + half)) for start in (0, half))
    return builder.fadd(lower, upper)


@intrinsic(prefer_literal=True)
def zeros(typing, array, width):
    """A tile of zeros, of the type of the array's elements."""
    tile = Tile(array.dtype, width.literal_value)
    return tile(array, width), lambda context, builder, signature, args: ir.Constant(_vector(tile), None)


@intrinsic(prefer_literal=True)
def load(typing, array, offset, width):
    """The elements [offset, offset + width) of a flat array."""
    tile = Tile(array.dtype, width.literal_value)

    def generate(context, builder, signature, args):
        pointer = _pointer(context, builder, signature.args[0], args[0], args[1], _vector(tile))
        return _align(builder.load(pointer), tile)

    return tile(array, types.intp, width), generate


@intrinsic
def store(typing, array, offset, tile):
    """Write a tile to the elements from `offset` on."""

    def generate(context, builder, signature, args):
        pointer = _pointer(context, builder, signature.args[0], args[0], args[1], _vector(tile))
        _align(builder.store(args[2], pointer), tile)
        return context.get_dummy_value()

    return types.void(array, types.intp, tile), generate


@intrinsic
def scaled_sum(typing, scale, x, y):
    """The tile scale * x + y, rounded once."""

    def generate(context, builder, signature, args):
        vector = _vector(x)
        undefined = ir.Constant(vector, ir.Undefined)
        first = builder.insert_element(undefined, args[0], ir.Constant(INT32, 0))
        scales = _shuffle(builder, first, undefined, [0] * x.width)
        name = f"llvm.fma.v{x.width}f{x.dtype.bitwidth}"
        fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
        return builder.call(fma, [scales, args[1], args[2]])

    return x(x.dtype, x, y), generate


@intrinsic
def plus(typing, x, y):
    """The sum of two tiles."""
    return x(x, y), lambda context, builder, signature, args: builder.fadd(*args)


@intrinsic
def dot(typing, x, y):
    """The scalar product of two tiles: halves are added until one number is left."""

    def generate(context, builder, signature, args):
        product = builder.fmul(args[0], args[1])
        while product.type.count > 1:
            product = _folded(builder, product)
        return builder.extract_element(product, ir.Constant(INT32, 0))

    return x.dtype(x, y), generate


@intrinsic
def store_dots(typing, out, offset, x, a, b, c, d, add):
    """Write the scalar products of x with four tiles to out[offset : offset + 4], or add them if `add`.

    Four at once share the shuffles that sum within a register: a third faster than one by one.
    """

    def halves(builder, left, right, run):
        """Sum neighbouring runs of lanes of two vectors; the result has the lanes of one."""
        lanes = range(2 * left.type.count)
        low = [i for i in lanes if i // run % 2 == 0]
        return builder.fadd(
            _shuffle(builder, left, right, low), _shuffle(builder, left, right, [i + run for i in low])
        )

    def generate(context, builder, signature, args):
        tiles = []
        for value in args[3:7]:
            product = builder.fmul(args[2], value)
            while product.type.count > 16:
                product = _folded(builder, product)
            tiles.append(product)
        sums = halves(builder, halves(builder, *tiles[:2], 8), halves(builder, *tiles[2:], 8), 4)
        for run in (2, 1):
            low = [i for i in range(sums.type.count) if i // run % 2 == 0]
            sums = builder.fadd(
                _shuffle(builder, sums, sums, low), _shuffle(builder, sums, sums, [i + run for i in low])
            )
        pointer = _pointer(context, builder, signature.args[0], args[0], args[1], sums.type)
        before = _align(builder.load(pointer), x)
        sums = builder.select(args[7], builder.fadd(before, sums), sums)
        _align(builder.store(sums, pointer), x)
        return context.get_dummy_value()

    return types.void(out, types.intp, x, a, b, c, d, types.boolean), generate


@intrinsic
def transpose16(typing, source, source_offset, source_step, target, target_offset, target_step):
    """Write the transpose of 16 x 16 numbers: rows of a flat array begin `step` elements apart.

    Four rounds of shuffles between pairs of registers; a loop over single numbers takes ten times as long.
    """
    tile = Tile(source.dtype, 16)

    def generate(context, builder, signature, args):
        def pointer(array, offset, step, row):
            place = builder.add(args[offset], builder.mul(args[step], ir.Constant(args[step].type, row)))
            return _pointer(context, builder, signature.args[array], args[array], place, _vector(tile))

        rows = [_align(builder.load(pointer(0, 1, 2, row)), tile) for row in range(16)]
        for run in (1, 2, 4, 8):
            for i in range(16):
                if not i & run:
                    upper = [j if not j & run else 16 + j - run for j in range(16)]
                    lower = [j + run if not j & run else 16 + j for j in range(16)]
                    pair = rows[i], rows[i + run]
                    rows[i], rows[i + run] = _shuffle(builder, *pair, upper), _shuffle(builder, *pair, lower)
        for row in range(16):
            _align(builder.store(rows[row], pointer(3, 4, 5, row)), tile)
        return context.get_dummy_value()

    arguments = (source, types.intp, types.intp, target, types.intp, types.intp)
    return types.void(*arguments), generate
