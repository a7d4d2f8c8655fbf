"""What a sending host leaves to its network card, and records that say no time or one that nobody can hold."""

import struct
from pathlib import Path

import naive_capture as naive
import numpy as np
import pytest
from cli_help import qfp
from encapsulations import esp, esp_packets, ether, ethernet, gre, ip4, ip6, of, tunnelled, udp
from test_encapsulations import ROUTER, sa

from qfp.antireplay import columns
from qfp.batch import Batch
from qfp.decrypt import Decryptor
from qfp.router import Router
from qfp.trace import open_source, write_trace
from qfp.trace.keyfile import write_sas
from qfp.trace.noted import Noted
from qfp.trace.walker import Walker

NO_SUM = {"no_checksum": 1, "no_length": 0}
NO_SIZE = {"no_checksum": 0, "no_length": 1}
BIG = 1400  # bytes of payload


def without(packet: bytes, *, checksum: bool = False, length: bool = False) -> bytes:
    """An IPv4 or IPv6 packet as its sender captures it."""
    data = bytearray(packet)
    if packet[0] >> 4 == 6:
        data[4:6] = bytes(2)
        return bytes(data)
    if length:
        data[2:4] = bytes(2)
    if checksum:
        data[10:12] = bytes(2)
    return bytes(data)


def long_packet(family: int = 4) -> bytes:
    """One that a card would cut to segments."""
    inner = ip4(udp(40001, bytes(BIG)), 17, "10.0.0.1", "10.0.0.2")
    return ip4(esp(1, inner), 50) if family == 4 else ip6(esp(1, inner), 50)


CASES = [
    ("no checksum", without(esp_packets(1)[0], checksum=True), NO_SUM),
    ("no length, no checksum", without(long_packet(), checksum=True, length=True), NO_SIZE),
    ("no length, checksum of that", without(long_packet(), length=True), NO_SIZE),
    ("IPv6 without length", without(long_packet(6)), NO_SIZE),
]


@pytest.mark.req("USE-3")
@pytest.mark.parametrize(("name", "packet", "counts"), CASES, ids=[case[0] for case in CASES])
@pytest.mark.parametrize("wrap", [ethernet, bytes, tunnelled(47, lambda p: gre(int.from_bytes(of(p)), p))],
                         ids=["ethernet", "raw", "gre"])  # fmt: skip
def test_taken_and_counted(tmp_path: Path, name: str, packet: bytes, counts: dict[str, int], wrap: object) -> None:
    """Decryption and study take them; a router drops them unless it is told."""
    frame = wrap(packet)  # type: ignore[operator]
    link = 101 if frame == packet else 1
    opener = Decryptor([sa()])
    result = opener.open(Batch.from_frames([frame], link=link))
    assert len(result.packets) == 1 and Noted.of(opener.tables.t.noted).facts()["offload"] == counts
    write_trace(tmp_path / "in.pcap", Batch.from_frames([frame], link=link))
    found = columns.observe(tmp_path / "in.pcap")
    assert len(found) == 1 and found.noted.facts()["offload"] == counts
    assert found.columns["len"].tolist() == [len(packet)]


@pytest.mark.parametrize(("name", "packet", "cause"), [
    ("wrong checksum", esp_packets(1)[0][:10] + b"\x12\x34" + esp_packets(1)[0][12:], "BAD_CHECKSUM"),
    ("no length, wrong checksum",
     without(long_packet(), length=True)[:10] + b"\x12\x34" + long_packet()[12:], "BAD_HEADER"),
    ("no checksum, length beyond the frame", without(ip4(bytes(40), 50), checksum=True)[:50], "BAD_HEADER"),
    ("no checksum, short header", b"\x44" + without(ip4(bytes(40), 50), checksum=True)[1:], "BAD_HEADER"),
])  # fmt: skip
def test_what_is_wrong_stays_a_drop(name: str, packet: bytes, cause: str) -> None:
    opener = Decryptor([sa()])
    result = opener.open(Batch.from_frames([packet], link=101))
    assert [drop["cause"] for drop in result.drops.to_pylist()] == [cause]
    assert not opener.tables.t.noted.any()


def test_a_cut_packet_without_length_is_cut() -> None:
    """Nobody knows how long it was."""
    packet = without(long_packet(), checksum=True, length=True)
    batch = Batch.from_frames([packet[:100]], link=101)
    batch = Batch(batch.arena, {**batch.columns, "wire": np.array([len(packet)])}, batch.interfaces)
    assert [drop["cause"] for drop in Decryptor([sa()]).open(batch).drops.to_pylist()] == ["CUT_SHORT"]


def test_a_router_takes_them_when_told(tmp_path: Path) -> None:
    """`run --offload`; without it the cause of the drop names the option."""
    sent = ip4(udp(53, bytes(64)), 17, "10.1.0.9", "203.0.113.9")
    batch = Batch.from_frames(
        [ethernet(without(sent, checksum=True)), ethernet(without(sent, checksum=True, length=True))], link=1
    )
    plain = Router.loads(ROUTER).forward(batch, "Gi0/0/1")
    assert [drop["cause"] for drop in plain.drops.to_pylist()] == ["BAD_HEADER", "BAD_CHECKSUM"]
    assert all("--offload" in drop["meaning"] for drop in plain.drops.to_pylist())
    told = Router.loads(ROUTER, offload=True).forward(batch, "Gi0/0/1")
    assert [frame[2:4] for frame in told.packets.frames()] == [sent[2:4]] * 2
    config, trace = tmp_path / "r.cfg", tmp_path / "in.pcap"
    config.write_text(ROUTER)
    write_trace(trace, batch)
    done = qfp("run", config, trace, "--in", "Gi0/0/1", "--offload", "--json")
    assert done.json["packets_out"] == 2
    assert done.json["capture"]["offload"] == {"no_checksum": 1, "no_length": 1}
    assert "1 packet without IP header checksum" in done.err and "1 packet without IP length" in done.err
    assert qfp("run", config, trace, "--in", "Gi0/0/1", "--json").json["packets_out"] == 0


