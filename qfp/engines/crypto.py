"""The crypto engine of a router: compiles the kinds that its SAs need, and runs openssl where a kind asks for it."""

from collections.abc import Callable
from typing import Any
from weakref import ref

import numpy as np

from qfp.engines import kinds
from qfp.engines.openssl import OpensslContext
from qfp.unpicklable import Unpicklable
from qfp_kernels import features
from qfp_kernels.jit import Callbacks, compile_stage
from qfp_kernels.layout import JOB_DONE, ST_WORK
from qfp_kernels.seal import KIND_STEPS

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
        self.callbacks = Callbacks()
        self._addresses: dict[tuple[str, bool], int] = {}

    @property
    def combinations(self) -> tuple[tuple[Any, ...], ...]:
        """(protocol, cipher, key length, integrity, outbound) of every kind, in the order of their numbers."""
        return tuple(self._kinds)

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
        if (stage, outbound) not in self._addresses:
            kind = type(self)
            body = kind._mac if stage == kinds.OPENSSL_MAC else kind._seal if outbound else kind._open
            self._addresses[stage, outbound] = self.callbacks.address(self._over_work(body))
        return self._addresses[stage, outbound]

    def _over_work(self, body: Callable[["CryptoEngine", Any, int], None]) -> Callable[[int, int, int], int]:
        """A step over the work list; it answers the number of its rows when all of them are done."""
        found = ref(self)  # the callbacks are this object's own

        def step(p_address: int, _t_address: int, n: int) -> int:
            engine = found()
            if engine is None:
                raise ReferenceError("the openssl engine was called after its router had gone")
            p = engine._workspaces[p_address]
            first = int(p.st[ST_WORK])
            try:
                for i in p.work[first : first + n].tolist():
                    body(engine, p, i)
            except (OSError, MemoryError):
                raise
            except Exception as error:
                raise EngineError(f"the openssl engine failed: {type(error).__name__}") from error
            return n

        return step

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
        p.c_ok[i] = JOB_DONE

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
