"""Datagrams as a host sends them: its fragments, byte for byte what they should be."""

from ipaddress import ip_address

import numpy as np
import pytest

from qfp.mtu import reading
from qfp.mtu.datagrams import ICMP, ICMPV6, TCP, UDP, Flow, build, counts
from qfp.sizes import IP_HEADER, outer_sizes
from qfp.trace.packets import _pseudo, checksum

NEAR = {4: ip_address("10.1.0.10"), 6: ip_address("2001:db8:1::a")}
FAR = {4: ip_address("10.2.0.10"), 6: ip_address("2001:db8:2::a")}
AWKWARD = [60, 61, 1279, 1280, 1499, 1500, 1501, 1508, 1509, 2976, 2980, 2981, 9000, 9216, 65535]


def whole(frames: list[bytes], family: int) -> bytes:
    """Upper-layer bytes of a datagram put together from its packets."""
    head = IP_HEADER[family]
    fragments = len(frames) > 1
    parts = {}
    for f in frames:
        word = int.from_bytes(f[6:8] if family == 4 else f[42:44])
        offset = (word & 0x1FFF) * 8 if family == 4 else word & 0xFFF8
        parts[offset if fragments else 0] = f[head + (8 if fragments and family == 6 else 0) :]
    data = b"".join(parts[k] for k in sorted(parts))
    assert sorted(parts) == [sum(len(parts[j]) for j in parts if j < k) for k in sorted(parts)]
    return data


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("mtu", [1280, 1400, 1499, 1500, 9000])
def test_a_host_fragments_by_its_mtu_the_longest_first(family: int, mtu: int) -> None:
    flow = Flow(family, NEAR[family], FAR[family])
    sizes = np.array(AWKWARD)
    (frames,) = build(flow, sizes, True, mtu, np.arange(len(sizes)) * 10)
    for k, size in enumerate(AWKWARD):
        mine = [frames.batch.frame(j) for j in np.flatnonzero(frames.owner == k)]
        wanted = outer_sizes(size, mtu, family)
        assert [len(f) for f in mine] == wanted and wanted == sorted(wanted, reverse=True), (size, mtu)
        data = whole(mine, family)
        assert len(data) == size - IP_HEADER[family]
        pseudo = _pseudo(flow.src.packed, flow.dst.packed, UDP, len(data))
        assert checksum(pseudo + data) in (0, 0xFFFF), size
        if family == 4:
            assert all(checksum(f[:20]) in (0, 0xFFFF) for f in mine)
            assert [bool(f[6] & 0x40) for f in mine] == [len(mine) == 1] * len(mine)  # DF clear on its own fragments
            assert [bool(f[6] & 0x20) for f in mine] == [True] * (len(mine) - 1) + [False]
        else:
            assert {f[6] for f in mine} == ({44} if len(mine) > 1 else {UDP})
    assert np.array_equal(np.bincount(frames.owner), counts(sizes, family, mtu))


@pytest.mark.parametrize("protocol, family", [(TCP, 4), (TCP, 6), (ICMP, 4), (ICMPV6, 6)])
def test_checksums_of_other_protocols(protocol: int, family: int) -> None:
    kind = {ICMP: (8, 0), ICMPV6: (128, 0)}.get(protocol, (1, 2))
    flow = Flow(family, NEAR[family], FAR[family], protocol, *kind)
    sizes = np.arange(flow.least, flow.least + 40)
    (frames,) = build(flow, sizes, False, 1500, np.zeros(len(sizes)))
    for k, size in enumerate(sizes.tolist()):
        data = frames.batch.frame(k)[IP_HEADER[family] :]
        pseudo = b"" if protocol == ICMP else _pseudo(flow.src.packed, flow.dst.packed, protocol, len(data))
        assert checksum(pseudo + data) in (0, 0xFFFF), size


def test_parts_number_on_and_name_their_datagrams() -> None:
    flow = Flow(4, NEAR[4], FAR[4])
    sizes = np.full(1000, 65000)
    parts = list(build(flow, sizes, False, 1500, np.arange(1000), first=7))
    assert len(parts) > 2
    owner = np.concatenate([p.owner for p in parts])
    assert np.array_equal(np.unique(owner), np.arange(1000)) and (np.diff(owner) >= 0).all()
    idents = [int.from_bytes(p.batch.frame(j)[4:6]) - 7 for p in parts for j in range(0, len(p.batch), 44)]
    assert idents == list(range(1000))


def test_headers_of_what_was_built_are_read_back() -> None:
    for family in (4, 6):
        flow = Flow(family, NEAR[family], FAR[family])
        (frames,) = build(flow, np.array([100, 3000]), False, 1500, np.zeros(2))
        found = reading.of_batch(frames.batch)
        assert found.family.tolist() == [family] * 4 and set(found.protocol.tolist()) == {UDP}
        assert found.fragment.tolist() == [False, True, True, True]
        assert found.first.tolist() == [True, True, False, False]
        assert np.array_equal(found.length, frames.batch.length)
        assert found.payload.sum() == 100 - IP_HEADER[family] + 3000 - IP_HEADER[family]
        assert reading.ends(frames.batch, 0) == (flow.src, flow.dst)
