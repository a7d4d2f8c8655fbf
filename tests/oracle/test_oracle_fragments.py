"""scapy agrees on fragments: it cuts as qfp does, and puts together what qfp cut (PF-3, PF-7)."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from packets import ip4, ip6, udp
from test_dependency_table import LAN, Case, hops
from test_reassembly import fragments6

from qfp.batch import Batch
from qfp.decrypt import Decryptor
from qfp.router import Router
from qfp.sizes import Sizing, fragment_sizes

PROCESS = Path(__file__).parent / "fragments_process.py"
AFTER4 = Case("disabled", "copy", 0, "", "map", 4, 4)
BEFORE = Case("enabled", "copy", 0, "", "map", 4, 4)
SIZES = [1447, 1500, 1501, 2000, 2874, 3000, 8999, 40000, 65535]


def scapy(**request: Any) -> Any:
    keys = ("fragment", "defragment", "fragment6", "defragment6")
    text = json.dumps({key: request.get(key, []) for key in keys})
    done = subprocess.run([sys.executable, str(PROCESS)], input=text, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    answer = json.loads(done.stdout)
    if "missing" in answer:
        pytest.skip(f"scapy is not installed: {answer['missing']}")
    return answer


def packets() -> list[bytes]:
    return [ip4(*LAN[4], udp(1, 2, bytes(k * 11 & 255 for k in range(size - 28))), ident=size) for size in SIZES]


@pytest.mark.req("PF-3", "PF-7")
def test_cuts_before_encryption() -> None:
    """The fragments that the far router delivers are those that scapy cuts at the same size."""
    near, far = Router.loads(BEFORE.config(1)), Router.loads(BEFORE.config(2))
    limit = Sizing(4, "aes-gcm", 16).plaintext_mtu(1500)
    wire = near.forward(Batch.from_frames(packets()), "gi0/0/1").packets
    got = [p.hex() for p in far.forward(wire, "gi0/0/0").packets.frames()]
    cut = scapy(fragment=[[hops(p, 2).hex(), fragment_sizes(len(p), limit)[0] - 20] for p in packets()])["fragment"]
    assert got == [piece for pieces in cut for piece in pieces]
    whole = scapy(defragment=[pieces for pieces in cut])["defragment"]
    assert whole == [[hops(p, 2).hex()] for p in packets()]


@pytest.mark.req("PF-7")
def test_puts_together_what_was_cut_after_encryption() -> None:
    """scapy's reassembly of our fragments, and our reassembly of scapy's, are the packet that went in."""
    near = Router.loads(AFTER4.config(1))
    sa = replace(near.sad.describe(near.sadb.pairs[0].outbound[0]), direction="in", seq=0)
    short = [p for p in packets() if len(p) < 65000]
    wanted = [hops(p, 1) for p in short]
    result = near.forward(Batch.from_frames(short), "gi0/0/1")
    frames = [p.hex() for p in result.packets.frames()]
    counts = result.verdicts["n_out"].tolist()
    groups = [frames[sum(counts[:k]) : sum(counts[: k + 1])] for k in range(len(counts))]
    whole = [bytes.fromhex(each[0]) for each in scapy(defragment=groups)["defragment"]]
    assert Decryptor([sa]).open(Batch.from_frames(whole)).packets.frames() == wanted
    cut = scapy(fragment=[[p.hex(), 1000] for p in whole])["fragment"]
    pieces = [bytes.fromhex(piece) for pieces in cut for piece in pieces]
    assert Decryptor([sa]).open(Batch.from_frames(pieces[::-1])).packets.frames() == wanted[::-1]


@pytest.mark.req("PF-6", "PF-7")
def test_ipv6() -> None:
    """IPv6 outside: scapy puts our fragments together; ours are cut as the RFC's example asks."""
    case = Case("disabled", "copy", 0, "", "vti", 6, 4)
    near, far = Router.loads(case.config(1)), Router.loads(case.config(2))
    packet = ip4(*LAN[4], udp(1, 2, bytes(1472)))
    pieces = near.forward(Batch.from_frames([packet]), "gi0/0/1").packets.frames()
    assert len(pieces) == 2
    (whole,) = scapy(defragment6=[[p.hex() for p in pieces]])["defragment6"]
    assert far.forward(Batch.from_frames([bytes.fromhex(whole)]), "gi0/0/0").packets.frames() == [hops(packet, 2)]
    ours = fragments6(ip6(*LAN[6], udp(1, 2, bytes(100))), 64, 7)
    (joined,) = scapy(defragment6=[[p.hex() for p in ours]])["defragment6"]
    assert joined == ip6(*LAN[6], udp(1, 2, bytes(100))).hex()
