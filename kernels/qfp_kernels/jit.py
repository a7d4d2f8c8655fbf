"""The one decorator, and the only place with compile policy.

`kernel` compiles a helper that other kernels call (inlined by LLVM). `stage` compiles a function
`(p, t, n) -> n'` into an address that the driver calls; each compiles alone in 0.1 to 0.3 s and is cached on disk.
Cache folders carry a digest of the function's source file and of every kernel file that it imports: numba itself
notices edits of the file only, and a stale kernel is worse than a slow start.
"""

import ctypes
import functools
import hashlib
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from llvmlite import ir
from numba import cfunc, njit, types
from numba.core import config
from numba.extending import intrinsic

from qfp_kernels.layout import PACKETS_TYPE, TABLES_TYPE

HERE = Path(__file__).parent
IMPORT = re.compile(rb"^from qfp_kernels\.(\w+) import", re.M)
OPTIONS: dict[str, Any] = {"boundscheck": False, "error_model": "numpy"}


@functools.cache
def _source(path: Path) -> tuple[bytes, tuple[Path, ...]]:
    """Text of a source file and the kernel files that it imports itself."""
    text = path.read_bytes()
    names = {m.decode() for m in IMPORT.findall(text)}
    return text, tuple(sorted(f for f in (HERE / f"{name}.py" for name in names) if f.exists()))


@functools.cache
def imports_of(path: Path) -> frozenset[Path]:
    """The kernel source files that `path` imports, directly or not, itself included."""
    seen, queue = {path}, [path]
    while queue:
        for found in _source(queue.pop())[1]:
            if found not in seen:
                seen.add(found)
                queue.append(found)
    return frozenset(seen)


@functools.cache
def digest(path: Path) -> str:
    """Twelve hex digits over the sources that a kernel in `path` is compiled from, and this numba."""
    h = hashlib.sha256(f"{numba.__version__} {os.environ.get('QFP_BOUNDS', '')}".encode())
    for source in sorted(imports_of(path)):
        h.update(_source(source)[0])
    return h.hexdigest()[:12]


@functools.cache
def cache_root() -> Path | None:
    """Where compiled kernels are kept: QFP_CACHE_DIR, else the user's cache folder, else the temporary folder."""
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "qfp"
    places = [Path(tempfile.gettempdir()) / f"qfp-{os.getuid() if hasattr(os, 'getuid') else 'cache'}"]
    places.insert(0, Path(os.environ["QFP_CACHE_DIR"]) if "QFP_CACHE_DIR" in os.environ else user)
    for place in places:
        try:
            place.mkdir(parents=True, exist_ok=True)
            if os.access(place, os.W_OK):
                return place
        except OSError:
            continue
    return None


def _cached(decorate: Callable[..., Any], fn: Callable[..., Any]) -> Any:
    """Run a numba decorator with the cache folder of this function's sources."""
    root = cache_root()
    if root is None:
        return decorate(cache=False)(fn)
    path = Path(fn.__code__.co_filename)
    before = config.CACHE_DIR
    config.CACHE_DIR = str(root / f"{path.stem}-{digest(path)}")
    try:
        return decorate(cache=True)(fn)
    finally:
        config.CACHE_DIR = before


def kernel(fn: Callable[..., Any]) -> Any:
    """A compiled function without the GIL, for use inside stages and from Python."""
    return _cached(functools.partial(njit, nogil=True, **OPTIONS), fn)


def inlined(fn: Callable[..., Any]) -> Any:
    """A helper on the usual path of a stage, always inlined: LLVM's own threshold leaves calls of 2 to 5 ns."""
    return njit(nogil=True, forceinline=True, **OPTIONS)(fn)


def outlined(fn: Callable[..., Any]) -> Any:
    """A helper off the usual path, or too large to be worth copying into its callers."""
    return njit(nogil=True, **OPTIONS)(fn)


SIGNATURE = types.int64(PACKETS_TYPE, TABLES_TYPE, types.int64)


_PROTOTYPE = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)


class Compiled:
    """A stage as machine code: `.address` for the driver, and callable from Python with two Columns and a count."""

    def __init__(self, fn: Callable[..., Any]):
        self._cfunc = _cached(functools.partial(cfunc, SIGNATURE, nopython=True, **OPTIONS), fn)
        self.address: int = self._cfunc.address
        self._call = _PROTOTYPE(self.address)

    def __call__(self, p: Any, t: Any, n: int) -> int:
        return self._call(p.address, t.address, n)


@functools.cache
def compile_stage(fn: Callable[..., Any]) -> Compiled:
    """Compile a stage, or take it from the cache on disk."""
    return Compiled(fn)


@functools.cache
def _callback(fn: Callable[..., Any], signature: Any) -> Any:
    return _cached(functools.partial(cfunc, signature, nopython=True, **OPTIONS), fn)


def compile_callback(fn: Callable[..., Any], signature: Any) -> int:
    """Address of a function that C calls (a signal handler), compiled or from the cache; it lives as long as the
    process."""
    return int(_callback(fn, signature).address)


class Deferred:
    """A stage that is compiled when it is first called: most runs never see a fragment or an ICMP error.

    `.address` is that of a callback, which compiles, tells `ready` the address to call from then on, and calls it.
    """

    def __init__(self, fn: Callable[..., Any], ready: Callable[[int], None]):
        def first_call(p: int, t: int, n: int) -> int:
            compiled = compile_stage(fn)
            ready(compiled.address)
            return compiled._call(p, t, n)

        self._callback = _PROTOTYPE(first_call)  # lives as long as its address may be called
        self.address: int = ctypes.cast(self._callback, ctypes.c_void_p).value or 0


@intrinsic
def call(typingctx: Any, address: Any, p: Any, t: Any, n: Any) -> Any:
    """Call the stage at an address."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        i64 = ir.IntType(64)
        fn = builder.inttoptr(args[0], ir.FunctionType(i64, [i64] * 3).as_pointer())
        return builder.call(fn, args[1:])

    return types.int64(types.int64, p, t, types.int64), codegen
