"""qfp's side: packets through the whole data path, with one SA that takes everything.

Sealing runs a router's FIA from the parser to the output block (policy, route, forwarding, numbering, encapsulation,
crypto); opening runs that of key-file decryption.
"""

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from qfp import fia
from qfp.batch import Batch
from qfp.decrypt import Decryptor
from qfp.engine import ALIGN_OUTBOUND, Engine, MemorySink
from qfp.engines.crypto import choose
from qfp.result import CAUSE_WORDS, VERDICT_WORDS, Result, VerdictStore, collect
from qfp.router import EMITTERS
from qfp.sa import SecurityAssociation
from qfp.tables import fib, reassembly, spd
from qfp.tables.interfaces import Interfaces
from qfp.tables.route import Route
from qfp.tables.sad import Sad
from qfp.tables.spd import Policies, Rule
from qfp.tables.store import Tables
from qfp.trace.source import BatchSource
from qfp_kernels.layout import CTL_IN_IF, CTL_MODE, MODE_ROUTER

ANY = (0, 0)
INSIDE, OUTSIDE = 0, 1
DEFAULT_ROUTES = (Route(IPv4Network("0.0.0.0/0"), OUTSIDE), Route(IPv6Network("::/0"), OUTSIDE))
Outcome = bytes | str  # the packet, or why there is none


class SealingPath:
    """A router with two interfaces whose only policy gives every packet to one SA."""

    def __init__(self, sa: SecurityAssociation, engine: str | None = None) -> None:
        self.tables = Tables()
        t: Any = self.tables.t
        t.ctl[CTL_MODE] = MODE_ROUTER
        self.sad = Sad(self.tables, choose(engine))
        self.interfaces = Interfaces(self.tables, ["inside", "outside"])
        fib.build(self.tables, DEFAULT_ROUTES)
        policies = Policies(self.tables)
        entry = policies.entry()
        rules = [Rule(4, True, ANY, ANY, sp=entry), Rule(6, True, ANY, ANY, sp=entry, prio=1)]
        number = policies.add(spd.columns(rules))
        policies.build()
        self.interfaces.set(OUTSIDE, spd4=number, spd6=number)
        t.sp["sa_out"][entry] = self.sad.add(sa, inbound=False)
        t.ctl[CTL_IN_IF] = INSIDE
        reassembly.build(self.tables)
        self.engine = Engine(self.tables, self.sad)
        self.engine.align(ALIGN_OUTBOUND)

    def run(self, packets: Sequence[bytes]) -> list[Outcome]:
        """Each packet as it leaves the router, or the cause of its drop."""
        batch, sink, store = Batch.from_frames(packets), MemorySink(), VerdictStore()
        source = BatchSource(batch)
        self.engine.run(source, fia.router(source.walk, EMITTERS[sink.kind]), sink, store.add)
        return outcomes(collect(self.tables, self.sad, self.interfaces.names, batch, sink, store))


def outcomes(result: Result) -> list[Outcome]:
    """What became of every input frame: the packet that was sent, or a drop cause or verdict."""
    v, sent = result.verdicts, result.packets
    out: list[Outcome] = []
    for cause, verdict, first, n in zip(v["cause"], v["verdict"], v["first_out"], v["n_out"], strict=True):
        word = CAUSE_WORDS[cause] if cause else VERDICT_WORDS[verdict]
        out.append(sent.frame(int(first)) if n else word)
    return out


def seal(sa: SecurityAssociation, packets: Sequence[bytes], engine: str | None = None) -> list[Outcome]:
    """Packets through the OUTBOUND path, numbered from `sa.seq`."""
    return SealingPath(sa, engine).run(packets)


def open_all(sa: SecurityAssociation, packets: Sequence[bytes], engine: str | None = None) -> list[Outcome]:
    """Protected packets through the INBOUND path; `sa.seq` is the number of the first."""
    return outcomes(Decryptor([replace(sa, seq=sa.seq - 1)], engine=engine).open(Batch.from_frames(packets)))
