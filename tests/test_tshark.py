"""tshark opens what qfp sealed: an outside judge of bytes on the wire (skipped where tshark is not installed)."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from packets import ip4, ip6, udp
from test_dependency_table import LAN, Case
from test_path_transforms import PROTECTIONS, associations, config

from qfp.batch import Batch
from qfp.router import Router
from qfp.trace import write_trace
from qfp.trace.keyfile import write_esp_sa

TSHARK = shutil.which("tshark")
PAIRS = dict(PROTECTIONS)
# what Wireshark 4.0 can decrypt and check (no ESN, no ChaCha20, no GMAC)
NAMES = ["aes-gcm-128/none/16", "aes-gcm-256/none/16", "aes-gcm-192/none/12", "aes-cbc-128/hmac-sha256-128/16",
         "aes-cbc/hmac-sha1-96", "aes-cbc/hmac-sha512-256", "aes-ctr-128/hmac-sha256-128/16",
         "3des-cbc-192/hmac-sha256-128/16", "des-cbc-64/hmac-sha256-128/16", "null/hmac-sha1-96",
         "null/hmac-md5-96"]  # fmt: skip


def fields(folder: Path, capture: Path, *names: str) -> list[list[str]]:
    """tshark's view of each packet, the keys in `folder`/esp_sa given."""
    table = [f"uat:esp_sa:{line}" for line in (folder / "esp_sa").read_text().splitlines()]
    options = ["esp.enable_encryption_decode:TRUE", "esp.enable_authentication_check:TRUE", *table]
    command = [str(TSHARK), "-r", str(capture), "-T", "fields"]
    command += [part for name in names for part in ("-e", name)] + [part for o in options for part in ("-o", o)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()]


@pytest.mark.req("BASE-8", "BASE-11")
@pytest.mark.skipif(TSHARK is None, reason="tshark is not installed")
@pytest.mark.parametrize("family", [4, 6])
def test_tshark_opens_it(tmp_path: Path, family: int) -> None:
    """The inner ports and data, and a good ICV, packet by packet, of every algorithm in one capture."""
    data = [bytes(k % 251 for k in range(size)) for size in (1, 15, 16, 17, 64, 500, 1300)]
    frames = [ip4("10.1.2.3", "10.2.3.4", udp(40000 + k, 40999, d)) for k, d in enumerate(data)]
    frames += [ip6("fd00:1::5", "fd00:2::6", udp(41000 + k, 40999, d)) for k, d in enumerate(data)]
    ports = [40000 + k for k in range(len(data))] + [41000 + k for k in range(len(data))]
    sas = [replace(associations(PAIRS[name], family)[0], spi=0x5000 + n) for n, name in enumerate(NAMES)]
    sealed = [Router.loads(config(1, family), keys=[sa]).forward(Batch.from_frames(frames), "gi0/0/1") for sa in sas]
    capture = tmp_path / "sealed.pcap"
    write_trace(capture, Batch.concat([result.packets for result in sealed]))
    assert write_esp_sa(tmp_path / "esp_sa", sas) == []
    rows = fields(tmp_path, capture, "esp.sequence", "esp.icv_good", "udp.srcport", "udp.payload")
    wanted = [[str(k + 1), str(port), d.hex()] for k, (port, d) in enumerate(zip(ports, data * 2, strict=True))]
    assert [[row[0], *row[2:]] for row in rows] == wanted * len(sas)
    assert {row[1] for row in rows} <= {"1", "True"}


@pytest.mark.req("PF-7")
@pytest.mark.skipif(TSHARK is None, reason="tshark is not installed")
@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize("state", ["before", "after"])
def test_tshark_reassembles_and_opens_fragments(tmp_path: Path, outer: int, state: str) -> None:
    """What was fragmented after encryption is put together and opened; what was fragmented before is opened and put
    together. Either way the inner data is there, once."""
    case = Case("enabled" if state == "before" else "disabled", "copy", 0, state, "vti", outer, 4)
    near = Router.loads(case.config(1))
    data = [bytes(k * (n + 3) & 255 for k in range(1472)) for n in range(5)]
    frames = [ip4(*LAN[4], udp(40000 + n, 40999, d), ident=n) for n, d in enumerate(data)]
    result = near.forward(Batch.from_frames(frames), "gi0/0/1")
    assert len(result.packets) == 10
    capture = tmp_path / "fragments.pcap"
    write_trace(capture, result.packets)
    assert write_esp_sa(tmp_path / "esp_sa", [near.sad.describe(near.sadb.pairs[0].outbound[0])]) == []
    rows = [row for row in fields(tmp_path, capture, "udp.srcport", "udp.payload") if row[0]]
    assert rows == [[str(40000 + n), d.hex()] for n, d in enumerate(data)]
