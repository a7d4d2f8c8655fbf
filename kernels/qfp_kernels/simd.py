"""v128, v256, v512: LLVM vectors as ordinary numba values.

A VecType is an opaque numba type whose data model is one LLVM vector of 64-bit lanes. Every operation is a small
intrinsic that emits one or two instructions, so kernels read like Python and LLVM sees plain SSA vectors; its
register allocator does the rest. (Tuples of uint64 instead were 17 times slower.)

Element-wise operations also take a UniTuple of vectors and apply member by member, broadcasting a single vector
against a tuple: that is how a kernel says "four vectors in flight".

A target intrinsic that the CPU lacks aborts the process, so `_x86` refuses at typing time, and LLVM cannot split a
wide one, so `_x86` splits 512 into 256 into 128 bits by what the target has.
"""

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.errors import TypingError
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

from qfp_kernels import features as F

I1, I8, I32, I64 = (ir.IntType(n) for n in (1, 8, 32, 64))
PTR = ir.PointerType()


class VecType(types.Type):
    def __init__(self, bits):
        self.bits = bits
        super().__init__(name=f"v{bits}")

    @property
    def mangling_args(self):
        return self.name, ()


v128, v256, v512 = VecType(128), VecType(256), VecType(512)


def lanes_type(bits, w=64):
    return ir.VectorType(ir.IntType(w), bits // w)


@register_model(VecType)
class VecModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, lanes_type(fe_type.bits))


# ------------------------------------------------------------------ plumbing
def call_ir(builder, name, retty, args, imm=()):
    """call an LLVM intrinsic; imm = trailing constants (type, value)"""
    args = list(args) + [ir.Constant(t, v) for t, v in imm]
    fnty = ir.FunctionType(retty, [a.type for a in args])
    fn = cgutils.get_or_insert_function(builder.module, fnty, name)
    return builder.call(fn, args)


def _shape(*tys):
    """common shape of arguments: (VecType, n or None)"""
    n, v = None, None
    for t in tys:
        if isinstance(t, types.UniTuple) and isinstance(t.dtype, VecType):
            n = t.count if n is None else n
            assert n == t.count
            v = t.dtype
        elif isinstance(t, VecType):
            v = v or t
        else:
            return None
    return v, n


def elementwise(name, emit):
    """make an @intrinsic with as many vector args as emit takes after (builder, bits)"""
    nargs = emit.__code__.co_argcount - 2

    def build(typingctx, *tys):
        sh = _shape(*tys)
        if sh is None:
            return None
        v, n = sh
        ret = v if n is None else types.UniTuple(v, n)

        def codegen(context, builder, sig, args):
            if n is None:
                return emit(builder, v.bits, *args)
            agg = cgutils.get_null_value(context.get_value_type(ret))
            for i in range(n):
                xs = [builder.extract_value(a, i) if isinstance(t, types.UniTuple) else a
                      for a, t in zip(args, sig.args)]
                agg = builder.insert_value(agg, emit(builder, v.bits, *xs), i)
            return agg
        return ret(*tys), codegen

    ns = {}
    a = ", ".join("abc"[:nargs])
    exec(f"def {name}(typingctx, {a}):\n    return build(typingctx, {a})", {"build": build}, ns)
    fn = ns[name]
    fn.__module__ = __name__
    return intrinsic(fn)


WIDE = {"llvm.x86.aesni": (F.VAES512, F.VAES256), "llvm.x86.pclmul": (F.VAES512, F.VAES256)}


def _need(fmt):
    """a clean typing-time refusal instead of LLVM's abort() of the whole process"""
    if not F.AESNI:
        raise TypingError(f"{fmt} is not available on this target: {F.target()}")


