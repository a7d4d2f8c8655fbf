"""Labs' own way through a router against Router.exchange: the same packets and verdicts, memory that is used again."""

from typing import Any

import numpy as np
import pytest
from packets import ip4, udp
from test_lab import SITE

from qfp.batch import Batch
from qfp.lab.passing import KEPT, TOLD, Buffers, Passage
from qfp.router import Router

GRE = """interface Tunnel1
 ip address 10.99.0.1 255.255.255.0
 tunnel source GigabitEthernet0/0/0
 tunnel destination 192.0.2.2
ip route 10.7.0.0 255.255.0.0 Tunnel1
"""
PLAIN = SITE.format(n=1, me=1, peer=2, far=2)
CONFIGS = {
    "plain": PLAIN, "gre": PLAIN + GRE,
    "pieces": PLAIN.replace(" crypto map M\n", " crypto map M\n ip mtu 200\n"),
}  # fmt: skip


def traffic(rng: Any, rows: dict[str, int], count: int, easy: bool) -> Batch:
    """Protected, in the clear, into a tunnel; unless easy: to nowhere, without TTL, too long with DF, broken."""
    hard = [] if easy else ["10.8.0.1", "10.1.0.1"]
    frames = []
    for k in range(count):
        to = str(rng.choice(["10.2.0.9"] * 5 + ["10.7.0.1", "10.1.0.9", *hard]))
        ttl, flags = (9, 0) if easy else (int(rng.choice([1, 9])), int(rng.choice([0, 0x4000])))
        frame = ip4("10.1.0.7", to, udp(k, 2, bytes(int(rng.integers(8, 1350)))), ttl=ttl, flags=flags)
        frames.append(frame[:15] if not easy and rng.random() < 0.02 else frame)
    ports = [rows["GigabitEthernet0/0/1"], rows["GigabitEthernet0/0/1" if easy else "GigabitEthernet0/0/0"]]
    return Batch.from_frames(frames, ts=np.cumsum(rng.integers(0, 10**7, count)), in_if=rng.choice(ports, count))


@pytest.mark.req("USE-2")
@pytest.mark.parametrize("easy", [True, False])
@pytest.mark.parametrize("name", list(CONFIGS))
def test_as_exchange(name: str, easy: bool) -> None:
    """Over several calls of a few and of many packets; what came earlier stays as long as it is held."""
    text = CONFIGS[name]
    one, other = Router.loads(text), Router.loads(text)
    passage, rng = Passage(one), np.random.default_rng(1)
    held, most = [], 0
    for count in (1, 30, 4000, 2, 500, 3000, 1, 1000):
        batch = traffic(rng, one.interfaces.row, count, easy)
        found, wanted = passage.exchange(batch), other.exchange(batch)
        assert found.packets == wanted.packets
        assert np.array_equal(found.came_from, wanted.came_from)
        for column in TOLD:
            assert np.array_equal(found.verdicts[column], wanted.verdicts[column]), column
        held = [*held[-4:], (found.packets, wanted.packets)]
        assert all(mine == theirs for mine, theirs in held)
        most = max(most, int(wanted.verdicts["n_out"].max()))
    assert (most > 1) == (name == "pieces")


def test_buffers() -> None:
    buffers = Buffers()
    first = buffers.take(100)
    assert first is not None
    view, where = first[10:20], first.ctypes.data
    del first
    held = [buffers.take(100) for _ in range(KEPT - 1)]
    assert all(each is not None and each.ctypes.data != where for each in held), "a view of it is left"
    assert buffers.take(100) is None
    del view
    again = buffers.take(100)
    assert again is not None and again.ctypes.data == where
    held.clear()
    larger = buffers.take(1000)
    assert larger is not None and larger.size == 1000
