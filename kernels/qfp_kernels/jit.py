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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import config, event
from numba.core.ccallback import CFunc
from numba.core.sigutils import normalize_signature
from numba.extending import intrinsic

from qfp_kernels import compiletime
from qfp_kernels.cache import KernelCache, cache_root, note
from qfp_kernels.layout import CTL_FAILED, FAILED_STAGE, PACKETS_TYPE, TABLES_TYPE
from qfp_kernels.signals import held_signals

HERE = Path(__file__).parent
IMPORT = re.compile(rb"^from qfp_kernels\.(\w+) import", re.M)
OPTIONS: dict[str, Any] = {"boundscheck": False, "error_model": "numpy"}


class _Lock(event.Listener):  # type: ignore[misc]
    """Tells the clock when numba's compiler is held."""

    def on_start(self, event: Any) -> None:
        compiletime.WATCH.enter()

    def on_end(self, event: Any) -> None:
        compiletime.WATCH.leave()


class _Passes(event.Listener):  # type: ignore[misc]
    """Tells of a compilation; loading from the cache has no passes."""

    def on_start(self, event: Any) -> None:
        compiletime.WATCH.compiles()

    def on_end(self, event: Any) -> None:
        pass


event.register("numba:compiler_lock", _Lock())
event.register("numba:run_pass", _Passes())


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


def _folder(fn: Callable[..., Any]) -> str | None:
    """Cache folder of a function's sources; None = nothing is kept."""
    root = cache_root()
    if root is None:
        return None
    path = Path(fn.__code__.co_filename)
    folder = root / f"{path.stem}-{digest(path)}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        note(f"{folder} cannot be made: {error.strerror or type(error).__name__}")
        return None
    return str(folder)


def _cached(made: Any, fn: Callable[..., Any]) -> None:
    """Give what numba makes of a function the cache of its sources, before it is compiled."""
    folder = _folder(fn)
    if folder is None:
        return
    before = config.CACHE_DIR
    config.CACHE_DIR = folder
    try:
        made._cache = KernelCache(fn)
    except (OSError, RuntimeError) as error:  # RuntimeError: numba cannot write there
        note(f"{folder} cannot be used: {error}")
    finally:
        config.CACHE_DIR = before


def _njit(fn: Callable[..., Any], **options: Any) -> Any:
    """numba's function, whose compilation no signal breaks off: LLVM calls back into Python, too."""
    made = njit(nogil=True, **options, **OPTIONS)(fn)
    compile_it = made.compile

    def whole(signature: Any) -> Any:
        with held_signals():
            return compile_it(signature)

    made.compile = whole
    return made


def kernel(fn: Callable[..., Any]) -> Any:
    """A compiled function without the GIL, for use inside stages and from Python."""
    made = _njit(fn)
    _cached(made, fn)
    return made


def inlined(fn: Callable[..., Any]) -> Any:
    """A helper on the usual path of a stage, always inlined: LLVM's own threshold leaves calls of 2 to 5 ns."""
    return _njit(fn, forceinline=True)


def outlined(fn: Callable[..., Any]) -> Any:
    """A helper off the usual path, or too large to be worth copying into its callers."""
    return _njit(fn)


SIGNATURE = types.int64(PACKETS_TYPE, TABLES_TYPE, types.int64)


_PROTOTYPE = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)


class _Callback(CFunc):  # type: ignore[misc]
    """numba's C callback with the cache of this project; `_cached` must come before `compile`."""

    def __init__(self, fn: Callable[..., Any], signature: Any):
        super().__init__(fn, normalize_signature(signature), locals={}, options={"nopython": True, **OPTIONS})
        _cached(self, fn)
        self.compile()


class Compiled:
    """A stage as machine code: `.address` for the driver, and callable from Python with two Columns and a count."""

    def __init__(self, fn: Callable[..., Any]):
        self._cfunc = _Callback(fn, SIGNATURE)
        self.address: int = self._cfunc.address
        self._call = _PROTOTYPE(self.address)

    def __call__(self, p: Any, t: Any, n: int) -> int:
        return self._call(p.address, t.address, n)


@functools.cache
def compile_stage(fn: Callable[..., Any]) -> Compiled:
    """Compile a stage, or take it from the cache on disk. What a signal raises waits until it is whole."""
    with held_signals():
        return Compiled(fn)


@functools.cache
def compile_callback(fn: Callable[..., Any], signature: Any) -> Any:
    """A function that C calls (a signal handler), compiled or from the cache. `.address` is good as long as the process
    lives."""
    with held_signals():
        return _Callback(fn, signature)


class StageError(RuntimeError):
    """A stage of the packet path could not be compiled, or was broken off: the run that needed it has no result."""


class Callbacks:
    """What compiled code calls back in Python.

    No exception crosses a compiled frame: ctypes would print it, answer with what happens to lie there, and go on. So
    compiled code believes what a callback has done, not that it came back: a row whose job is still due, a table
    without the address. It ends the run then (ctl[CTL_FAILED]), and what was raised is kept here for `raise_kept`.
    """

    def __init__(self) -> None:
        self._kept: list[BaseException] = []  # the first one; a callback holds this list, not the object
        self._alive: list[Any] = []  # a callback lives as long as its address may be called

    def address(self, body: Callable[[int, int, int], int]) -> int:
        """Address of a callback that runs `body(p, t, n)` and gives back its answer, -1 when it raised."""

        kept = self._kept

        def step(p: int, t: int, n: int) -> int:
            try:
                return body(p, t, n)
            except BaseException as error:
                kept[:] = kept or [error]
                return -1

        made = _PROTOTYPE(step)
        self._alive.append(made)
        return ctypes.c_void_p.from_buffer(made).value or 0  # `cast` would make it keep itself

    def maker(self, fn: Callable[..., Any], enter: Callable[[int], None]) -> int:
        """Address of a callback that compiles a stage and tells `enter` its address."""

        def body(_p: int, _t: int, _n: int) -> int:
            try:
                enter(compile_stage(fn).address)
            except (OSError, MemoryError):
                raise
            except Exception as error:
                raise StageError(f"stage {fn.__name__!r} could not be compiled ({type(error).__name__})") from error
            return 0

        return self.address(body)

    def raise_kept(self) -> None:
        """Raise what a callback kept back. StageError where nothing was kept: the callback was broken off before its
        first instruction."""
        if not self._kept:
            raise StageError("a step of the packet path was broken off")
        raise self._kept.pop()


@intrinsic
def call(typingctx: Any, address: Any, p: Any, t: Any, n: Any) -> Any:
    """Call the stage at an address."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        i64 = ir.IntType(64)
        fn = builder.inttoptr(args[0], ir.FunctionType(i64, [i64] * 3).as_pointer())
        return builder.call(fn, args[1:])

    return types.int64(types.int64, p, t, types.int64), codegen


@inlined
def made(p, t, table, k, maker):
    """Whether `table[k]` holds the address of a stage. It is compiled now if it is not there yet: most runs never see
    a fragment or an ICMP error."""
    if table[k] == 0:
        call(t.makers[maker], p, t, 0)
        if table[k] == 0:
            t.ctl[CTL_FAILED] = FAILED_STAGE
    return table[k] != 0


@outlined
def run_step(p, t, step, n):
    """Run a step (a STEP_ number) over a row; 0 where the run has failed, and what comes of it goes nowhere."""
    if not made(p, t, t.steps, step, step):
        return np.int64(0)
    return call(t.steps[step], p, t, n)