def emit_x86(fmt, w=64, imm=()):
    def emit(builder, bits, *xs):
        _need(fmt)
        # legalise by hand: LLVM cannot split a target intrinsic
        has512, has256 = next((v for k, v in WIDE.items() if fmt.startswith(k)), (False, False))
        step = 512 if has512 else 256 if has256 else 128
        if bits > step:
            k = step // 64
            outs = [emit(builder, step, *[lanes_of(builder, x, list(range(i * k, i * k + k))) for x in xs])
                    for i in range(bits // step)]
            while len(outs) > 1:
                n = outs[0].type.count * 2
                idx = ir.Constant(ir.VectorType(I32, n), [ir.Constant(I32, i) for i in range(n)])
                outs = [builder.shuffle_vector(a, b, idx) for a, b in zip(outs[::2], outs[1::2])]
            return outs[0]
        suffix = {128: "", 256: ".256", 512: ".512"}[bits]
        ty = lanes_type(bits, w)
        xs = [builder.bitcast(x, ty) for x in xs]
        return builder.bitcast(call_ir(builder, fmt + suffix, ty, xs, imm), lanes_type(bits))
    return emit


def _two(fmt, w=64, imm=()):
    e = emit_x86(fmt, w, imm)
    return lambda builder, bits, a, b: e(builder, bits, a, b)


def _one(fmt, w=64, imm=()):
    e = emit_x86(fmt, w, imm)
    return lambda builder, bits, a: e(builder, bits, a)


aesenc = elementwise("aesenc", _two("llvm.x86.aesni.aesenc"))
aesenclast = elementwise("aesenclast", _two("llvm.x86.aesni.aesenclast"))
aesdec = elementwise("aesdec", _two("llvm.x86.aesni.aesdec"))
aesdeclast = elementwise("aesdeclast", _two("llvm.x86.aesni.aesdeclast"))
aesimc = elementwise("aesimc", _one("llvm.x86.aesni.aesimc"))          # v128 only
clmul00 = elementwise("clmul00", _two("llvm.x86.pclmulqdq", imm=((I8, 0x00),)))
clmul01 = elementwise("clmul01", _two("llvm.x86.pclmulqdq", imm=((I8, 0x01),)))
clmul10 = elementwise("clmul10", _two("llvm.x86.pclmulqdq", imm=((I8, 0x10),)))
clmul11 = elementwise("clmul11", _two("llvm.x86.pclmulqdq", imm=((I8, 0x11),)))
xor = elementwise("xor", lambda builder, bits, a, b: builder.xor(a, b))
vand = elementwise("vand", lambda builder, bits, a, b: builder.and_(a, b))


def _arith32(op):
    def emit(builder, bits, a, b):
        t = lanes_type(bits, 32)
        return builder.bitcast(getattr(builder, op)(builder.bitcast(a, t), builder.bitcast(b, t)), lanes_type(bits))
    return emit


add32 = elementwise("add32", _arith32("add"))

_PSHUFB = {128: "llvm.x86.ssse3.pshuf.b.128", 256: "llvm.x86.avx2.pshuf.b", 512: "llvm.x86.avx512.pshuf.b.512"}


def _pshufb(builder, bits, a, b):
    if bits == 512 and not F.AVX512:
        n = 2
        p = [_pshufb(builder, 128, lanes_of(builder, a, [2*i, 2*i+1]), lanes_of(builder, b, [2*i, 2*i+1])) for i in range(4)]
        i4 = ir.Constant(ir.VectorType(I32, 4), [ir.Constant(I32, i) for i in range(4)])
        i8 = ir.Constant(ir.VectorType(I32, 8), [ir.Constant(I32, i) for i in range(8)])
        return builder.shuffle_vector(builder.shuffle_vector(p[0], p[1], i4), builder.shuffle_vector(p[2], p[3], i4), i8)
    t = lanes_type(bits, 8)
    return builder.bitcast(call_ir(builder, _PSHUFB[bits], t, [builder.bitcast(a, t), builder.bitcast(b, t)]), lanes_type(bits))


pshufb = elementwise("pshufb", _pshufb)


def _shuffle(idx_of, w):
    def emit(builder, bits, a):
        t = lanes_type(bits, w)
        idx = ir.Constant(ir.VectorType(I32, bits // w), [ir.Constant(I32, i) for i in idx_of(bits // w)])
        a = builder.bitcast(a, t)
        return builder.bitcast(builder.shuffle_vector(a, ir.Constant(t, ir.Undefined), idx), lanes_type(bits))
    return emit


swap64 = elementwise("swap64", _shuffle(lambda n: [i ^ 1 for i in range(n)], 64))       # vpshufd 0x4e
bswap128 = elementwise("bswap128", _shuffle(lambda n: [(i & ~15) + 15 - (i & 15) for i in range(n)], 8))
bswap32 = elementwise("bswap32", _shuffle(lambda n: [(i & ~3) + 3 - (i & 3) for i in range(n)], 8))

# ------------------------------------------------------------- ^ & operators
@infer_global(operator.xor)
@infer_global(operator.and_)
class VecBin(AbstractTemplate):
    def generic(self, args, kws):
        if len(args) == 2 and isinstance(args[0], VecType) and args[0] == args[1]:
            return signature(args[0], *args)


@lower_builtin(operator.xor, VecType, VecType)
def _(context, builder, sig, args):
    return builder.xor(*args)


@lower_builtin(operator.and_, VecType, VecType)
def _(context, builder, sig, args):
    return builder.and_(*args)


# ------------------------------------------------------------ memory and misc
@intrinsic
def addr(typingctx, arr):
    """address of the first byte of an array"""
    def codegen(context, builder, sig, args):
        a = context.make_array(sig.args[0])(context, builder, args[0])
        return builder.ptrtoint(a.data, I64)
    return types.int64(arr), codegen


def int_to_ptr(builder, a):
    return builder.inttoptr(a, PTR)


def _mk_load(bits):
    T = VecType(bits)

    def load(typingctx, p):
        def codegen(context, builder, sig, args):
            return builder.load(int_to_ptr(builder, args[0]), typ=lanes_type(bits), align=1)
        return T(types.int64), codegen
    load.__name__ = f"load{bits}"
    load.__module__ = __name__
    return intrinsic(load)


load128, load256, load512 = map(_mk_load, (128, 256, 512))


@intrinsic
def store(typingctx, p, v):
    """unaligned store of a vector of any width"""
    def codegen(context, builder, sig, args):
        builder.store(args[1], int_to_ptr(builder, args[0]), align=1)
        return context.get_dummy_value()
    return types.void(types.int64, v), codegen


def _memcpy(builder, dst, src, n):
    fnty = ir.FunctionType(ir.VoidType(), [PTR, PTR, I64, I1])
    fn = cgutils.get_or_insert_function(builder.module, fnty, "llvm.memcpy.p0.p0.i64")
    builder.call(fn, [dst, src, n, ir.Constant(I1, 0)])


def _clamp(builder, n, bits):
    m = ir.Constant(I64, bits // 8)
    return builder.select(builder.icmp_unsigned(">", n, m), m, n)


def _mask(builder, bits, n):
    """low n bytes of a bits-wide vector, n in 0..bits/8"""
    full = builder.icmp_unsigned(">=", n, ir.Constant(I64, 64))
    m = builder.select(full, ir.Constant(I64, -1),
                       builder.sub(builder.shl(ir.Constant(I64, 1), n), ir.Constant(I64, 1)))
    nb = bits // 8
    if nb < 64:
        m = builder.trunc(m, ir.IntType(nb))
    return builder.bitcast(m, ir.VectorType(I1, nb))


def _mk_loadn(bits):
    T = VecType(bits)

    def loadn(typingctx, p, n):
        def codegen(context, builder, sig, args):
            t = lanes_type(bits, 8)
            if not F.AVX512:                       # no byte masks: through the stack
                buf = cgutils.alloca_once(builder, lanes_type(bits))
                builder.store(ir.Constant(lanes_type(bits), None), buf)
                _memcpy(builder, buf, int_to_ptr(builder, args[0]), _clamp(builder, args[1], bits))
                return builder.load(buf, typ=lanes_type(bits))
            m = _mask(builder, bits, args[1])
            z = ir.Constant(t, None)
            r = call_ir(builder, f"llvm.masked.load.v{bits // 8}i8.p0", t,
                        [int_to_ptr(builder, args[0]), ir.Constant(I32, 1), m, z])
            return builder.bitcast(r, lanes_type(bits))
        return T(types.int64, types.int64), codegen
    loadn.__name__ = f"load{bits}n"
    loadn.__module__ = __name__
    return intrinsic(loadn)


load512n, load128n = _mk_loadn(512), _mk_loadn(128)


@intrinsic
def storen(typingctx, p, v, n):
    """store the low n bytes of v"""
    bits = v.bits

    def codegen(context, builder, sig, args):
        t = lanes_type(bits, 8)
        if not F.AVX512:
            buf = cgutils.alloca_once(builder, lanes_type(bits))
            builder.store(args[1], buf)
            _memcpy(builder, int_to_ptr(builder, args[0]), buf, _clamp(builder, args[2], bits))
            return context.get_dummy_value()
        m = _mask(builder, bits, args[2])
        call_ir(builder, f"llvm.masked.store.v{bits // 8}i8.p0", ir.VoidType(),
                [builder.bitcast(args[1], t), int_to_ptr(builder, args[0]), ir.Constant(I32, 1), m])
        return context.get_dummy_value()
    return types.void(types.int64, v, types.int64), codegen


@intrinsic
def keepn(typingctx, v, n):
    """zero all but the low n bytes of v"""
    bits = v.bits

    def codegen(context, builder, sig, args):
        t = lanes_type(bits, 8)
        if not F.AVX512:                           # window into 64 x ff, 64 x 00
            gv = cgutils.global_constant(builder, "keepn", ir.Constant(ir.ArrayType(I8, 128), bytearray([255] * 64 + [0] * 64)))
            q = builder.add(builder.ptrtoint(gv, I64), builder.sub(ir.Constant(I64, 64), _clamp(builder, args[1], bits)))
            return builder.and_(args[0], builder.load(int_to_ptr(builder, q), typ=lanes_type(bits), align=1))
        r = builder.select(_mask(builder, bits, args[1]), builder.bitcast(args[0], t), ir.Constant(t, None))
        return builder.bitcast(r, lanes_type(bits))
    return v(v, types.int64), codegen


def lanes_of(builder, v, idx):
    return builder.shuffle_vector(v, ir.Constant(v.type, ir.Undefined),
                                  ir.Constant(ir.VectorType(I32, len(idx)), [ir.Constant(I32, i) for i in idx]))


@intrinsic
def bcast512(typingctx, v):
    """v128 in all four lanes"""
    def codegen(context, builder, sig, args):
        return lanes_of(builder, args[0], [0, 1] * 4)
    return v512(v128), codegen


@intrinsic
def zext512(typingctx, v):
    def codegen(context, builder, sig, args):
        return builder.shuffle_vector(args[0], ir.Constant(args[0].type, None), ir.Constant(
            ir.VectorType(I32, 8), [ir.Constant(I32, i) for i in (0, 1, 2, 2, 2, 2, 2, 2)]))
    return v512(v128), codegen


@intrinsic
def lane0(typingctx, v):
    def codegen(context, builder, sig, args):
        return lanes_of(builder, args[0], [0, 1])
    return v128(v), codegen


@intrinsic
def setlane0(typingctx, v, x):
    """v512 with lane 0 replaced by v128 x"""
    def codegen(context, builder, sig, args):
        w = lanes_of(builder, args[1], [0, 1, 0, 1, 0, 1, 0, 1])
        idx = ir.Constant(ir.VectorType(I32, 8), [ir.Constant(I32, i) for i in (8, 9, 2, 3, 4, 5, 6, 7)])
        return builder.shuffle_vector(args[0], w, idx)
    return v512(v512, v128), codegen


@intrinsic
def pack512(typingctx, a, b, c, d):
    """four v128 -> v512"""
    def codegen(context, builder, sig, args):
        i8 = lambda *xs: ir.Constant(ir.VectorType(I32, len(xs)), [ir.Constant(I32, i) for i in xs])
        lo = builder.shuffle_vector(args[0], args[1], i8(0, 1, 2, 3))
        hi = builder.shuffle_vector(args[2], args[3], i8(0, 1, 2, 3))
        return builder.shuffle_vector(lo, hi, i8(0, 1, 2, 3, 4, 5, 6, 7))
    return v512(v128, v128, v128, v128), codegen


@intrinsic(prefer_literal=True)
def getlane(typingctx, v, i):
    k = i.literal_value

    def codegen(context, builder, sig, args):
        return lanes_of(builder, args[0], [2 * k, 2 * k + 1])
    return v128(v, i), codegen


@intrinsic
def fold128(typingctx, v):
    """xor of the four 128-bit lanes"""
    def codegen(context, builder, sig, args):
        b = builder
        a = b.xor(lanes_of(b, args[0], [0, 1, 2, 3]), lanes_of(b, args[0], [4, 5, 6, 7]))
        return b.xor(lanes_of(b, a, [0, 1]), lanes_of(b, a, [2, 3]))
    return v128(v512), codegen


@intrinsic
def set128(typingctx, lo, hi):
    def codegen(context, builder, sig, args):
        r = builder.insert_element(ir.Constant(lanes_type(128), ir.Undefined), args[0], ir.Constant(I32, 0))
        return builder.insert_element(r, args[1], ir.Constant(I32, 1))
    return v128(types.uint64, types.uint64), codegen


@intrinsic
def low64(typingctx, v):
    def codegen(context, builder, sig, args):
        return builder.extract_element(args[0], ir.Constant(I32, 0))
    return types.uint64(v), codegen


@intrinsic
def high64(typingctx, v):
    def codegen(context, builder, sig, args):
        return builder.extract_element(args[0], ir.Constant(I32, 1))
    return types.uint64(v), codegen


@intrinsic
def zero512(typingctx):
    def codegen(context, builder, sig, args):
        return ir.Constant(lanes_type(512), None)
    return v512(), codegen


@intrinsic
def zero128(typingctx):
    def codegen(context, builder, sig, args):
        return ir.Constant(lanes_type(128), None)
    return v128(), codegen


def _mk_int(w):
    it = getattr(types, f"uint{w}")

    def ld(typingctx, p):
        def codegen(context, builder, sig, args):
            return builder.load(int_to_ptr(builder, args[0]), typ=ir.IntType(w), align=1)
        return it(types.int64), codegen

    def st(typingctx, p, v):
        def codegen(context, builder, sig, args):
            builder.store(args[1], int_to_ptr(builder, args[0]), align=1)
            return context.get_dummy_value()
        return types.void(types.int64, it), codegen

    def bs(typingctx, v):
        def codegen(context, builder, sig, args):
            return call_ir(builder, f"llvm.bswap.i{w}", ir.IntType(w), args)
        return it(it), codegen
    ld.__name__, st.__name__, bs.__name__ = f"ld{w}", f"st{w}", f"bswap{w}i"
    for f in (ld, st, bs):
        f.__module__ = __name__
    return intrinsic(ld), intrinsic(st), intrinsic(bs)


ld64, st64, bswap64i = _mk_int(64)
ld16, st16, bswap16i = _mk_int(16)
ld32, st32, bswap32i = _mk_int(32)


def _mk_byte():
    def ld8(typingctx, p):
        def codegen(context, builder, sig, args):
            return builder.load(int_to_ptr(builder, args[0]), typ=I8, align=1)
        return types.uint8(types.int64), codegen

    def st8(typingctx, p, v):
        def codegen(context, builder, sig, args):
            builder.store(args[1], int_to_ptr(builder, args[0]), align=1)
            return context.get_dummy_value()
        return types.void(types.int64, types.uint8), codegen

    for f in (ld8, st8):
        f.__module__ = __name__
    return intrinsic(ld8), intrinsic(st8)


ld8, st8 = _mk_byte()


# keep n round keys in a tuple (registers, if the allocator agrees)
@intrinsic(prefer_literal=True)
def bcast_keys(typingctx, p, n):
    """n consecutive 16-byte rows, each broadcast to a v512 -> UniTuple(v512, n)"""
    k = n.literal_value
    ret = types.UniTuple(v512, k)

    def codegen(context, builder, sig, args):
        agg = cgutils.get_null_value(context.get_value_type(ret))
        for i in range(k):
            q = builder.add(args[0], ir.Constant(I64, 16 * i))
            v = builder.load(int_to_ptr(builder, q), typ=lanes_type(128), align=1)
            agg = builder.insert_value(agg, lanes_of(builder, v, [0, 1] * 4), i)
        return agg
    return ret(types.int64, n), codegen


@intrinsic(prefer_literal=True)
def loads512(typingctx, p, n):
    """n consecutive v512 -> UniTuple(v512, n)"""
    k = n.literal_value
    ret = types.UniTuple(v512, k)

    def codegen(context, builder, sig, args):
        agg = cgutils.get_null_value(context.get_value_type(ret))
        for i in range(k):
            q = builder.add(args[0], ir.Constant(I64, 64 * i))
            agg = builder.insert_value(agg, builder.load(int_to_ptr(builder, q), typ=lanes_type(512), align=1), i)
        return agg
    return ret(types.int64, n), codegen


@intrinsic
def stores512(typingctx, p, vs):
    def codegen(context, builder, sig, args):
        for i in range(sig.args[1].count):
            q = builder.add(args[0], ir.Constant(I64, 64 * i))
            builder.store(builder.extract_value(args[1], i), int_to_ptr(builder, q), align=1)
        return context.get_dummy_value()
    return types.void(types.int64, vs), codegen


@intrinsic
def xorall(typingctx, vs):
    """xor of all members of a tuple of vectors"""
    def codegen(context, builder, sig, args):
        n = sig.args[0].count
        r = builder.extract_value(args[0], 0)
        for i in range(1, n):
            r = builder.xor(r, builder.extract_value(args[0], i))
        return r
    return vs.dtype(vs), codegen


@intrinsic
def aes_rounds(typingctx, s, ks):
    """the middle rounds: s is a vector or a tuple of vectors, ks a tuple of
    all round keys (first = whitening key, last = last round key, both unused)"""
    n = s.count if isinstance(s, types.UniTuple) else None

    def codegen(context, builder, sig, args):
        v = s if n is None else s.dtype
        emit = emit_x86("llvm.x86.aesni.aesenc")
        xs = [args[0]] if n is None else [builder.extract_value(args[0], i) for i in range(n)]
        for r in range(1, ks.count - 1):
            k = builder.extract_value(args[1], r)
            xs = [emit(builder, v.bits, x, k) for x in xs]
        if n is None:
            return xs[0]
        agg = cgutils.get_null_value(context.get_value_type(s))
        for i in range(n):
            agg = builder.insert_value(agg, xs[i], i)
        return agg
    return s(s, ks), codegen
