"""v128, v256, v512: LLVM vectors as ordinary numba values.

A VecType is an opaque numba type whose data model is one LLVM vector of 64-bit lanes. Every operation is a small
intrinsic that emits one or two instructions, so kernels read like Python and LLVM sees plain SSA vectors; its
register allocator does the rest. (Tuples of uint64 instead were 17 times slower.)

Element-wise operations also take a UniTuple of vectors and apply member by member, broadcasting a single vector
against a tuple: that is how a kernel says "four vectors in flight".

A target intrinsic that the CPU lacks aborts the process, so `emit_x86` refuses at typing time, and LLVM cannot split
a wide one, so `emit_x86` splits 512 into 256 into 128 bits by what the target has.

In this file: plumbing; element-wise operations; memory; lanes; scalars. Addresses are int64, loads and stores need no
alignment, byte order is the CPU's (little).
"""

import operator

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.errors import TypingError
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

from qfp_kernels import features as F

I1, I8, I32, I64 = (ir.IntType(n) for n in (1, 8, 32, 64))
PTR = ir.PointerType()


class VecType(types.Type):
    """A vector of `bits` bits."""

    def __init__(self, bits):
        self.bits = bits
        super().__init__(name=f"v{bits}")

    @property
    def mangling_args(self):
        return self.name, ()


v128, v256, v512 = VecType(128), VecType(256), VecType(512)


def lanes_type(bits, width=64):
    """LLVM type of a vector of `bits` bits with lanes of `width` bits."""
    return ir.VectorType(ir.IntType(width), bits // width)


@register_model(VecType)
class VecModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, lanes_type(fe_type.bits))


# ------------------------------------------------------------------------------------------------ plumbing
def call_ir(builder, name, returns, args, imm=()):
    """Call an LLVM intrinsic; imm: trailing constants as (type, value)."""
    args = [*args, *(ir.Constant(t, v) for t, v in imm)]
    fnty = ir.FunctionType(returns, [a.type for a in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, fnty, name), args)


def int_to_ptr(builder, a):
    return builder.inttoptr(a, PTR)


def indices(ks):
    """A constant shuffle mask."""
    ks = list(ks)
    return ir.Constant(ir.VectorType(I32, len(ks)), [ir.Constant(I32, k) for k in ks])


def lanes_of(builder, v, ks):
    """The 64-bit lanes `ks` of a vector, in this order."""
    return builder.shuffle_vector(v, ir.Constant(v.type, ir.Undefined), indices(ks))


def join(builder, a, b):
    """Two vectors of n lanes as one of 2n."""
    return builder.shuffle_vector(a, b, indices(range(2 * a.type.count)))


def named(name, fn):
    """Give a generated intrinsic a name by which numba's cache finds it again."""
    fn.__name__ = name
    fn.__module__ = __name__
    return intrinsic(fn)


def _common(tys):
    """(vector type, tuple length or None) of arguments that are vectors or tuples of them; None for others."""
    count, vector = None, None
    for t in tys:
        if isinstance(t, types.UniTuple) and isinstance(t.dtype, VecType):
            if count not in (None, t.count):
                return None
            count, vector = t.count, t.dtype
        elif isinstance(t, VecType):
            vector = vector or t
        else:
            return None
    return vector, count


def _elementwise(emit):
    """Typing and code of an operation given as emit(builder, bits, *vectors)."""

    def build(typingctx, *tys):
        common = _common(tys)
        if common is None:
            return None
        v, count = common
        ret = v if count is None else types.UniTuple(v, count)

        def codegen(context, builder, sig, args):
            if count is None:
                return emit(builder, v.bits, *args)
            out = cgutils.get_null_value(context.get_value_type(ret))
            for i in range(count):
                xs = [
                    builder.extract_value(a, i) if isinstance(t, types.UniTuple) else a
                    for a, t in zip(args, sig.args, strict=True)
                ]
                out = builder.insert_value(out, emit(builder, v.bits, *xs), i)
            return out

        return ret(*tys), codegen

    return build


def unary(name, emit):
    build = _elementwise(emit)
    return named(name, lambda typingctx, a: build(typingctx, a))


