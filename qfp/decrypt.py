"""Decryption with key files alone: no configuration, no routes, no policy but the selectors of SAs (USE-3).

result = decrypt(read_trace("wire.pcapng"), read_keys("esp_sa"))
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from qfp import fia
from qfp.batch import Batch
from qfp.checkpoint import Held, Kinds
from qfp.control.kept import OF_DECRYPTORS, plane_of, put_plane
from qfp.control.wildcards import Wildcards
from qfp.engine import ALIGN_INBOUND, Engine, MemorySink, Sink
from qfp.engines.crypto import choose
from qfp.result import Result, VerdictStore, collect
from qfp.router import EMITTERS
from qfp.sa import SecurityAssociation
from qfp.saving import Saving, same
from qfp.tables import reassembly
from qfp.tables.interfaces import Interfaces
from qfp.tables.sad import Sad
from qfp.tables.selectors import build
from qfp.tables.store import Tables
from qfp.trace.keyfile_book import Keys
from qfp.trace.source import BatchSource, Source
from qfp.upward import upward
from qfp_kernels.layout import (
    CTL_CUT_VECTOR,
    CTL_IN_IF,
    CTL_KEEP_CLEAR,
    CTL_MODE,
    CTL_NATT,
    CTL_NATT_FROM,
    CTL_UDP_WHOLE,
    MODE_DECRYPT,
    ST_ASK_ROW,
    ST_CUT_VECTOR,
    STAT_IN,
    STOP_SPI,
)

CAPTURE = "capture"
PARTS = ("sad", "wildcards")  # of a decryptor, each with a SAVED


class Decryptor(Saving):
    """Opens whatever the given SAs can open, in capture order.

    sas: inbound SAs (those marked as outbound in a key file serve too: they are the peer's inbound ones); a list from
    `read_keys` brings its SAs with wildcards. window: replay window in packets instead of each SA's own, 0 = no check.
    keep_clear: clear packets are written out as well. selectors: whether SAs carry only what their selectors say, where
    they have some (RFC 4301 section 5.2, step 4).
    """

    KIND = "decryptor"
    plane = None  # key files are all there is

    def __init__(
        self, sas: Sequence[SecurityAssociation], *, window: int | None = None, keep_clear: bool = False,
        selectors: bool = True, engine: str | None = None, threads: int = 1, batch: int = 0,
    ):  # fmt: skip
        patterns = sas.patterns if isinstance(sas, Keys) else ()
        self._given: dict[str, Any] = {"sas": list(sas), "patterns": list(patterns)}
        self._options: dict[str, Any] = {
            "window": window, "keep_clear": keep_clear, "selectors": selectors, "engine": engine, "threads": threads,
            "batch": batch,
        }  # fmt: skip
        self.tables = Tables()
        self.sad = Sad(self.tables, choose(engine))
        self.interfaces = Interfaces(self.tables, [CAPTURE])
        sas = [sa.as_captured() for sa in sas]
        if window is not None:
            sas = [replace(sa, replay_window=window) for sa in sas]
        self.handles = self.sad.add_inbound(sas)
        self.selects = selectors and build(self.tables, sas, self.handles)
        t = self.tables.t
        t.ctl[CTL_MODE], t.ctl[CTL_IN_IF], t.ctl[CTL_KEEP_CLEAR] = MODE_DECRYPT, 0, keep_clear
        self.wildcards = Wildcards(self.tables, self.sad, patterns, window)
        sas += [pattern.sa for pattern in patterns]
        stated = [sa.natt for sa in sas if sa.natt is not None]
        ports = {dport for _, dport in stated if dport}
        if len(ports) == 1 and not any(t.ctl[CTL_NATT] in pair for pair in stated):
            t.ctl[CTL_NATT] = ports.pop()
        t.ctl[CTL_NATT_FROM] = t.ctl[CTL_NATT]  # a capture holds both directions
        t.ctl[CTL_UDP_WHOLE] = any(sa.natt is not None for sa in sas)
        reassembly.build(self.tables)
        self.engine = Engine(self.tables, self.sad, threads, batch)
        self.engine.align(ALIGN_INBOUND)
        self.engine.on_stop = upward(self._on_stop)

    def _facts(self) -> Any:
        return {"given": self._given, "options": self._options, "plane": plane_of(self, PARTS)}

    def kinds(self) -> Kinds:
        """How SAs are told."""
        return OF_DECRYPTORS

    @classmethod
    def made(cls, held: Held) -> "Decryptor":
        """A decryptor of the SAs and the options of a checkpoint."""
        given = held.values(OF_DECRYPTORS, "given")
        return cls(Keys(given["sas"], (), given["patterns"]), **held.values(OF_DECRYPTORS, "options"))

    def _differs(self, held: Held, *path: str) -> None:
        same(held.name, "key file", self._given, held.values(OF_DECRYPTORS, *path, "given"))
        same(held.name, "set of options", self._options, held.values(OF_DECRYPTORS, *path, "options"))

    def _put(self, held: Held, *path: str) -> None:
        put_plane(self, held.values(OF_DECRYPTORS, *path, "plane"), PARTS)
        held.put(self.tables.t)

    def again(self) -> "Decryptor":
        """A decryptor as this one was at first."""
        return Decryptor(Keys(self._given["sas"], (), self._given["patterns"]), **self._options)

    @property
    def is_fresh(self) -> bool:
        """Whether nothing has come yet."""
        return not self.tables.t.stats[STAT_IN] and not self.wildcards.made

    def _on_stop(self, why: int, _handle: int, _value: int, _ts: int) -> None:
        if why == STOP_SPI:
            cut = int(self.tables.t.ctl[CTL_CUT_VECTOR])
            p = next(p for p in self.engine.workspaces if p.st[ST_CUT_VECTOR] == cut)
            self.wildcards.on_stop(p, int(p.st[ST_ASK_ROW]))

    def run(
        self, source: Source, sink: Sink, on_verdicts: Any = None, on_progress: Callable[[int], None] | None = None
    ) -> None:
        """Run a whole source into a sink."""
        self.engine.run(source, self.stages(source.walk, EMITTERS[sink.kind]), sink, on_verdicts, on_progress)

    def stages(self, walk: Any, emitter: Any) -> tuple[fia.Stage, ...]:
        """The FIA between a source's walk and an emitter."""
        return fia.decrypt(walk, emitter, self.selects)

    def open(self, batch: Batch) -> Result:
        """Run a batch in memory."""
        from qfp.explain import Origin

        origin = Origin.now(self)
        sink, store = MemorySink(), VerdictStore()
        source = BatchSource(batch)
        self.run(source, sink, store.add)
        source.complete(self.tables.t)
        return collect(self.tables, self.sad, self.interfaces.names, batch, sink, store, origin)


def decrypt(batch: Batch, sas: Sequence[SecurityAssociation], **options: Any) -> Result:
    """Decrypt the packets of a batch; options as for Decryptor."""
    return Decryptor(sas, **options).open(batch)
