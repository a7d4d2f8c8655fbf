"""Which instructions kernels may use: what numba will really compile for, not what the host has.

A target intrinsic that the compile target lacks makes LLVM abort the process, so every user of one asks here
first. NUMBA_CPU_NAME and NUMBA_CPU_FEATURES are honoured, because numba's own answer is read.
"""

from numba.core.registry import cpu_target


def target() -> tuple[str, str, str]:
    """(triple, cpu name, feature string such as "+aes,-sha") that numba compiles for."""
    return cpu_target.target_context.codegen().magic_tuple()


_FEATURES = frozenset(target()[2].split(","))


def have(*names: str) -> bool:
    """True when every named LLVM feature is enabled."""
    return all("+" + n in _FEATURES for n in names)


X86 = target()[0].startswith(("x86_64", "i686", "i386"))
AESNI = X86 and have("aes", "pclmul", "ssse3")
VAES256 = AESNI and have("vaes", "vpclmulqdq", "avx2")
AVX512 = X86 and have("avx512f", "avx512bw", "avx512vl", "bmi2")
VAES512 = VAES256 and AVX512

NATIVE = AESNI  # the native crypto engine needs AES rounds and carry-less multiply


def describe() -> str:
    """One word for `show crypto engine brief` and the bench's history."""
    if VAES512:
        return "VAES/AVX-512"
    if VAES256:
        return "VAES-256"
    if AESNI:
        return "AES-NI"
    return "none"
