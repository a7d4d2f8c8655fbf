"""ESP and AH are found behind every link layer and in every tunnel that captures hold, by all commands alike."""

import random
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from capture_help import Guarded
from cli_help import qfp
from encapsulations import (
    FAR,
    FORMS,
    KEY,
    LINK_FORMS,
    NEAR,
    SIX_FORMS,
    SPI,
    TUNNEL_FORMS,
    Form,
    esp,
    esp_packets,
    ether,
    ethernet,
    gre,
    ip4,
    ip6,
    labels,
    tunnelled,
    udp,
    vlan,
    vxlan,
)
from naive_dissect import locate

from qfp.antireplay import columns
from qfp.batch import Batch
from qfp.decrypt import Decryptor
from qfp.router import Router
from qfp.sa import SecurityAssociation
from qfp.trace import write_trace
from qfp.trace.keyfile import write_sas
from qfp.trace.noted import Noted
from qfp_kernels import dissect_words as W
from qfp_kernels.dissect import FOUND, dissect
from qfp_kernels.jit import kernel

TSHARK = shutil.which("tshark")
SPACES = {"link": W.LINK, "ethertype": W.ETHERTYPE, "protocol": W.PROTOCOL, "udp": W.UDP_PORT, "tcp": W.TCP_PORT,
          "ppp": W.PPP, "llc": W.LLC, "nlpid": W.NLPID, "next": W.NSH_NEXT, "family": W.FAMILY,
          "fragment": W.FRAGMENT_OF}  # fmt: skip
WORDS = {"cut": W.CUT, "malformed": W.MALFORMED, "deep": W.DEEP, "encrypted": W.ENCRYPTED}
ROUTER = """interface Gi0/0/0
 ip address 203.0.113.1 255.255.255.0
interface Gi0/0/1
 ip address 10.1.0.1 255.255.0.0
"""


def sa(**fields: object) -> SecurityAssociation:
    return SecurityAssociation(
        spi=SPI, src=None, dst=None, proto="esp", encr="null", integ="hmac-sha1-96", integ_key=KEY, **fields
    )  # type: ignore[arg-type]


@kernel
def located(at, link, size, out):  # type: ignore[no-untyped-def]
    """dissect, its answer in `out`."""
    out[0], out[1], out[2], out[3], out[4] = dissect(at, link, size, True, 4500)


def look(link: int, frame: bytes, at_end: bool = True) -> tuple[int, int, int, int]:
    """(outcome, offset, end, offset of the outermost IP header) of a frame between pages that cannot be read."""
    guarded, out = Guarded(frame, at_end), np.zeros(5, np.int64)
    located(guarded.address, link, len(frame), out)
    return int(out[0]), int(out[1]), int(out[2]), int(out[3])


def check(link: int, frame: bytes, at_end: bool = True) -> bool:
    """The kernel and its twin agree on a frame; whether it holds something."""
    outcome, at, end, first = look(link, frame, at_end)
    twin = locate(link, frame)
    assert (outcome == FOUND, first) == (twin.found, twin.first), (link, frame.hex(), outcome, twin)
    if twin.found:
        assert (at, end - at) == (twin.at, twin.size), (link, frame.hex(), twin)
    return twin.found


def code(why: object) -> int:
    """The kernel's number for what the twin says."""
    if why is None:
        return W.PLAIN
    return WORDS[why] if isinstance(why, str) else SPACES[why[0]] << 16 | why[1]  # type: ignore[index]


def ids(forms: tuple[Form, ...]) -> dict[str, object]:
    return {"argvalues": forms, "ids": [form.name for form in forms]}


# ------------------------------------------------------------------------------------------------- every form
@pytest.mark.req("USE-3")
@pytest.mark.parametrize("form", **ids(FORMS))
def test_four_packets_come_out(tmp_path: Path, form: Form) -> None:
    """Kernel, twin, decryption and study of a capture of each form: four packets of ESP."""
    frames = [form.wrap(packet) for packet in esp_packets()]
    assert all(check(form.link, frame) for frame in frames)
    result = Decryptor([sa()]).open(Batch.from_frames(frames, link=form.link))
    assert result.counters["verdicts"] == {"forwarded": 4} and len(result.packets) == 4
    assert [frame[12:20] for frame in result.packets.frames()] == [bytes([10, 0, 0, 1, 10, 0, 0, 2])] * 4
    write_trace(tmp_path / "in.pcap", Batch.from_frames(frames, link=form.link))
    found = columns.observe(tmp_path / "in.pcap")
    assert (len(found), found.counts.other) == (4, 0) and found.columns["seq"].tolist() == [1, 2, 3, 4]
    assert found.columns["len"].tolist() == [len(packet) for packet in esp_packets()]


