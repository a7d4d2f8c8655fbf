"""A mapped file that becomes shorter while it is read: the fault becomes a mark, and the run ends at a record.

Reading a page of a mapping that its file no longer has is SIGBUS, which ends a process. The handler here, compiled and
without Python, asks whether the address lies in a mapping that `watch` was told of. If so it maps zeros from there to
the mapping's end, notes where, and lets the reader go on; otherwise the action that was there before is taken, so that
a crash stays a crash. Readers ask afterwards, once a vector, up to which byte what they read was the file's (`intact`).
They ask by touching the page behind: as long as it is there, the file is longer, and only on the last page by a system
call. So the zeros with which the kernel fills the page of the new end are never taken for records either.

Linux, 64 bits (layouts of siginfo_t and struct sigaction, glibc and musl). Elsewhere nothing is watched.
"""

import ctypes
import functools
import mmap
import platform
import signal
import sys
import threading
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from qfp_kernels.atomics import fetch_umin, load_acquire, store_release
from qfp_kernels.jit import compile_callback, inlined, kernel, outlined

# a mapping's record: words of 64 bits. G_HIGH = 0: not in use
(
    G_LOW,  # address of its first byte
    G_HIGH,  # address behind its last page
    G_HIT,  # lowest address that was replaced by zeros; -1 = none
    G_SIZE,  # bytes of the file when it was mapped
    G_FD,  # its descriptor, open as long as it is watched
) = range(5)
G_N = 8
MAPPINGS = 1024  # that can be watched at a time

# what the handler knows, behind the address that it gives on request: 64-bit words
_OLD_HANDLER, _OLD_FLAGS, _ARMED, _RECORDS, _COUNT = range(5)
_OLD_ACTION = 8  # the struct sigaction that was there before, from this word on
_STATE_WORDS = 8 + 32

SIGBUS = 7
PAGE = mmap.PAGESIZE
SUPPORTED = (
    sys.platform == "linux" and sys.byteorder == "little" and ctypes.sizeof(ctypes.c_void_p) == 8
    and platform.machine() in ("x86_64", "aarch64") and int(getattr(signal, "SIGBUS", 0)) == SIGBUS
)  # fmt: skip
_SA_SIGINFO, _SA_ONSTACK = 4, 0x08000000
_PROT_READ, _MAP_PRIVATE, _MAP_FIXED, _MAP_ANONYMOUS = 1, 2, 0x10, 0x20
_SEEK_END = 2
_FLAGS_AT = 136  # of struct sigaction: handler 8, mask 128, flags 4, restorer 8
_ACTION_BYTES = 152
_ADDRESS_AT = 16  # of siginfo_t: si_addr; si_code stands at 8

_mmap = types.ExternalFunction(
    "mmap", types.int64(types.int64, types.int64, types.int32, types.int32, types.int32, types.int64)
)
_sigaction = types.ExternalFunction("sigaction", types.int32(types.int32, types.int64, types.int64))
_raise = types.ExternalFunction("raise", types.int32(types.int32))
_lseek = types.ExternalFunction("lseek", types.int64(types.int32, types.int64, types.int32))