def test_ipv6_without_payload_is_no_offload() -> None:
    """Next header 59, a jumbogram's hop-by-hop header, and padding of the link layer: as they stand."""
    for packet in (ip6(b"", 59) + bytes(6), ip6(b"", 59) + bytes(200), ip6(b"", 50) + bytes(6)):
        opener = Decryptor([sa()], keep_clear=True)
        opener.open(Batch.from_frames([packet], link=101))
        assert not opener.tables.t.noted.any()


# ------------------------------------------------------------------------------------------------- odd times
def noted(path: Path) -> Noted:
    return columns.observe(path).noted


def test_simple_packet_blocks_are_read_and_said(tmp_path: Path) -> None:
    """No time, and cut at the interface's snap length."""
    packets = esp_packets()
    for order in "<>":
        blocks = b"".join(naive.spb(order, ethernet(packet)[:60], len(ethernet(packet))) for packet in packets)
        path = tmp_path / "in.pcapng"
        path.write_bytes(naive.shb(order) + naive.idb(order, snap=60) + blocks)
        found = columns.observe(path)
        assert len(found) == 4 and set(found.columns["ts"].tolist()) == {0}
        assert found.noted.facts()["without_time"] == 4
    write_sas(tmp_path / "keys.json", [sa()])
    done = qfp("decrypt", path, "--keys", tmp_path / "keys.json", "--json")
    assert done.json["capture"]["without_time"] == 4 and "4 packets without a time (simple packet blocks)" in done.err


@pytest.mark.parametrize(("block", "ticks", "beyond"), [
    (naive.idb("<", res=0), 2**33, False), (naive.idb("<", res=0), 2**34, True),
    (naive.idb("<", res=0), 2**64 - 1, True),
    (naive.idb("<", res=9), 2**63, True), (naive.idb("<", res=3), 2**63, True),
    (naive.idb("<", res=12), 2**64 - 1, False),
    (naive.idb("<", res=0x80), 2**40, True), (naive.idb("<", res=0xA0), 2**64 - 1, False),
    (naive.idb("<", offset=2**40), 0, True), (naive.idb("<", offset=-(2**40)), 5, True),
    (naive.idb("<", offset=9_000_000_000), 400_000_000_000_000, True), (naive.idb("<", offset=-5), 1, False),
])  # fmt: skip
def test_times_beyond_64_bits_are_counted(tmp_path: Path, block: bytes, ticks: int, beyond: bool) -> None:
    """They never wrap: a time is that of the capture, or held and counted."""
    path = tmp_path / "in.pcapng"
    path.write_bytes(naive.shb("<") + block + naive.epb("<", 0, ticks, ethernet(esp_packets(1)[0])) * 3)
    found = columns.observe(path)
    assert found.noted.beyond == 3 * beyond
    if not beyond:
        assert found.columns["ts"].tolist() == [row.ts for row in naive.read(path.read_bytes()).rows]


def test_counted_once_whoever_goes_back(tmp_path: Path) -> None:
    """A walk that is sent back to a record counts what lies behind it once."""
    path = tmp_path / "in.pcapng"
    path.write_bytes(naive.shb("<") + naive.idb("<") + naive.spb("<", ethernet(esp_packets(1)[0])) * 8)
    with open_source(path) as source:
        walker = Walker(source, 4)
        for turn, _rows in enumerate(walker):
            if turn < 3:
                source.state[[1, 3]] = walker.p.rec_at[1] - source.state[4], walker.p.frame[1]  # W_POS, W_FRAME
        assert Noted.of(np.zeros(1 << 16, np.int64), source).untimed == 8


def test_pcap_magics(tmp_path: Path) -> None:
    """Micro- and nanoseconds in both byte orders; the modified kind is refused by name."""
    for order in "<>":
        for nano in (False, True):
            path = tmp_path / "in.pcap"
            path.write_bytes(naive.pcap([ethernet(packet) for packet in esp_packets()], order, nano, link=1))
            assert len(columns.observe(path)) == 4
        path.write_bytes(struct.pack(order + "IHHiIII", 0xA1B2CD34, 2, 4, 0, 0, 65535, 1) + bytes(24))
        done = qfp("replay-lab", path)
        assert done.status == 2 and "modified pcap" in done.err and "editcap" in done.err


def test_nothing_to_say_about_a_usual_capture(tmp_path: Path) -> None:
    path = tmp_path / "in.pcap"
    write_trace(
        path,
        Batch.from_frames([ethernet(packet) for packet in esp_packets()] + [ether(b"\x08\x06", bytes(46))], link=1),
    )
    assert noted(path).sentences() == []
    assert qfp("replay-lab", path).err == ""