@pytest.mark.parametrize("form", **ids(SIX_FORMS + TUNNEL_FORMS + LINK_FORMS))
def test_ipv6_and_udp_inside(form: Form) -> None:
    """The packet that is carried may be IPv6, AH, or ESP in UDP."""
    if "IPv4" in form.name or form.name in ("IP in IP", "IP in IP in IP in GRE", "4in6", "frame relay NLPID"):
        return
    if form.name in ("BSD null", "BSD null, other order", "BSD loop", "enc", "enc big endian", "VXLAN-GPE NSH"):
        assert form.wrap  # their family is written for IPv4; they hand over to the same IP header
    for packet in (ip6(esp(1), 50), ip6(b"\x04\x04\0\0" + bytes(20), 51), ip6(udp(4500, esp(1)), 17)):
        assert check(form.link, form.wrap(packet))


@pytest.mark.skipif(TSHARK is None, reason="tshark is not installed")
def test_tshark_finds_the_same(tmp_path: Path) -> None:
    """Of every form into which tshark looks: as many ESP packets."""
    wrong = {}
    for form in FORMS:
        if not form.tshark:
            continue
        path = tmp_path / "in.pcap"
        write_trace(path, Batch.from_frames([form.wrap(packet) for packet in esp_packets()], link=form.link))
        command = [str(TSHARK), "-r", str(path), "-Y", "esp", "-T", "fields", "-e", "esp.sequence"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if done.stdout.split() != ["1", "2", "3", "4"]:
            wrong[form.name] = done.stdout + done.stderr[-150:]
    assert not wrong


@pytest.mark.req("USE-3")
@pytest.mark.parametrize("name", ["GRE", "VXLAN", "PPPoE", "SLL with VLAN"])
def test_commands_agree(tmp_path: Path, name: str) -> None:
    """decrypt, replay-lab and strip at the command line."""
    form = next(form for form in FORMS if form.name == name)
    path, keys = tmp_path / "in.pcap", tmp_path / "keys.json"
    write_trace(path, Batch.from_frames([form.wrap(packet) for packet in esp_packets()], link=form.link))
    write_sas(keys, [sa()])
    facts = qfp("decrypt", path, "--keys", keys, "--json").json
    assert facts["packets_out"] == 4 and facts["capture"]["esp_or_ah"] is True
    lab = qfp("replay-lab", path, "--json").json
    assert lab["packets"]["headers"] == 4 and lab["capture"]["esp_or_ah"] is True
    assert qfp("strip", path, "-o", tmp_path / "t.parquet", "--json").json["rows"] == 4


# --------------------------------------------------------------------------------------------- random frames
@pytest.mark.req("BASE-12")
@pytest.mark.parametrize("at_end", [True, False])
def test_mutated_frames_give_what_the_twin_gives(at_end: bool) -> None:
    """Every form, cut short and with bytes changed, between pages that cannot be read."""
    rng, found = random.Random(5 + at_end), 0
    packets = [ip4(esp(1), 50), ip4(udp(4500, esp(1)), 17), ip6(esp(1), 50), ip4(udp(53, bytes(9)), 17)]
    for form in FORMS + SIX_FORMS:
        for _ in range(60):
            frame = bytearray(form.wrap(rng.choice(packets)))
            for _ in range(rng.randrange(4)):
                frame[rng.randrange(min(len(frame), 90))] = rng.choice(
                    [0, 1, 3, 4, 6, 8, 0x45, 0x60, 0x81, 255, rng.randrange(256)]
                )
            size = len(frame) if rng.random() < 0.5 else rng.randrange(1, len(frame) + 1)
            found += check(form.link, bytes(frame[:size]), at_end)
    assert found > 2000


@pytest.mark.req("BASE-12")
def test_every_length_of_every_form() -> None:
    """No frame is read behind its end, wherever it was cut."""
    for form in FORMS + SIX_FORMS:
        frame = form.wrap(ip6(esp(1), 50))
        for size in range(1, len(frame)):
            check(form.link, frame[:size])


@pytest.mark.req("BASE-12")
def test_random_bytes_under_every_link_type() -> None:
    rng = random.Random(9)
    links = sorted({form.link for form in FORMS} | {6, 8, 122, 123, 147, 241, 274, 65535})
    for _ in range(4000):
        check(rng.choice(links), rng.randbytes(rng.randrange(1, 120)))


def test_verdicts_do_not_depend_on_batch_and_threads() -> None:
    """What is counted, too."""
    frames = [form.wrap(packet) for packet in esp_packets() for form in TUNNEL_FORMS]
    frames += [ether(b"\x88\xe5", bytes(40)), ether(b"\x08\x06", bytes(40))] * 300
    seen = []
    for batch, threads in ((0, 1), (1, 1), (7, 2), (256, 2)):
        opener = Decryptor([sa(replay_window=0)], batch=batch, threads=threads)
        result = opener.open(Batch.from_frames(frames, link=1))
        seen.append((result.counters, {k: v.tobytes() for k, v in result.verdicts.items()},
                     np.flatnonzero(opener.tables.t.noted).tolist(), opener.tables.t.noted.sum()))  # fmt: skip
    assert all(each == seen[0] for each in seen) and seen[0][3] == 600


# ------------------------------------------------------------------------------------- what is not looked into
SAID = [
    ("private link type", 147, bytes(60), ("link_type", 147)),
    ("MACsec", 1, ether(b"\x88\xe5", bytes(60)), ("ethertype", 0x88E5)),
    ("ARP", 1, ether(b"\x08\x06", bytes(46)), ("ethertype", 0x0806)),
    ("unknown type behind VLAN in cooked", 113,
     bytes(14) + b"\x81\0" + vlan(b"\x12\x34", bytes(9)), ("ethertype", 0x1234)),
    ("spanning tree", 1, ether(b"\0\x26", b"\x42\x42\x03" + bytes(40)), ("llc_saps", 0x4242)),
    ("IPComp", 1, ethernet(ip4(bytes(40), 108)), ("ip_protocol", 108)),
    ("WireGuard", 1, ethernet(ip4(udp(51820, bytes(40)), 17)), ("udp_port", 51820)),
    ("ESP in TCP", 1, ethernet(ip4(b"\x11\x94\x11\x94" + bytes(16) + esp(1), 6)), ("tcp_port", 4500)),
    ("PPP compressed", 9, b"\xff\x03\0\xfd" + bytes(20), ("ppp_protocol", 0xFD)),
    ("fragment of GRE", 1, ethernet(ip4(gre(0x0800, ip4(esp(1), 50)), 47, flags=0x2000)), ("fragment_of", 47)),
    ("later fragment of GRE", 1, ethernet(ip4(bytes(64), 47, flags=8)), ("fragment_of", 47)),
    ("encrypted wireless", 105, b"\x08\x41" + bytes(60), ("reason", 3)),
    ("cut in MPLS", 1, ether(b"\x88\x47", b"\0\0"), ("reason", 0)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "link", "frame", "kind"), SAID, ids=[row[0] for row in SAID])
def test_what_is_not_looked_into_is_counted(
    tmp_path: Path, name: str, link: int, frame: bytes, kind: tuple[str, int]
) -> None:
    """By link type, EtherType, protocol or port, the same in decrypt and replay-lab."""
    opener = Decryptor([sa()])
    opener.open(Batch.from_frames([frame] * 3, link=link))
    write_trace(tmp_path / "in.pcap", Batch.from_frames([frame] * 3, link=link))
    for noted in (Noted.of(opener.tables.t.noted), columns.observe(tmp_path / "in.pcap").noted):
        facts = noted.facts()["not_looked_into"]
        assert facts["frames"] == 3 and len(facts["kinds"]) == 1
        assert (facts["kinds"][0]["kind"], facts["kinds"][0]["number"], facts["kinds"][0]["frames"]) == (*kind, 3)


@pytest.mark.parametrize(("link", "frame"), [(row[1], row[2]) for row in SAID], ids=[row[0] for row in SAID])
def test_twin_gives_the_same_reason(link: int, frame: bytes) -> None:
    assert look(link, frame)[0] == code(locate(link, frame).why)


def test_too_deep() -> None:
    """Nesting is bounded."""
    packet = esp_packets(1)[0]
    for _ in range(60):
        packet = ip4(packet, 4)
    assert look(101, packet)[0] == W.DEEP and locate(101, packet).why == "deep"


@pytest.mark.req("USE-3")
def test_stderr_names_kinds_and_a_capture_without_ipsec_says_so(tmp_path: Path) -> None:
    path, keys = tmp_path / "in.pcap", tmp_path / "keys.json"
    write_trace(path, Batch.from_frames([ether(b"\x88\xe5", bytes(60)), ether(b"\x08\x06", bytes(46))], link=1))
    write_sas(keys, [sa()])
    for command in (
        ("decrypt", path, "--keys", keys),
        ("replay-lab", path),
        ("strip", path, "-o", tmp_path / "t.arrow"),
    ):
        done = qfp(*command)
        assert done.status == 0
        assert "1 frame not looked into: 1 of EtherType 0x88e5 (MACsec)" in done.err
        assert "holds no ESP or AH" in done.err and "ARP" not in done.err


def test_many_kinds_are_bounded() -> None:
    """The commonest are listed, the rest is summed up."""
    opener = Decryptor([sa()])
    frames = [ether((0x9800 + k).to_bytes(2), bytes(50)) for k in range(100) for _ in range(k + 1)]
    opener.open(Batch.from_frames(frames, link=1))
    noted = Noted.of(opener.tables.t.noted)
    facts = noted.facts()["not_looked_into"]
    assert (facts["frames"], len(facts["kinds"]), facts["other_kinds"]) == (5050, 16, 84)
    assert facts["kinds"][0] == {"kind": "ethertype", "number": 0x9863, "name": None, "frames": 100}
    assert facts["other_frames"] == 5050 - sum(kind["frames"] for kind in facts["kinds"])
    assert "more kinds" in noted.sentences()[0]


# ------------------------------------------------------------------------------------------ clear, fragments
def test_clear_packets_stay_what_they_are() -> None:
    """A tunnel without IPsec in it is written as it came (keep_clear), from its outermost IP header on."""
    outer = ip4(gre(0x0800, ip4(udp(53, bytes(8)), 17)), 47, "192.0.2.1", "192.0.2.2")
    frames = [ethernet(outer), ether(b"\x88\x47", labels(outer)), ethernet(ip4(udp(4789, vxlan(bytes(3))), 17))]
    result = Decryptor([sa()], keep_clear=True).open(Batch.from_frames(frames, link=1))
    assert result.counters["verdicts"] == {"bypassed": 3}
    assert result.packets.frames()[:2] == [outer, outer]


@pytest.mark.parametrize("name", ["GRE", "VXLAN", "PPPoE"])
def test_fragments_inside_a_tunnel_are_put_together(name: str) -> None:
    """ESP that was fragmented and then carried: reassembled as in the open."""
    form = next(form for form in FORMS if form.name == name)
    whole = ip4(esp(1), 50)[20:]
    first, last = ip4(whole[:48], 50, flags=0x2000), ip4(whole[48:], 50, flags=6)
    result = Decryptor([sa()]).open(Batch.from_frames([form.wrap(last), form.wrap(first)], link=form.link))
    assert len(result.packets) == 1 and result.counters["reassembly"]["outer"]["whole"] == 1


@pytest.mark.parametrize(("mend", "cause"), [(bytes(2), "CUT_SHORT"), (b"\x12\x34", "BAD_CHECKSUM")])
def test_a_broken_packet_in_a_tunnel_is_dropped(mend: bytes, cause: str) -> None:
    packet = esp_packets(1)[0]
    bad = packet[:10] + mend + packet[12:] if cause == "BAD_CHECKSUM" else packet[:60]
    frame = tunnelled(47, lambda p: gre(0x0800, p))(bad)
    batch = Batch.from_frames([frame], link=1)
    if cause == "CUT_SHORT":
        whole = tunnelled(47, lambda p: gre(0x0800, p))(packet)
        batch = Batch.from_frames([whole[: len(frame)]], link=1)
        batch = Batch(batch.arena, {**batch.columns, "wire": np.array([len(whole)])}, batch.interfaces)
    result = Decryptor([sa()]).open(batch)
    assert [d["cause"] for d in result.drops.to_pylist()] == [cause]


# ------------------------------------------------------------------------------------------------- a router
def test_a_router_strips_link_layers_and_leaves_tunnels_alone() -> None:
    """What its capture put in front of a packet is no tunnel; PPPoE, MPLS and GRE are for others."""
    packet = ip4(udp(53, bytes(8)), 17, "10.1.0.9", "203.0.113.9")
    router = Router.loads(ROUTER)
    for form in LINK_FORMS:
        if form.name in (
            "PPPoE link",
            "MPLS link",
            "SLL with PPPoE",
            "SLL2 with MPLS",
            "MAC in MAC",
            "RFC 1483",
            "VN-tag",
            "Cisco metadata",
        ):
            continue
        result = router.forward(Batch.from_frames([form.wrap(packet)], link=form.link), "Gi0/0/1")
        assert len(result.packets) == 1, form.name
    for frame in (ether(b"\x88\x64", b"\x11\0\0\1\0\x40" + b"\0\x21" + packet), ether(b"\x88\x47", labels(packet))):
        result = Router.loads(ROUTER).forward(Batch.from_frames([frame], link=1), "Gi0/0/1")
        assert result.counters["verdicts"] == {"punted": 1}
    outer = ip4(gre(0x0800, ip4(esp(1), 50, NEAR, FAR)), 47, "10.1.0.9", "203.0.113.9")
    result = router.forward(Batch.from_frames([ethernet(outer)], link=1), "Gi0/0/1")
    assert [frame[9] for frame in result.packets.frames()] == [47]
