"""Running qfp beside its slow twin, and comparing all that both say."""

from collections.abc import Sequence
from typing import Any

import naive
from naive import Outcome
from naive_decryptor import NaiveDecryptor
from naive_router import NaiveRouter

from qfp.batch import Batch
from qfp.config import loads
from qfp.decrypt import Decryptor
from qfp.result import CAUSE_WORDS, VERDICT_WORDS, Result
from qfp.router import Router
from qfp.sa import SecurityAssociation

ENGINES = ("native", "openssl")


def compare(result: Result, wanted: Sequence[Outcome]) -> None:
    """Every row and every byte, then the counters (BASE-12)."""
    v = result.verdicts
    assert len(v["frame"]) == len(wanted)
    packets = result.packets.frames()
    sent = 0
    for k, w in enumerate(wanted):
        verdict, cause = VERDICT_WORDS[v["verdict"][k]], CAUSE_WORDS[v["cause"][k]]
        assert (verdict, cause) == (w.verdict, w.cause), (k, (verdict, cause), (w.verdict, w.cause))
        if w.spi is not None and len(w.packets) < 2 and w.verdict in ("forwarded", "consumed"):
            assert (int(v["spi"][k]), int(v["seq"][k])) == (w.spi, w.seq), k
        assert int(v["n_out"][k]) == len(w.packets), (k, int(v["n_out"][k]), len(w.packets))
        assert int(v["first_out"][k]) == (sent if w.packets else -1), k
        for j, packet in enumerate(w.packets):
            got = packets[sent + j]
            assert got == packet, (k, j, got.hex(), packet.hex())
        sent += len(w.packets)
    assert len(packets) == sent
    totals = naive.totals(list(wanted))
    assert {name: result.counters[name] for name in totals} == totals


def sa_counters(sad: Any, handle: int, inbound: bool) -> tuple[int, ...]:
    row = (sad._tables.t.sa_in if inbound else sad._tables.t.sa_out)[handle]
    both = (int(row["packets"]), int(row["bytes"]))
    return (*both, int(row["replays"]), int(row["bad_icv"]), int(row["top"])) if inbound else both


def check_decrypt(sas: Sequence[SecurityAssociation], frames: Sequence[bytes], **options: Any) -> list[Outcome]:
    """The Decryptor against its twin: rows, bytes, counters and the state of every SA."""
    twin = NaiveDecryptor(list(sas))
    wanted = twin.open(list(frames))
    d = Decryptor(sas, **options)
    compare(d.open(Batch.from_frames(frames)), wanted)
    for handle, s in zip(d.handles, twin.states, strict=True):
        assert sa_counters(d.sad, handle, True) == (s.packets, s.bytes, s.replays, s.bad_icv, s.top), handle
    return wanted


class Pair:
    """A router and its twin."""

    def __init__(self, text: str, keys: Sequence[SecurityAssociation] = (), **options: Any):
        config = loads(text)
        config.ipsec.lifetime_seconds = 8 * 10**9  # this twin rekeys nothing: see naive_lifetimes.py
        self.router = Router(config, keys=keys, **options)
        self.twin = NaiveRouter(loads(text), self.router)

    def forward(self, frames: Sequence[bytes], ingress: str, ts: int | Sequence[int] = 0) -> list[bytes]:
        """Run a batch through both, frames at `ts` (ns); returns what was sent."""
        from qfp.engine import zero_counters

        zero_counters(self.router.tables)
        full = self.router.interface(ingress)
        times = [ts] * len(frames) if isinstance(ts, int) else list(ts)
        wanted = self.twin.forward(frames, full, times)
        result = self.router.forward(Batch.from_frames(frames, ts=times), ingress)
        compare(result, wanted)
        self.outcomes = wanted
        for handle, s in self.twin.handles:
            inbound = s.sa.direction == "in"
            own = (s.packets, s.bytes, s.replays, s.bad_icv, s.top) if inbound else (s.packets, s.bytes)
            assert sa_counters(self.router.sad, handle, inbound) == own, (handle, s.sa)
        return result.packets.frames()
