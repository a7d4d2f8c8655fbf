"""A pair of routers, traffic between their offices, and the command line in this process."""

import json
import os
import sys
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from qfp.batch import Batch
from qfp.cli.main import app
from qfp.trace import read_trace, write_trace
from qfp.trace.packets import ip, udp

ENV = {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}  # of a process of its own
START = 1_700_000_000_000_000_000  # ns
IN, OUT = "gi0/0/1", "gi0/0/0"


def config(site: int, transform: str = "esp-gcm 128", extra: str = "") -> str:
    """Site 1 or 2 of a pair: office 10.SITE/16, outside 203.0.113.SITE."""
    peer = 3 - site
    return f"""hostname Site{site}
crypto ipsec transform-set T {transform}
 mode tunnel
crypto map M 10 ipsec-isakmp
 set peer 203.0.113.{peer}
 set transform-set T
 match address 101
{extra}interface GigabitEthernet0/0/0
 ip address 203.0.113.{site} 255.255.255.0
 crypto map M
interface GigabitEthernet0/0/1
 ip address 10.{site}.0.1 255.255.0.0
ip route 0.0.0.0 0.0.0.0 203.0.113.{peer}
access-list 101 permit ip 10.{site}.0.0 0.0.255.255 10.{peer}.0.0 0.0.255.255
"""


def packet(k: int, dst: str = "10.2.0.7", ttl: int = 64) -> bytes:
    """Clear packet number k of site 1's office."""
    near, far = ip_address("10.1.0.5").packed, ip_address(dst).packed
    return ip(near, far, 17, udp(near, far, 1000 + k, 53, bytes([k & 255]) * (10 + 7 * k % 400)), ttl=ttl)


@dataclass
class Said:
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def qfp(*args: Any) -> Said:
    """Run a command in this process. An unexpected exception is a failure of the test."""
    result = CliRunner().invoke(app, [str(arg) for arg in args], catch_exceptions=False)
    return Said(result.exit_code, result.stdout, result.stderr)


@dataclass
class Office:
    """Files of a scenario in a folder."""

    folder: Path
    a: Path
    b: Path
    trace: Path

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def seal(self, *options: Any, name: str = "wire.pcapng") -> Said:
        """Run site 1 over the clear trace, into `name`."""
        return qfp("run", self.a, self.trace, "--in", IN, "-o", self / name, *options)


def office(folder: Path, packets: int = 40, transform: str = "esp-gcm 128", extra: str = "") -> Office:
    """Configurations and a clear trace: packets for the other office, one whose TTL ends, one to the internet."""
    made = Office(folder, folder / "a.cfg", folder / "b.cfg", folder / "in.pcap")
    made.a.write_text(config(1, transform, extra))
    made.b.write_text(config(2, transform, extra))
    frames = [packet(k) for k in range(packets)]
    frames[2:2] = [packet(90, ttl=1), packet(91, dst="192.0.2.9")]
    write_trace(made.trace, Batch.from_frames(frames, ts=[START + k * 10**6 for k in range(len(frames))]))
    return made


def rewrite(source: Path, target: Path, order: list[int], spoil: tuple[int, ...] = (), gap: int = 10**6) -> None:
    """Copy frames in another order; those at the positions in `spoil` get their last byte changed."""
    batch = read_trace(source)
    frames = [batch.frame(k) for k in order]
    for k in spoil:
        frames[k] = frames[k][:-1] + bytes([frames[k][-1] ^ 1])
    write_trace(target, Batch.from_frames(frames, ts=[START + k * gap for k in range(len(frames))]))
