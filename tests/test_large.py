"""Bounded memory at any size: IMIX through `qfp run` and back through `qfp decrypt`, bit for bit (USE-1, USE-3)."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_handles import OFFICE

from qfp.trace import TraceWriter
from qfp.trace.source import BatchSource
from qfp.trace.synth import imix
from qfp.trace.walker import Walker
from qfp_kernels import capture

CHUNK = 100_000
RESIDENT_MAX = 1 << 30  # bytes
START = 1_700_000_000_000_000_000  # ns
RECORD = 16  # bytes of a pcap record header


def write_imix(path: Path, packets: int) -> None:
    """A pcap of `packets` IMIX packets in 1000 flows."""
    with TraceWriter(path, ["lan"]) as out:
        for k in range(packets // CHUNK):
            batch = imix(CHUNK, flows=1000, seed=k)
            batch.columns["ts"] = START + k * 1_000_000_000 + np.arange(CHUNK) * 1000
            walker = Walker(BatchSource(batch))
            for rows in walker:
                out.write(walker.run(capture.copy_pcap, rows))


def command(*args: object) -> tuple[dict[str, Any], int]:
    """Run the command line in a process of its own; returns its JSON and its peak of resident bytes.

    The peak is VmHWM: ru_maxrss of a child starts at what its parent had.
    """
    code = (
        "import sys; from qfp.cli.main import app\n"
        "try: app(prog_name='qfp')\n"
        "finally: print(*(l.split()[1] for l in open('/proc/self/status') if l.startswith('VmHWM')), file=sys.stderr)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, *map(str, args), "--json"], capture_output=True, text=True, env=dict(os.environ)
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout), int(ran.stderr.split()[-1]) * 1024


def assert_same_but_hop(before: Path, after: Path, packets: int) -> None:
    """Two pcap files of IPv4 packets that differ by one hop of TTL and by the checksum over it, nowhere else."""
    a, b = np.memmap(before, np.uint8, "r"), np.memmap(after, np.uint8, "r")
    assert a.size == b.size
    heads = np.empty(packets, np.int64)
    at = 24
    for k in range(packets):
        heads[k] = at + RECORD
        at += RECORD + int.from_bytes(a[at + 8 : at + 12].tobytes(), "little")
    assert at == a.size
    hops = 0
    for start in range(0, a.size, 1 << 26):
        differs = start + np.flatnonzero(a[start : start + (1 << 26)] != b[start : start + (1 << 26)])
        inside = differs - heads[np.searchsorted(heads, differs, "right") - 1]
        assert np.isin(inside, (8, 10, 11)).all()  # TTL, checksum
        hops += int((inside == 8).sum())
    assert hops == packets
    assert (a[heads[:1000] + 8] == b[heads[:1000] + 8] + 1).all()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
@pytest.mark.req("USE-1", "USE-3", "BASE-12")
@pytest.mark.parametrize("packets", [200_000, pytest.param(10_000_000, marks=pytest.mark.slow)])
def test_round_trip_in_bounded_memory(tmp_path: Path, packets: int) -> None:
    clear, wire, back, keys = (tmp_path / n for n in ("clear.pcap", "wire.pcap", "back.pcap", "keys.json"))
    (tmp_path / "a.cfg").write_text(OFFICE)
    write_imix(clear, packets)
    sent, peak = command("run", tmp_path / "a.cfg", clear, "--in", "gi0/0/1", "-o", wire, "--export-sas", keys)
    assert sent["verdicts"] == {"forwarded": packets} and peak < RESIDENT_MAX
    opened, peak = command("decrypt", wire, "--keys", keys, "-o", back)
    assert opened["verdicts"] == {"forwarded": packets} and peak < RESIDENT_MAX
    assert_same_but_hop(clear, back, packets)