def binary(name, emit):
    build = _elementwise(emit)
    return named(name, lambda typingctx, a, b: build(typingctx, a, b))


# ---------------------------------------------------------------------------------- element-wise operations
def emit_x86(name, width=64, imm=()):
    """Emitter of an x86 AES or carry-less multiply intrinsic at the widest form that the target has."""
    step = 512 if F.VAES512 else 256 if F.VAES256 else 128

    def emit(builder, bits, *xs):
        if not F.AESNI:
            raise TypingError(f"{name} is not available on this target: {F.target()}")
        if bits > step:
            k = step // 64
            parts = [
                emit(builder, step, *(lanes_of(builder, x, range(i * k, i * k + k)) for x in xs))
                for i in range(bits // step)
            ]
            while len(parts) > 1:
                parts = [join(builder, a, b) for a, b in zip(parts[::2], parts[1::2], strict=True)]
            return parts[0]
        suffix = {128: "", 256: ".256", 512: ".512"}[bits]
        lanes = lanes_type(bits, width)
        xs = [builder.bitcast(x, lanes) for x in xs]
        return builder.bitcast(call_ir(builder, name + suffix, lanes, xs, imm), lanes_type(bits))

    return emit


aesenc = binary("aesenc", emit_x86("llvm.x86.aesni.aesenc"))
aesenclast = binary("aesenclast", emit_x86("llvm.x86.aesni.aesenclast"))
aesdeclast = binary("aesdeclast", emit_x86("llvm.x86.aesni.aesdeclast"))
aesimc = unary("aesimc", emit_x86("llvm.x86.aesni.aesimc"))  # v128 only
clmul00, clmul01, clmul10, clmul11 = (
    binary(f"clmul{which:02x}", emit_x86("llvm.x86.pclmulqdq", imm=((I8, which),))) for which in (0, 1, 16, 17)
)
xor = binary("xor", lambda builder, bits, a, b: builder.xor(a, b))

_PSHUFB = {128: "llvm.x86.ssse3.pshuf.b.128", 256: "llvm.x86.avx2.pshuf.b", 512: "llvm.x86.avx512.pshuf.b.512"}


def _pshufb(builder, bits, a, b):
    if bits == 512 and not F.AVX512:
        quarters = [
            _pshufb(builder, 128, *(lanes_of(builder, x, (2 * i, 2 * i + 1)) for x in (a, b))) for i in range(4)
        ]
        return join(builder, join(builder, *quarters[:2]), join(builder, *quarters[2:]))
    t = lanes_type(bits, 8)
    return builder.bitcast(
        call_ir(builder, _PSHUFB[bits], t, [builder.bitcast(a, t), builder.bitcast(b, t)]), lanes_type(bits)
    )


pshufb = binary("pshufb", _pshufb)


def _shuffle(order, width):
    """Emitter of a fixed shuffle: order(n) gives the source of each of n lanes of `width` bits."""

    def emit(builder, bits, a):
        a = builder.bitcast(a, lanes_type(bits, width))
        return builder.bitcast(lanes_of(builder, a, order(bits // width)), lanes_type(bits))

    return emit


swap64 = unary("swap64", _shuffle(lambda n: [i ^ 1 for i in range(n)], 64))
bswap128 = unary("bswap128", _shuffle(lambda n: [(i & ~15) + 15 - (i & 15) for i in range(n)], 8))
bswap32 = unary("bswap32", _shuffle(lambda n: [(i & ~3) + 3 - (i & 3) for i in range(n)], 8))


@infer_global(operator.xor)
@infer_global(operator.and_)
class VecBinary(AbstractTemplate):
    """a ^ b and a & b on vectors of one width."""

    def generic(self, args, kws):
        if len(args) == 2 and isinstance(args[0], VecType) and args[0] == args[1]:
            return signature(args[0], *args)
        return None


@lower_builtin(operator.xor, VecType, VecType)
def _lower_xor(context, builder, sig, args):
    return builder.xor(*args)


@lower_builtin(operator.and_, VecType, VecType)
def _lower_and(context, builder, sig, args):
    return builder.and_(*args)


@intrinsic
def aes_rounds(typingctx, s, ks):
    """The middle rounds: s a vector or a tuple of vectors, ks all round keys (the first and last are not used)."""
    n = s.count if isinstance(s, types.UniTuple) else None

    def codegen(context, builder, sig, args):
        bits = (s if n is None else s.dtype).bits
        emit = emit_x86("llvm.x86.aesni.aesenc")
        xs = [args[0]] if n is None else [builder.extract_value(args[0], i) for i in range(n)]
        for r in range(1, ks.count - 1):
            k = builder.extract_value(args[1], r)
            xs = [emit(builder, bits, x, k) for x in xs]
        if n is None:
            return xs[0]
        out = cgutils.get_null_value(context.get_value_type(s))
        for i in range(n):
            out = builder.insert_value(out, xs[i], i)
        return out

    return s(s, ks), codegen


@intrinsic
def xorall(typingctx, vs):
    """Xor of all members of a tuple of vectors."""

    def codegen(context, builder, sig, args):
        r = builder.extract_value(args[0], 0)
        for i in range(1, sig.args[0].count):
            r = builder.xor(r, builder.extract_value(args[0], i))
        return r

    return vs.dtype(vs), codegen


# -------------------------------------------------------------------------------------------------- memory
def _load(bits):
    vector = VecType(bits)

    def load(typingctx, p):
        def codegen(context, builder, sig, args):
            return builder.load(int_to_ptr(builder, args[0]), typ=lanes_type(bits), align=1)

        return vector(types.int64), codegen

    return named(f"load{bits}", load)


load128, load512 = _load(128), _load(512)


@intrinsic
def store(typingctx, p, v):
    """Store a vector of any width."""

    def codegen(context, builder, sig, args):
        builder.store(args[1], int_to_ptr(builder, args[0]), align=1)
        return context.get_dummy_value()

    return types.void(types.int64, v), codegen


@intrinsic
def prefetch(typingctx, at):
    """Ask for the cache line at an address: never faults, so the address may lie anywhere."""

    def codegen(context, builder, sig, args):
        hint = [(I32, 0), (I32, 3), (I32, 1)]  # read, keep, data
        call_ir(builder, "llvm.prefetch.p0", ir.VoidType(), [int_to_ptr(builder, args[0])], hint)
        return context.get_dummy_value()

    return types.void(types.int64), codegen


def _memcpy(builder, dst, src, n):
    fnty = ir.FunctionType(ir.VoidType(), [PTR, PTR, I64, I1])
    fn = cgutils.get_or_insert_function(builder.module, fnty, "llvm.memcpy.p0.p0.i64")
    builder.call(fn, [dst, src, n, ir.Constant(I1, 0)])


def _at_most(builder, n, bits):
    """min(n, bytes of the vector)"""
    m = ir.Constant(I64, bits // 8)
    return builder.select(builder.icmp_unsigned(">", n, m), m, n)


def _byte_mask(builder, bits, n):
    """One bit a byte, the low n set; n of 64 and more means all."""
    whole = builder.icmp_unsigned(">=", n, ir.Constant(I64, 64))
    one = ir.Constant(I64, 1)
    m = builder.select(whole, ir.Constant(I64, -1), builder.sub(builder.shl(one, n), one))
    count = bits // 8
    if count < 64:
        m = builder.trunc(m, ir.IntType(count))
    return builder.bitcast(m, ir.VectorType(I1, count))


@intrinsic
def load512n(typingctx, p, n):
    """The low n bytes from memory (no other byte is read), the rest zero."""

    def codegen(context, builder, sig, args):
        source = int_to_ptr(builder, args[0])
        if not F.AVX512:  # no byte masks: through the stack
            buffer = cgutils.alloca_once(builder, lanes_type(512))
            builder.store(ir.Constant(lanes_type(512), None), buffer)
            _memcpy(builder, buffer, source, _at_most(builder, args[1], 512))
            return builder.load(buffer, typ=lanes_type(512))
        t = lanes_type(512, 8)
        mask = _byte_mask(builder, 512, args[1])
        zero = ir.Constant(t, None)
        r = call_ir(builder, "llvm.masked.load.v64i8.p0", t, [source, ir.Constant(I32, 1), mask, zero])
        return builder.bitcast(r, lanes_type(512))

    return v512(types.int64, types.int64), codegen


@intrinsic
def storen(typingctx, p, v, n):
    """Store the low n bytes of v; no other byte is written."""
    bits = v.bits

    def codegen(context, builder, sig, args):
        target = int_to_ptr(builder, args[0])
        if not F.AVX512:
            buffer = cgutils.alloca_once(builder, lanes_type(bits))
            builder.store(args[1], buffer)
            _memcpy(builder, target, buffer, _at_most(builder, args[2], bits))
            return context.get_dummy_value()
        value = builder.bitcast(args[1], lanes_type(bits, 8))
        name = f"llvm.masked.store.v{bits // 8}i8.p0"
        mask = _byte_mask(builder, bits, args[2])
        call_ir(builder, name, ir.VoidType(), [value, target, ir.Constant(I32, 1), mask])
        return context.get_dummy_value()

    return types.void(types.int64, v, types.int64), codegen


@intrinsic
def keepn(typingctx, v, n):
    """All but the low n bytes zeroed."""
    bits = v.bits

    def codegen(context, builder, sig, args):
        if not F.AVX512:  # a window into 64 x ff, 64 x 00
            ramp = ir.Constant(ir.ArrayType(I8, 128), bytearray([255] * 64 + [0] * 64))
            at = builder.ptrtoint(cgutils.global_constant(builder, "keepn", ramp), I64)
            at = builder.add(at, builder.sub(ir.Constant(I64, 64), _at_most(builder, args[1], bits)))
            return builder.and_(args[0], builder.load(int_to_ptr(builder, at), typ=lanes_type(bits), align=1))
        t = lanes_type(bits, 8)
        value = builder.bitcast(args[0], t)
        r = builder.select(_byte_mask(builder, bits, args[1]), value, ir.Constant(t, None))
        return builder.bitcast(r, lanes_type(bits))

    return v(v, types.int64), codegen


def _tuple_load(name, bits, emit):
    """An intrinsic (address, literal n) -> UniTuple(v512, n), member i from address + i * bits / 8."""

    def load(typingctx, p, n):
        count = n.literal_value
        ret = types.UniTuple(v512, count)

        def codegen(context, builder, sig, args):
            out = cgutils.get_null_value(context.get_value_type(ret))
            for i in range(count):
                at = int_to_ptr(builder, builder.add(args[0], ir.Constant(I64, bits // 8 * i)))
                out = builder.insert_value(out, emit(builder, builder.load(at, typ=lanes_type(bits), align=1)), i)
            return out

        return ret(types.int64, n), codegen

    load.__name__ = name
    load.__module__ = __name__
    return intrinsic(prefer_literal=True)(load)


loads512 = _tuple_load("loads512", 512, lambda builder, v: v)
# n round keys of 16 bytes, each in all four lanes, kept in registers if the allocator agrees
bcast_keys = _tuple_load("bcast_keys", 128, lambda builder, v: lanes_of(builder, v, (0, 1) * 4))


@intrinsic
def stores512(typingctx, p, vs):
    """Store the members of a tuple one behind the other."""

    def codegen(context, builder, sig, args):
        for i in range(sig.args[1].count):
            at = int_to_ptr(builder, builder.add(args[0], ir.Constant(I64, 64 * i)))
            builder.store(builder.extract_value(args[1], i), at, align=1)
        return context.get_dummy_value()

    return types.void(types.int64, vs), codegen


# --------------------------------------------------------------------------------------------------- lanes
def _from128(name, emit):
    def fn(typingctx, v):
        return v512(v128), lambda context, builder, sig, args: emit(builder, args[0])

    return named(name, fn)


def _to128(name, emit):
    def fn(typingctx, v):
        return v128(v512), lambda context, builder, sig, args: emit(builder, args[0])

    return named(name, fn)


def _fold(builder, v):
    half = builder.xor(lanes_of(builder, v, range(4)), lanes_of(builder, v, range(4, 8)))
    return builder.xor(lanes_of(builder, half, (0, 1)), lanes_of(builder, half, (2, 3)))


bcast512 = _from128("bcast512", lambda builder, v: lanes_of(builder, v, (0, 1) * 4))  # in all four lanes
zext512 = _from128(  # in the first lane, the rest zero
    "zext512", lambda builder, v: builder.shuffle_vector(v, ir.Constant(v.type, None), indices((0, 1, *(2,) * 6)))
)
lane0 = _to128("lane0", lambda builder, v: lanes_of(builder, v, (0, 1)))
fold128 = _to128("fold128", _fold)  # xor of the four lanes


@intrinsic
def setlane0(typingctx, v, x):
    """v512 with its first lane replaced by the v128 x."""

    def codegen(context, builder, sig, args):
        wide = lanes_of(builder, args[1], (0, 1) * 4)
        return builder.shuffle_vector(args[0], wide, indices((8, 9, 2, 3, 4, 5, 6, 7)))

    return v512(v512, v128), codegen


@intrinsic
def set128(typingctx, lo, hi):
    """v128 from two numbers."""

    def codegen(context, builder, sig, args):
        r = builder.insert_element(ir.Constant(lanes_type(128), ir.Undefined), args[0], ir.Constant(I32, 0))
        return builder.insert_element(r, args[1], ir.Constant(I32, 1))

    return v128(types.uint64, types.uint64), codegen


def _word(name, k):
    def fn(typingctx, v):
        def codegen(context, builder, sig, args):
            return builder.extract_element(args[0], ir.Constant(I32, k))

        return types.uint64(v), codegen

    return named(name, fn)


low64, high64 = _word("low64", 0), _word("high64", 1)


def _zero(bits):
    def fn(typingctx):
        return VecType(bits)(), lambda context, builder, sig, args: ir.Constant(lanes_type(bits), None)

    return named(f"zero{bits}", fn)


zero128, zero512 = _zero(128), _zero(512)


# ------------------------------------------------------------------------------------------------- scalars
def _scalar(width):
    """(load, store, byte swap) of an unsigned integer of `width` bits at any address."""
    number, kind = getattr(types, f"uint{width}"), ir.IntType(width)

    def load(typingctx, p):
        def codegen(context, builder, sig, args):
            return builder.load(int_to_ptr(builder, args[0]), typ=kind, align=1)

        return number(types.int64), codegen

    def put(typingctx, p, v):
        def codegen(context, builder, sig, args):
            builder.store(args[1], int_to_ptr(builder, args[0]), align=1)
            return context.get_dummy_value()

        return types.void(types.int64, number), codegen

    def swap(typingctx, v):
        def codegen(context, builder, sig, args):
            return args[0] if width == 8 else call_ir(builder, f"llvm.bswap.i{width}", kind, args)

        return number(number), codegen

    return named(f"ld{width}", load), named(f"st{width}", put), named(f"bswap{width}i", swap)


@intrinsic
def popcount(typingctx, x):
    """Number of ones in a uint64, as int64."""

    def codegen(context, builder, sig, args):
        return call_ir(builder, "llvm.ctpop.i64", I64, args)

    return types.int64(types.uint64), codegen


@intrinsic
def leading_zeros(typingctx, x):
    """Number of zeros above the highest one of a uint64, as int64; 64 for zero."""

    def codegen(context, builder, sig, args):
        return call_ir(builder, "llvm.ctlz.i64", I64, args, [(I1, 0)])

    return types.int64(types.uint64), codegen


ld8, st8, _ = _scalar(8)
ld16, st16, bswap16i = _scalar(16)
ld32, st32, bswap32i = _scalar(32)
ld64, st64, bswap64i = _scalar(64)


@intrinsic
def ctz64(typingctx, v):
    """Number of zero bits below the lowest one; 64 for 0."""

    def codegen(context, builder, sig, args):
        return call_ir(builder, "llvm.cttz.i64", I64, args, ((I1, 0),))

    return types.uint64(types.uint64), codegen