# ---------------------------------------------------------------------------------------------- the handler
@intrinsic
def _state(typingctx: Any) -> Any:
    """Address of memory that belongs to the compiled handler: a signal handler is given no pointer of its own."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ir.ArrayType(ir.IntType(64), _STATE_WORDS)
        name = "qfp_fault_state"
        words = builder.module.globals.get(name)
        if words is None:
            words = ir.GlobalVariable(builder.module, kind, name)
            words.linkage = "internal"
            words.initializer = ir.Constant(kind, None)
        return builder.ptrtoint(words, ir.IntType(64))

    return types.int64(), codegen


@intrinsic
def _call_handler(typingctx: Any, address: Any, number: Any, info: Any, context: Any) -> Any:
    """Call a signal handler: one that takes the number alone ignores the rest."""

    def codegen(target: Any, builder: Any, sig: Any, args: Any) -> Any:
        i64 = ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(32), i64, i64])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), [args[1], args[2], args[3]])
        return target.get_dummy_value()

    return types.void(types.int64, types.int32, types.int64, types.int64), codegen


def _on_fault(number, info, context):
    """The handler. With number 0 it is asked for the address of its state."""
    state = _state()
    if number == 0:
        return state
    if np.int32(_word32(info + 8)) > 0:  # raised by the kernel for an access, not by kill
        page = load_acquire(info + _ADDRESS_AT) & ~np.int64(PAGE - 1)
        records = load_acquire(state + 8 * _RECORDS)
        for k in range(load_acquire(state + 8 * _COUNT)):
            at = records + 8 * G_N * k
            high = load_acquire(at + 8 * G_HIGH)
            if load_acquire(at + 8 * G_LOW) <= page and page < high:
                fetch_umin(at + 8 * G_HIT, page)
                flags = np.int32(_MAP_PRIVATE | _MAP_FIXED | _MAP_ANONYMOUS)
                if _mmap(page, high - page, np.int32(_PROT_READ), flags, np.int32(-1), 0) == page:
                    return 0
    _as_before(state, number, info, context)
    return 0


@inlined
def _word32(at):
    return load_acquire(at) & 0xFFFFFFFF


@inlined
def _as_before(state, number, info, context):
    """What would have happened without this handler. It is put in place again, so that nothing can come back here
    (faulthandler restores what it found, and raises the signal again)."""
    if load_acquire(state + 8 * _ARMED) == 0:
        for word in range(8, _STATE_WORDS):
            store_release(state + 8 * word, 0)  # SIG_DFL
        _sigaction(number, state + 8 * _OLD_ACTION, 0)
        _raise(number)
        return
    store_release(state + 8 * _ARMED, 0)
    _sigaction(number, state + 8 * _OLD_ACTION, 0)
    old = load_acquire(state + 8 * _OLD_HANDLER)
    if old > 1:
        _call_handler(old, number, info, context)
    else:  # SIG_DFL or SIG_IGN: an access faults again, a signal that was sent is sent again
        _raise(number)


@functools.cache
def _handler() -> tuple[int, Any]:
    """(address of the compiled handler, its state as int64 words)."""
    address = compile_callback(_on_fault, types.int64(types.int32, types.int64, types.int64)).address
    ask = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int32, ctypes.c_int64, ctypes.c_int64)(address)
    words = (ctypes.c_int64 * _STATE_WORDS).from_address(ask(0, 0, 0))
    state = np.frombuffer(words, np.int64)
    state[_RECORDS], state[_COUNT] = _records.ctypes.data, MAPPINGS
    return address, state


# ------------------------------------------------------------------------------------------------- watching
_records = np.zeros(MAPPINGS * G_N, np.int64)  # lives as long as the process, like the handler
_free = list(range(MAPPINGS))
_lock = threading.Lock()


def _arm() -> None:
    """Make the handler that of the process, unless it is."""
    address, state = _handler()
    sigaction = ctypes.CDLL(None, use_errno=True).sigaction
    now = (ctypes.c_int64 * (_ACTION_BYTES // 8))()
    if sigaction(SIGBUS, None, now) or (now[0] == address and state[_ARMED]):
        return
    mine = (ctypes.c_int64 * (_ACTION_BYTES // 8))()
    mine[0] = address
    ctypes.c_int32.from_buffer(mine, _FLAGS_AT).value = _SA_SIGINFO | _SA_ONSTACK
    if now[0] != address:
        state[_OLD_ACTION : _OLD_ACTION + len(now)] = list(now)
        state[_OLD_HANDLER], state[_OLD_FLAGS] = now[0], ctypes.c_int32.from_buffer(now, _FLAGS_AT).value
    state[_ARMED] = 1
    sigaction(SIGBUS, mine, None)


def watch(low: int, size: int, fd: int) -> int:
    """Watch a mapping of `size` bytes of the file open as `fd`: the address of its record for `intact`; 0 where that
    cannot be done here, or too many are watched."""
    with _lock:
        if not SUPPORTED or not _free:
            return 0
        _arm()
        k = _free.pop()
        row = _records[k * G_N : (k + 1) * G_N]
        row[[G_LOW, G_HIT, G_SIZE, G_FD]] = low, -1, size, fd
        row[G_HIGH] = low + -(-size // PAGE) * PAGE  # last: the handler goes by it
        return int(row.ctypes.data)


def forget(record: int) -> None:
    """The mapping is gone.

    Without the lock: this is called when an object dies, which may be anywhere, also inside `watch` in the same thread.
    The record is this mapping's alone until the last line, which is one step of the interpreter.
    """
    if record:
        k = (record - _records.ctypes.data) // (8 * G_N)
        _records[k * G_N + G_HIGH] = 0  # first: the handler goes by it
        _records[k * G_N : (k + 1) * G_N] = 0
        _free.append(k)


# --------------------------------------------------------------------------------------------------- asking
@outlined
def _limit(record):
    """Bytes of the mapping that are still the file's."""
    size = load_acquire(record + 8 * G_SIZE)
    now = _lseek(np.int32(load_acquire(record + 8 * G_FD)), 0, np.int32(_SEEK_END))
    if 0 <= now < size:
        size = now
    hit = load_acquire(record + 8 * G_HIT)
    return size if hit < 0 else min(size, hit - load_acquire(record + 8 * G_LOW))


@outlined
def intact(record, upto, last):
    """Bytes from the mapping's start that are the file's, for a reader that read up to address `upto`: at least so many
    when all that it read was. last: ask the file itself, whatever the page behind says."""
    page = (upto + PAGE - 1) & ~np.int64(PAGE - 1)
    if last == 0 and page < load_acquire(record + 8 * G_HIGH):
        load_acquire(page)  # a plain load whose value nobody wants would be optimised away
        hit = load_acquire(record + 8 * G_HIT)
        if hit == -1 or hit > page:
            return np.int64(page - load_acquire(record + 8 * G_LOW))
    return _limit(record)


@kernel
def intact_bytes(record, upto):
    """`intact` for Python."""
    return intact(record, upto, np.int64(0))
