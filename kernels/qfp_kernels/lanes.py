"""Sixteen packets side by side: gathers, scatters and blends for the lockstep kernels. Lane = packet."""

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from qfp_kernels.simd import I32, I64, call_ir, emit_x86, int_to_ptr, lanes_of, lanes_type, v512


def _index(*ks: int) -> ir.Constant:
    return ir.Constant(ir.VectorType(I32, len(ks)), [ir.Constant(I32, k) for k in ks])


def _pointer(builder: Any, table: Any, lane: int, offset: Any) -> Any:
    """Address `lane` of a table of int64 addresses, plus an offset."""
    at = int_to_ptr(builder, builder.add(table, ir.Constant(I64, 8 * lane)))
    return int_to_ptr(builder, builder.add(builder.load(at, typ=I64), offset))


def _transpose16(builder: Any, rows: list) -> list:
    """16 x 16 words: four stages of pairwise interleaves (words, pairs, then 128-bit lanes twice)."""

    def shuffle(x: Any, y: Any, ks: list) -> Any:
        return builder.shuffle_vector(x, y, _index(*ks))

    def quads(f: Any) -> list:
        return [x for g in range(4) for x in f(4 * g)]

    lo32, hi32 = quads(lambda g: (g, 16 + g, g + 1, 17 + g)), quads(lambda g: (g + 2, 18 + g, g + 3, 19 + g))
    lo64, hi64 = quads(lambda g: (g, g + 1, 16 + g, 17 + g)), quads(lambda g: (g + 2, g + 3, 18 + g, 19 + g))
    pairs: list = []
    for i in range(0, 16, 2):
        pairs += [shuffle(rows[i], rows[i + 1], lo32), shuffle(rows[i], rows[i + 1], hi32)]
    quad: list = []
    for i in range(0, 16, 4):
        quad += [shuffle(pairs[i], pairs[i + 2], lo64), shuffle(pairs[i], pairs[i + 2], hi64)]
        quad += [shuffle(pairs[i + 1], pairs[i + 3], lo64), shuffle(pairs[i + 1], pairs[i + 3], hi64)]
    # quad[4g + k], 128-bit lane L: column 4L + k of rows 4g .. 4g + 3

    def lanes(a: int, b: int) -> list:
        ks = [k for lane in (a, b) for k in range(4 * lane, 4 * lane + 4)]
        return ks + [16 + k for k in ks]

    out: list = [None] * 16
    for k in range(4):
        a, b, c, d = (quad[4 * g + k] for g in range(4))
        ab02, ab13 = shuffle(a, b, lanes(0, 2)), shuffle(a, b, lanes(1, 3))
        cd02, cd13 = shuffle(c, d, lanes(0, 2)), shuffle(c, d, lanes(1, 3))
        out[k], out[8 + k] = shuffle(ab02, cd02, lanes(0, 2)), shuffle(ab02, cd02, lanes(1, 3))
        out[4 + k], out[12 + k] = shuffle(ab13, cd13, lanes(0, 2)), shuffle(ab13, cd13, lanes(1, 3))
    return out


@intrinsic
def load_words(typingctx, table, offset):
    """64 bytes at each of 16 addresses + offset, big-endian words, transposed: word t of every lane in member t."""
    ret = types.UniTuple(v512, 16)

    def codegen(context, builder, sig, args):
        words = lanes_type(512, 32)
        rows = []
        for lane in range(16):
            v = builder.load(_pointer(builder, args[0], lane, args[1]), typ=words, align=1)
            rows.append(call_ir(builder, "llvm.bswap.v16i32", words, [v]))
        agg = cgutils.get_null_value(context.get_value_type(ret))
        for i, o in enumerate(_transpose16(builder, rows)):
            agg = builder.insert_value(agg, builder.bitcast(o, lanes_type(512)), i)
        return agg

    return ret(types.int64, types.int64), codegen


@intrinsic
def blend_words(typingctx, mask, new, old):
    """Tuples of vectors: lanes of `new` where the 16-bit mask is set, else `old`."""

    def codegen(context, builder, sig, args):
        m = builder.bitcast(builder.trunc(args[0], ir.IntType(16)), ir.VectorType(ir.IntType(1), 16))
        agg = cgutils.get_null_value(context.get_value_type(new))
        for i in range(new.count):
            x, y = (builder.bitcast(builder.extract_value(a, i), lanes_type(512, 32)) for a in args[1:])
            agg = builder.insert_value(agg, builder.bitcast(builder.select(m, x, y), lanes_type(512)), i)
        return agg

    return new(types.int64, new, old), codegen


