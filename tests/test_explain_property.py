"""Every sentence of `explain` is true: random configurations and packets, each line held against the bytes.

The checker (explain_check.py, explain_clauses.py) parses each line and verifies it from the frame, from what left, and
from naive look-ups of the configuration. A sentence that no pattern knows fails, so none goes unchecked.
"""

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

import explain_clauses  # noqa: F401  (enters the patterns)
import pytest
from explain_check import Checker
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from naive_router import NaiveRouter
from packets import ip4, packet4, packet6, udp
from site_help import WAYS, any_site, traffic
from test_path_policy import HOSTS, HOSTS6, office, policies
from test_path_transforms import NAMES, PROTECTIONS, associations

from qfp.batch import Batch
from qfp.config import loads
from qfp.decrypt import Decryptor
from qfp.result import Result
from qfp.router import Router

pytestmark = pytest.mark.req("USE-3")
EXAMPLES = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
INSIDE, OUTSIDE = "gi0/0/1", "gi0/0/0"
S = 10**9


class Explained:
    """A router whose every frame is explained and checked."""

    def __init__(self, text: str, long_lived: bool = True, **options: Any):
        config = loads(text)
        if long_lived:
            config.ipsec.lifetime_seconds = 8 * 10**9
        self.router = Router(config, **options)
        self.twin = NaiveRouter(config, self.router)
        self.checker = Checker(self.router, text, self.twin)

    def forward(self, frames: Sequence[bytes], ingress: str, ts: Sequence[int] | None = None) -> Result:
        result = self.router.forward(Batch.from_frames(frames, ts=ts or [0] * len(frames)), ingress)
        self.checker.check(result)
        return result


@pytest.mark.parametrize("way", WAYS)
@EXAMPLES
@given(seed=st.integers(0, 10**6), family=st.sampled_from([4, 6]))
def test_sites(way: str, seed: int, family: int) -> None:
    """Crypto maps, VTIs and GRE, sizes around every limit, both ends; shuffled, doubled, and in the clear."""
    r = Random(seed)
    site = any_site(r, way, family)
    here, there = Explained(site.config(1)), Explained(site.config(2))
    times = [k * 10**8 for k in range(14)]
    frames = traffic(r, here.twin, 14)
    wire = here.forward(frames, INSIDE, times).packets.frames()[:40]
    wire += wire[::5]
    r.shuffle(wire)
    there.forward([*wire, *frames[:3]], OUTSIDE)


@EXAMPLES
@given(data=st.data())
def test_policies(data: st.DataObject) -> None:
    """Random access lists of both families, deny entries and port operators; bundles."""
    here, there = data.draw(policies())
    transform = data.draw(st.sampled_from(["GCM", "OLD"]))
    a, b = Explained(office(1, here, transform)), Explained(office(2, there, transform))
    any4, any6 = st.sampled_from(HOSTS), st.sampled_from(HOSTS6)
    packets = st.one_of(packet4(any4, any4), packet6(any6, any6))
    frames = data.draw(st.lists(packets, min_size=1, max_size=10))
    wire = a.forward(frames, INSIDE).packets.frames()
    b.forward([*wire, *wire[:2], *frames], OUTSIDE)


def spoiled(r: Random, packets: list[bytes]) -> list[bytes]:
    """Packets doubled, late, damaged, cut, of unknown SPIs, in the clear."""
    out = []
    for packet in packets:
        kind = r.random()
        if kind < 0.15 and len(packet) > 40:
            at = r.randrange(20, len(packet))
            packet = packet[:at] + bytes([packet[at] ^ 1 << r.randrange(8)]) + packet[at + 1 :]
        elif kind < 0.25:
            packet = packet[: r.randrange(len(packet) + 1)]
        out.append(packet)
        if kind > 0.8:
            out.append(r.choice(out))
    return out


@EXAMPLES
@given(data=st.data())
def test_key_files(data: st.DataObject) -> None:
    """Decryption of every protection: AH, bundles, transport, ESN, windows, NAT-T, damage."""
    name = data.draw(st.sampled_from(NAMES))
    mode, esn = data.draw(st.sampled_from(["tunnel", "transport"])), data.draw(st.booleans())
    fields = dict(PROTECTIONS)[name]
    natt = (4500, 4500) if len(fields) == 1 and fields[0]["proto"] == "esp" and data.draw(st.booleans()) else None
    seq = data.draw(st.sampled_from([0, 2**32 - 4])) if esn else 0
    window = data.draw(st.sampled_from([0, 64, 128]))
    sas = associations(fields, 4, mode=mode, esn=esn, seq=seq, replay_window=window, natt=natt)
    from test_path_transforms import config, plain_packets

    frames = plain_packets(mode == "transport", 4)[:12]
    router = Explained(config(1, 4, mode == "transport"), keys=sas)
    wire = router.forward(frames, INSIDE).packets.frames()
    r = Random(data.draw(st.integers(0, 10**6)))
    inbound = [replace(sa, seq=max(0, sa.seq - 1)) for sa in sas]
    d = Decryptor(inbound, keep_clear=data.draw(st.booleans()))
    checker = Checker(d)
    order = spoiled(r, [*wire, *frames[:2], ip4("203.0.113.1", "203.0.113.2", udp(4500, 4500, b"\xff"))])
    checker.check(d.open(Batch.from_frames(order)))
