"""The same work by others in one run: openssl, cryptography, hashlib; scapy and tshark where they are installed."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from common import script

from qfp.bench import machine, paths, traffic
from qfp.bench import peers as package_peers
from qfp.bench.command import Plan, peer_rows
from qfp.bench.files import wire_file, workspace
from qfp.bench.rows import Label, Row, packets_row
from qfp.bench.runner import interleaved
from qfp.bench.site import GCM, Site
from qfp.trace.keyfile import write_esp_sa

SCAPY = Path(__file__).with_name("peer_scapy.py")
TSHARK_PACKETS = (1000, 21_000)  # the difference counts, so that its start does not


def scapy_rows(plan: Plan, say: Callable[[str], None]) -> list[Row]:
    """scapy's ESP, in a process of its own (its licence keeps it out of ours)."""
    if importlib.util.find_spec("scapy") is None:
        say("scapy: not installed, left out")
        return []
    say("scapy")
    rows = []
    for size in package_peers.SIZES:
        command = [sys.executable, str(SCAPY), str(size), str(plan.slow_rounds)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        for direction, samples in json.loads(done.stdout).items():
            label = Label("peer: one call a packet", direction, GCM, size, 1, engine=f"scapy {version('scapy')}")
            rows.append(packets_row(label, samples, size))
    return rows


def _tshark(capture: Path, profile: Path, packets: int) -> float:
    """Seconds to decrypt a capture. Raises ValueError when not every packet came out decrypted."""
    command = ["tshark", "-r", str(capture), "-o", "esp.enable_encryption_decode:TRUE"]
    command += ["-T", "fields", "-e", "udp.dstport"]
    environment = {**os.environ, "WIRESHARK_CONFIG_DIR": str(profile)}
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, env=environment)
    taken = time.perf_counter() - start
    opened = sum(bool(line.strip()) for line in done.stdout.splitlines())
    if opened != packets:
        raise ValueError(f"tshark opened {opened} of {packets} packets")
    return taken


def tshark_rows(plan: Plan, say: Callable[[str], None]) -> list[Row]:
    """tshark decrypting a capture of ours."""
    if shutil.which("tshark") is None:
        say("tshark: not installed, left out")
        return []
    say("tshark")
    rows = []
    few, many = TSHARK_PACKETS
    with workspace() as folder:
        write_esp_sa(folder / "esp_sa", Site(GCM, 16).keys())
        for size in package_peers.SIZES:
            times = []
            for packets in TSHARK_PACKETS:
                wire_file(folder / f"{packets}.pcapng", size, packets)
            for _ in range(min(plan.slow_rounds, 3)):
                short, long = (_tshark(folder / f"{n}.pcapng", folder, n) for n in TSHARK_PACKETS)
                times.append((long - short) * 1e9 / (many - few))
            label = Label("peer: decrypts a capture", "decrypt", GCM, size, 16, engine="tshark")
            rows.append(packets_row(label, times, size))
    return rows


def own_rows(plan: Plan, say: Callable[[str], None]) -> list[Row]:
    """The whole path of qfp and openssl's GCM, interleaved."""
    say("qfp and openssl")
    with machine.pinned():
        cases = [*paths.path_cases(sizes=traffic.SIZES), *package_peers.openssl_cases()]
        return interleaved(cases, plan.slow_rounds)


if __name__ == "__main__":
    script(str(__doc__), [own_rows, peer_rows, scapy_rows, tshark_rows])
