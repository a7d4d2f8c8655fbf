"""The crypto engine of a router: compiles the kinds that its SAs need, and runs openssl where a kind asks for it."""

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from qfp.engines import kinds
from qfp.engines.openssl import OpensslContext
from qfp.unpicklable import Unpicklable
from qfp_kernels import features
from qfp_kernels.jit import compile_stage
from qfp_kernels.layout import ST_WORK
from qfp_kernels.seal import KIND_STEPS

STAGE = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
CONTEXTS_MAX = 4096  # openssl contexts kept; more SAs than this are rebuilt as they come
KINDS_MAX = 64


class EngineError(RuntimeError):
    """The engine that was asked for cannot run here, or a crypto step failed in a way that no packet can cause."""


def choose(asked: str | None) -> str:
    """`native` or `openssl`. Raises EngineError when `native` is asked for and the CPU lacks AES instructions."""
    if asked in (None, "auto"):
        return "native" if features.NATIVE else "openssl"
    if asked == "native" and not features.NATIVE:
        raise EngineError("engine 'native' needs AES instructions, which this CPU lacks (use --engine openssl)")
    if asked not in ("native", "openssl"):
        raise EngineError(f"engine {asked!r} is not known (use native or openssl)")
    return str(asked)


class CryptoEngine(Unpicklable):
    """Kinds of one router, and the steps that run in Python.

    `describe(handle)` gives the SecurityAssociation of a table row: openssl contexts are built from it when needed.
    """

    def __init__(self, name: str, tables: Any, describe: Callable[[int], Any]):
        self.name = name
        self._t = tables.t
        self._describe = describe
        self._kinds: dict[tuple[Any, ...], int] = {}
        self._contexts: dict[tuple[int, int], OpensslContext] = {}
        self._workspaces: dict[int, Any] = {}
        self._callbacks: dict[tuple[str, bool], Any] = {}
        self.error: BaseException | None = None

    def attach(self, workspace: Any) -> None:
        """Make a workspace known, so that steps in Python find it by its address."""
        self._workspaces[workspace.address] = workspace

    def kind(self, proto: str, encr: str, key_len: int, integ: str, outbound: bool) -> int:
        """Number of a kind (with its LOCKSTEP bit), compiled and entered into t.seal or t.open at first use."""
        key = (proto, encr, key_len, integ, outbound)
        if key not in self._kinds:
            number = sum(k[4] == outbound for k in self._kinds)
            if number >= KINDS_MAX:
                raise EngineError(f"more than {KINDS_MAX} algorithm combinations in one router")
            stages = kinds.steps(proto, encr, key_len, integ, outbound, self.name == "native")
            table = self._t.seal if outbound else self._t.open
            for k, stage in enumerate(stages):
                table[number * KIND_STEPS + k] = self._address(stage, outbound)
            self._kinds[key] = number | kinds.lockstep(stages)
        return self._kinds[key]

    def _address(self, stage: kinds.Step, outbound: bool) -> int:
        if not isinstance(stage, str):
            return int(compile_stage(stage).address)
        if (stage, outbound) not in self._callbacks:
            body = self._mac if stage == kinds.OPENSSL_MAC else self._seal if outbound else self._open
            self._callbacks[stage, outbound] = STAGE(self._guarded(body))
        return ctypes.cast(self._callbacks[stage, outbound], ctypes.c_void_p).value or 0

    def _guarded(self, body: Callable[[Any, int], None]) -> Callable[[int, int, int], int]:
        """An exception cannot cross compiled frames: keep it for `raise_pending`."""

        def step(p_address: int, _t_address: int, n: int) -> int:
            p = self._workspaces[p_address]
            try:
                first = int(p.st[ST_WORK])
                for i in p.work[first : first + n].tolist():
                    body(p, i)
            except Exception as error:
                self.error = self.error or error
            return n

        return step

    def raise_pending(self) -> None:
        """Raise what a step in Python kept back."""
        if self.error is not None:
            error, self.error = self.error, None
            raise EngineError(f"the openssl engine failed: {type(error).__name__}") from error

    def context(self, handle: int) -> OpensslContext:
        """The openssl context of an SA row, built when first used."""
        key = (handle, int(self._t.sa["generation"][handle]))
        found = self._contexts.get(key)
        if found is None:
            if len(self._contexts) >= CONTEXTS_MAX:
                self._contexts.clear()
            found = self._contexts[key] = OpensslContext(self._describe(handle))
        return found

    def _esp(self, p: Any, i: int) -> tuple[OpensslContext, memoryview, int | None]:
        handle = int(p.c_sa[i])
        row = self._t.sa[handle]
        end = int(p.c_icv[i]) + int(row["icv_len"])
        high = int(p.c_hi[i]) if row["esn"] else None
        return self.context(handle), memoryview(p.arena)[int(p.c_off[i]) : end], high

    def _seal(self, p: Any, i: int) -> None:
        context, packet, high = self._esp(p, i)
        context.esp_seal(packet, high, derive_iv=True)

    def _open(self, p: Any, i: int) -> None:
        context, packet, high = self._esp(p, i)
        p.c_ok[i] = context.esp_open(packet, high)

    def _mac(self, p: Any, i: int) -> None:
        """MAC of the span that mac_input or ah_input prepared (ESN high half included) into the row's `mac`."""
        start, size = int(p.m_off[i]), int(p.m_len[i])
        iv_at = int(p.c_iv[i])
        tag = self.context(int(p.c_sa[i])).tag(
            memoryview(p.arena)[start : start + size], bytes(p.arena[iv_at : iv_at + 8])
        )
        p.mac[64 * i : 64 * i + len(tag)] = np.frombuffer(tag, np.uint8)