@intrinsic
def splat_word(typingctx, x):
    """A 32-bit number in all 16 lanes."""

    def codegen(context, builder, sig, args):
        words = lanes_type(512, 32)
        v = builder.insert_element(ir.Constant(words, ir.Undefined), args[0], ir.Constant(I32, 0))
        v = builder.shuffle_vector(v, ir.Constant(words, ir.Undefined), ir.Constant(ir.VectorType(I32, 16), None))
        return builder.bitcast(v, lanes_type(512))

    return v512(types.uint32), codegen


@intrinsic
def gather_blocks(typingctx, table, offset):
    """16 bytes at each of 16 addresses + offset -> four vectors of four lanes."""
    ret = types.UniTuple(v512, 4)

    def codegen(context, builder, sig, args):
        agg = cgutils.get_null_value(context.get_value_type(ret))
        for g in range(4):
            vs = [
                builder.load(_pointer(builder, args[0], 4 * g + i, args[1]), typ=lanes_type(128), align=1)
                for i in range(4)
            ]
            lo = builder.shuffle_vector(vs[0], vs[1], _index(0, 1, 2, 3))
            hi = builder.shuffle_vector(vs[2], vs[3], _index(0, 1, 2, 3))
            agg = builder.insert_value(agg, builder.shuffle_vector(lo, hi, _index(*range(8))), g)
        return agg

    return ret(types.int64, types.int64), codegen


@intrinsic
def scatter_blocks(typingctx, table, offset, vs):
    """The reverse of gather_blocks."""

    def codegen(context, builder, sig, args):
        for g in range(4):
            v = builder.extract_value(args[2], g)
            for i in range(4):
                at = _pointer(builder, args[0], 4 * g + i, args[1])
                builder.store(lanes_of(builder, v, [2 * i, 2 * i + 1]), at, align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, vs), codegen


@intrinsic(prefer_literal=True)
def encrypt_lanes(typingctx, s, keys_at, rounds):
    """AES of 16 blocks, each lane under its own key: schedules lie transposed at keys_at, [round][4] vectors."""
    last_round = rounds.literal_value

    def codegen(context, builder, sig, args):
        xs = [builder.extract_value(args[0], i) for i in range(4)]
        middle, last = emit_x86("llvm.x86.aesni.aesenc"), emit_x86("llvm.x86.aesni.aesenclast")
        for r in range(last_round + 1):
            for i in range(4):
                at = int_to_ptr(builder, builder.add(args[1], ir.Constant(I64, 64 * (4 * r + i))))
                key = builder.load(at, typ=lanes_type(512), align=64)
                if r == 0:
                    xs[i] = builder.xor(xs[i], key)
                else:
                    xs[i] = (middle if r < last_round else last)(builder, 512, xs[i], key)
        agg = cgutils.get_null_value(context.get_value_type(s))
        for i in range(4):
            agg = builder.insert_value(agg, xs[i], i)
        return agg

    return s(s, types.int64, rounds), codegen


@intrinsic
def shift_in(typingctx, v, carry):
    """The vector shifted by one 128-bit lane: (last lane of carry, lanes 0 .. 2 of v): CBC's previous blocks."""

    def codegen(context, builder, sig, args):
        return builder.shuffle_vector(args[1], args[0], _index(6, 7, 8, 9, 10, 11, 12, 13))

    return v512(v512, v512), codegen


@intrinsic
def decrypt_rounds(typingctx, s, ks):
    """Middle rounds of the equivalent inverse cipher: s a vector or a tuple of vectors, ks all round keys."""
    n = s.count if isinstance(s, types.UniTuple) else None

    def codegen(context, builder, sig, args):
        emit = emit_x86("llvm.x86.aesni.aesdec")
        xs = [args[0]] if n is None else [builder.extract_value(args[0], i) for i in range(n)]
        for r in range(1, ks.count - 1):
            k = builder.extract_value(args[1], r)
            xs = [emit(builder, 512, x, k) for x in xs]
        if n is None:
            return xs[0]
        agg = cgutils.get_null_value(context.get_value_type(s))
        for i in range(n):
            agg = builder.insert_value(agg, xs[i], i)
        return agg

    return s(s, ks), codegen
