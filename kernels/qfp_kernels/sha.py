"""SHA-1 and SHA-256 compression (FIPS 180-4), written once over words with + ^ & | >> and rol.

`compress` runs it over LLVM vectors: the loop unrolls while the kernel compiles, and 16 packets go side by side, one a
32-bit lane. The same source runs on numpy words (`NumpyWord`), which builds the HMAC
pads of thousands of SAs at once and is the kernel's slow twin.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from qfp_kernels.simd import call_ir, lanes_type

SHA1_INIT = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0)
SHA256_INIT = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)


def _cube_root_fractions(count: int) -> list[int]:
    """First 32 bits of the fractional parts of the cube roots of the first primes (FIPS 180-4 section 4.2.2)."""
    primes: list[int] = []
    n = 2
    while len(primes) < count:
        if all(n % q for q in primes):
            primes.append(n)
        n += 1
    out = []
    for q in primes:
        scaled = q << 96  # floor(cbrt(q) * 2^32) is the integer cube root of q * 2^96
        x = 1 << ((scaled.bit_length() + 2) // 3)
        while True:
            y = (2 * x + scaled // (x * x)) // 3
            if y >= x:
                break
            x = y
        out.append(x & 0xFFFFFFFF)
    return out


SHA256_K = _cube_root_fractions(64)


class LaneWord:
    """A vector of 32-bit lanes while a kernel is being compiled."""

    def __init__(self, builder: Any, value: Any):
        self.b, self.v = builder, value

    def _op(self, name: str, other: Any) -> "LaneWord":
        if isinstance(other, int):
            t = self.v.type
            other = LaneWord(self.b, ir.Constant(t, [other & 0xFFFFFFFF] * t.count))
        return LaneWord(self.b, getattr(self.b, name)(self.v, other.v))

    def __add__(self, o: Any) -> "LaneWord":
        return self._op("add", o)

    def __xor__(self, o: Any) -> "LaneWord":
        return self._op("xor", o)

    def __and__(self, o: Any) -> "LaneWord":
        return self._op("and_", o)

    def __or__(self, o: Any) -> "LaneWord":
        return self._op("or_", o)

    def __rshift__(self, k: int) -> "LaneWord":
        return self._op("lshr", k)

    def rol(self, k: int) -> "LaneWord":
        t = self.v.type
        count = ir.Constant(t, [k] * t.count)
        return LaneWord(self.b, call_ir(self.b, f"llvm.fshl.v{t.count}i32", t, [self.v, self.v, count]))


class NumpyWord:
    """The same word as a numpy array of uint32, one element an SA or a message."""

    def __init__(self, value: np.ndarray):
        self.v = value

    @staticmethod
    def _value(o: Any) -> Any:
        return np.uint32(o & 0xFFFFFFFF) if isinstance(o, int) else o.v

    def __add__(self, o: Any) -> "NumpyWord":
        return NumpyWord(self.v + self._value(o))

    def __xor__(self, o: Any) -> "NumpyWord":
        return NumpyWord(self.v ^ self._value(o))

    def __and__(self, o: Any) -> "NumpyWord":
        return NumpyWord(self.v & self._value(o))

    def __or__(self, o: Any) -> "NumpyWord":
        return NumpyWord(self.v | self._value(o))

    def __rshift__(self, k: int) -> "NumpyWord":
        return NumpyWord(self.v >> np.uint32(k))

    def rol(self, k: int) -> "NumpyWord":
        return NumpyWord((self.v << np.uint32(k)) | (self.v >> np.uint32(32 - k)))


def sha1_block(h: list, m: list) -> list:
    """State and 16 message words -> next state (FIPS 180-4 section 6.1.2)."""
    a, b, c, d, e = h
    w = list(m)
    for t in range(80):
        if t >= 16:
            w.append((w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16]).rol(1))
        if t < 20:
            f, k = d ^ (b & (c ^ d)), 0x5A827999
        elif t < 40:
            f, k = b ^ c ^ d, 0x6ED9EBA1
        elif t < 60:
            f, k = (b & c) | (d & (b | c)), 0x8F1BBCDC
        else:
            f, k = b ^ c ^ d, 0xCA62C1D6
        a, b, c, d, e = a.rol(5) + (f + (e + k + w[t])), a, b.rol(30), c, d
    return [x + y for x, y in zip(h, (a, b, c, d, e), strict=True)]


def sha256_block(h: list, m: list) -> list:
    """State and 16 message words -> next state (FIPS 180-4 section 6.2.2)."""
    a, b, c, d, e, f, g, i = h
    w = list(m)
    for t in range(64):
        if t >= 16:
            x, y = w[t - 15], w[t - 2]
            s0 = x.rol(25) ^ x.rol(14) ^ (x >> 3)
            s1 = y.rol(15) ^ y.rol(13) ^ (y >> 10)
            w.append(w[t - 16] + s0 + w[t - 7] + s1)
        t1 = i + SHA256_K[t] + w[t] + (g ^ (e & (f ^ g))) + (e.rol(26) ^ e.rol(21) ^ e.rol(7))
        t2 = (a.rol(30) ^ a.rol(19) ^ a.rol(10)) + ((a & b) | (c & (a | b)))
        a, b, c, d, e, f, g, i = t1 + t2, a, b, c, d + t1, e, f, g
    return [x + y for x, y in zip(h, (a, b, c, d, e, f, g, i), strict=True)]


@intrinsic
def compress(typingctx: Any, h: Any, m: Any) -> Any:
    """16 compressions side by side over UniTuples of v512: SHA-1 for a state of 5 words, SHA-256 for one of 8."""
    block: Callable[..., list] = sha1_block if h.count == 5 else sha256_block

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        def unpack(t: Any, a: Any) -> list:
            lanes = lanes_type(t.dtype.bits, 32)
            return [LaneWord(builder, builder.bitcast(builder.extract_value(a, i), lanes)) for i in range(t.count)]

        out = cgutils.get_null_value(context.get_value_type(h))
        for i, o in enumerate(block(*(unpack(t, a) for t, a in zip(sig.args, args, strict=True)))):
            out = builder.insert_value(out, builder.bitcast(o.v, lanes_type(h.dtype.bits)), i)
        return out

    return h(h, m), codegen


@intrinsic
def outer_message(typingctx: Any, h: Any, one: Any, zero: Any, bits: Any) -> Any:
    """Message of HMAC's outer hash: the inner state, the bit behind it, zeros, the length; words as v512."""
    ret = types.UniTuple(h.dtype, 16)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        state = [builder.extract_value(args[0], i) for i in range(h.count)]
        out = cgutils.get_null_value(context.get_value_type(ret))
        for i, v in enumerate([*state, args[1], *[args[2]] * (14 - h.count), args[3]]):
            out = builder.insert_value(out, v, i)
        return out

    return ret(h, one, zero, bits), codegen


def hmac_pads(keys: np.ndarray, block: Callable[..., list], init: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """States after the inner and the outer pad block (RFC 2104), for many keys at once.

    keys: uint8[n, 64], zero-padded. Returns two uint32[n, words] in host order.
    """
    both = np.concatenate([keys ^ np.uint8(0x36), keys ^ np.uint8(0x5C)])
    words = both.view(">u4").astype(np.uint32)
    h = [NumpyWord(np.full(len(both), v, np.uint32)) for v in init]
    m = [NumpyWord(np.ascontiguousarray(words[:, i])) for i in range(16)]
    state = np.stack([x.v for x in block(h, m)], axis=1)
    return state[: len(keys)], state[len(keys) :]
