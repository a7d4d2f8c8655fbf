"""tshark opens what qfp sealed: an outside judge of bytes on the wire (skipped where tshark is not installed)."""

import shutil
import subprocess
from pathlib import Path

import pytest
from packets import ip4, ip6, udp
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
         "3des-cbc-192/hmac-sha256-128/16", "des-cbc-64/hmac-sha256-128/16", "null/hmac-sha1-96", "null/hmac-md5-96"]  # fmt: skip


def fields(folder: Path, capture: Path, *names: str) -> list[list[str]]:
    """tshark's view of each packet, the keys in `folder`/esp_sa given."""
    assert TSHARK is not None
    command = [TSHARK, "-r", str(capture), "-T", "fields", "-E", "occurrence=l", "-o", "esp.enable_encryption_decode:TRUE",
               "-o", "esp.enable_authentication_check:TRUE"]  # fmt: skip
    command += [part for name in names for part in ("-e", name)]
    env = {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "PATH": "/usr/bin:/bin", "LC_ALL": "C"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()]


@pytest.mark.req("BASE-8", "BASE-11")
@pytest.mark.skipif(TSHARK is None, reason="tshark is not installed")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("family", [4, 6])
def test_tshark_opens_it(tmp_path: Path, name: str, family: int) -> None:
    """The inner ports and data, and a good ICV, packet by packet."""
    sas = associations(PAIRS[name], family)
    data = [bytes(k % 251 for k in range(size)) for size in (1, 15, 16, 17, 64, 500, 1300)]
    frames = [ip4("10.1.2.3", "10.2.3.4", udp(4000 + k, 9, d)) for k, d in enumerate(data)]
    frames += [ip6("fd00:1::5", "fd00:2::6", udp(5000 + k, 9, d)) for k, d in enumerate(data)]
    sent = Router.loads(config(1, family), keys=sas).forward(Batch.from_frames(frames), "gi0/0/1")
    capture = tmp_path / "sealed.pcap"
    write_trace(capture, sent.packets)
    (tmp_path / "wireshark").mkdir()
    assert write_esp_sa(tmp_path / "wireshark" / "esp_sa", sas) == []
    rows = fields(tmp_path, capture, "esp.sequence", "esp.icv_good", "udp.srcport", "udp.payload")
    for k, row in enumerate(rows):
        port, payload = (4000 + k, data[k]) if k < len(data) else (5000 + k - len(data), data[k - len(data)])
        assert row[1] in ("1", "True"), (k, row)
        assert [row[0], *row[2:]] == [str(k + 1), str(port), payload.hex()], (k, row)
    assert len(rows) == len(frames)
