"""Synthetic office: a branch LAN that talks to head office and the Internet, as seen on the branch's LAN interface.

Branch 10.1.0.0/16 and 2001:db8:1::/48, head office 10.2.0.0/16 and 2001:db8:2::/48. Voice is marked EF, bulk data
AF11; TCP has DF set; no IP packet exceeds 1400 bytes, so that ESP around it fits an MTU of 1500.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np

from qfp.batch import Batch
from qfp.trace import packets as P

Direction = Literal["both", "out", "in"]
Timed = tuple[int, bool, bytes]  # (ns after the start, whether it leaves the branch, frame)

MAX_IP = 1400  # bytes
RATE = 1500  # packets a second, about
START = 1_700_000_000_000_000_000  # ns since 1970: time of the first packet by default
_MS, _SECOND = 1_000_000, 1_000_000_000
_ROUTER = bytes.fromhex("020000000001")
_BROADCAST = b"\xff" * 6
_INTERNET = ("198.51.100.0", "203.0.113.0")


class _Host:
    """A branch host, its partner, and the frames between them."""

    def __init__(self, rng: np.random.Generator, six: bool, internet: bool = False):
        number, peer = int(rng.integers(10, 250)), int(rng.integers(10, 250))
        self.mac = b"\x02\x00\x0a\x01\x00" + bytes([number])
        if six:
            self.here = ipaddress.IPv6Address(f"2001:db8:1::{number:x}").packed
            self.there = ipaddress.IPv6Address(f"2001:db8:2::{peer:x}").packed
        else:
            self.here = bytes([10, 1, 0, number])
            net = ipaddress.IPv4Address(_INTERNET[peer & 1] if internet else "10.2.0.0")
            self.there = (net + peer).packed
        self.port = int(rng.integers(32768, 60000))
        self._ident = int(rng.integers(0, 65536))

    def ends(self, out: bool) -> tuple[bytes, bytes]:
        """(source, destination) of a packet that leaves or enters the branch."""
        return (self.here, self.there) if out else (self.there, self.here)

    def frame(self, out: bool, proto: int, payload: bytes, dscp: int = 0, df: bool = False) -> bytes:
        self._ident += 1
        packet = P.ip(*self.ends(out), proto, payload, dscp, 0 if df else self._ident, df, 64 if out else 57)
        return P.around(packet, _ROUTER, self.mac) if out else P.around(packet, self.mac, _ROUTER)

    def datagram(self, out: bool, port: int, payload: bytes, dscp: int = 0) -> bytes:
        ports = (self.port, port) if out else (port, self.port)
        return self.frame(out, P.UDP, P.udp(*self.ends(out), *ports, payload), dscp)


def _voice(rng: np.random.Generator, at: int) -> Iterator[Timed]:
    """A call: G.711 in RTP, one packet of 160 samples every 20 ms each way, a little jitter on the far end's."""
    host = _Host(rng, six=bool(rng.random() < 0.25))
    count, port = int(rng.integers(150, 600)), int(rng.integers(8000, 16000)) * 2
    sources = rng.integers(0, 1 << 32, 2)
    for k in range(count):
        for out in (True, False):
            header = struct.pack(">BBHII", 0x80, 0 if k else 0x80, k & 0xFFFF, 160 * k, int(sources[int(out)]))
            late = 0 if out else 7 * _MS + int(rng.integers(0, 4 * _MS))
            yield at + k * 20 * _MS + late, out, host.datagram(out, port, header + rng.bytes(160), P.EF)


class _Connection:
    """Both ends of a TCP connection that the branch opened."""

    def __init__(self, rng: np.random.Generator, host: _Host, port: int, at: int, dscp: int):
        self._host, self._port, self._dscp, self.at, self._rng = host, port, dscp, at, rng
        self._seq = [int(x) for x in rng.integers(0, 1 << 32, 2)]
        self.trip = int(rng.integers(8 * _MS, 40 * _MS))
        self.segment = MAX_IP - 20 - (20 if len(host.here) == 4 else 40)

    def send(self, out: bool, flags: int, size: int = 0, options: bytes = b"") -> Timed:
        ports = (self._host.port, self._port) if out else (self._port, self._host.port)
        ack = self._seq[not out] if flags & P.ACK else 0
        payload = self._rng.bytes(size)
        segment = P.tcp(*self._host.ends(out), ports, self._seq[out], ack, flags, payload, options)
        self._seq[out] += size + bool(flags & (P.SYN | P.FIN))
        return self.at, out, self._host.frame(out, P.TCP, segment, self._dscp, df=True)

    def open(self) -> Iterator[Timed]:
        options = struct.pack(">BBHBBBB", 2, 4, self.segment, 1, 1, 4, 2)
        yield self.send(True, P.SYN, 0, options)
        self.at += self.trip
        yield self.send(False, P.SYN | P.ACK, 0, options)
        self.at += 100_000
        yield self.send(True, P.ACK)

    def transfer(self, out: bool, size: int) -> Iterator[Timed]:
        """Segments of one direction, an acknowledgement for every second one."""
        count = -(-size // self.segment)
        for k in range(count):
            last = k == count - 1
            yield self.send(out, P.ACK | (P.PSH if last else 0), size - k * self.segment if last else self.segment)
            self.at += int(self._rng.integers(120_000, 400_000))
            if k % 2 or last:
                yield self.send(not out, P.ACK)
                self.at += 50_000

    def close(self) -> Iterator[Timed]:
        yield self.send(True, P.FIN | P.ACK)
        self.at += self.trip
        yield self.send(False, P.FIN | P.ACK)
        self.at += 100_000
        yield self.send(True, P.ACK)


def _web(rng: np.random.Generator, at: int) -> Iterator[Timed]:
    """One to four requests with answers of a few kB to a few hundred."""
    host = _Host(rng, six=bool(rng.random() < 0.3), internet=bool(rng.random() < 0.5))
    link = _Connection(rng, host, 443, at, 0)
    yield from link.open()
    for _ in range(int(rng.integers(1, 5))):
        yield from link.transfer(True, int(rng.integers(300, 900)))
        link.at += link.trip
        yield from link.transfer(False, int(min(rng.lognormal(9.5, 1.2), 400_000)) + 1)
        link.at += int(rng.integers(20 * _MS, 200 * _MS))
    yield from link.close()


def _bulk(rng: np.random.Generator, at: int) -> Iterator[Timed]:
    """A backup or file copy to or from head office."""
    link = _Connection(rng, _Host(rng, six=bool(rng.random() < 0.2)), 445, at, P.AF11)
    yield from link.open()
    yield from link.transfer(bool(rng.random() < 0.7), int(rng.integers(200_000, 1_500_000)))
    yield from link.close()


def _dns(rng: np.random.Generator, at: int) -> Iterator[Timed]:
    """A query to head office's resolver, and its answer."""
    host = _Host(rng, six=bool(rng.random() < 0.3))
    number = rng.bytes(2)
    name = b"".join(bytes([len(w)]) + w for w in (b"www", b"host%d" % rng.integers(0, 500), b"example", b"com"))
    question = name + b"\0\0\1\0\1"
    yield at, True, host.datagram(True, 53, number + bytes.fromhex("01000001000000000000") + question)
    answer = bytes.fromhex("c00c00010001000000780004") + rng.bytes(4)
    body = number + bytes.fromhex("81800001000100000000") + question + answer
    yield at + int(rng.integers(6 * _MS, 30 * _MS)), False, host.datagram(False, 53, body)


def _ping(rng: np.random.Generator, at: int) -> Iterator[Timed]:
    """Four echo requests with replies, a second apart."""
    host = _Host(rng, six=bool(rng.random() < 0.4))
    asks, answers, proto = (128, 129, P.ICMPV6) if len(host.here) == 16 else (8, 0, P.ICMP)
    for k in range(4):
        rest = struct.pack(">HH", host.port & 0xFFFF, k) + bytes(range(56))
        when = at + k * _SECOND
        yield when, True, host.frame(True, proto, P.icmp(*host.ends(True), asks, rest))
        yield when + 12 * _MS, False, host.frame(False, proto, P.icmp(*host.ends(False), answers, rest))


def _neighbours(rng: np.random.Generator, at: int) -> Iterator[Timed]:
    """What is no traffic for a router to forward: ARP, neighbour solicitation, LLDP, a wake-on-LAN broadcast."""
    host = _Host(rng, six=False)
    arp = bytes.fromhex("0001080006040001") + host.mac + host.here + bytes(6) + bytes([10, 1, 0, 1])
    yield at, True, P.ethernet(_BROADCAST, host.mac, P.ARP, arp)
    reply = bytes.fromhex("0001080006040002") + _ROUTER + bytes([10, 1, 0, 1]) + host.mac + host.here
    yield at + 80_000, False, P.ethernet(host.mac, _ROUTER, P.ARP, reply)
    six = _Host(rng, six=True)
    group = ipaddress.IPv6Address("ff02::1:ff00:1").packed
    target = ipaddress.IPv6Address("2001:db8:1::1").packed
    ask = P.icmp(six.here, group, 135, bytes(4) + target + b"\x01\x01" + six.mac)
    solicit = P.ip(six.here, group, P.ICMPV6, ask, ttl=255)
    yield at + 2 * _MS, True, P.ethernet(b"\x33\x33\xff\x00\x00\x01", six.mac, P.IPV6, solicit)
    about = b"\x02\x07\x04" + _ROUTER + b"\x04\x05\x05Gi0/0"[:7] + b"\x06\x02\x00\x78\x00\x00"
    yield at + 5 * _MS, False, P.ethernet(bytes.fromhex("0180c200000e"), _ROUTER, P.LLDP, about)
    wide = bytes([10, 1, 255, 255])
    wake = P.ip(host.here, wide, P.UDP, P.udp(host.here, wide, 40000, 9, b"\xff" * 6 + six.mac * 16))
    yield at + 9 * _MS, True, P.around(wake, _BROADCAST, host.mac)


_MIX: tuple[tuple[Callable[[np.random.Generator, int], Iterator[Timed]], float], ...] = (
    (_voice, 0.06),
    (_web, 0.34),
    (_bulk, 0.04),
    (_dns, 0.44),
    (_ping, 0.08),
    (_neighbours, 0.04),
)  # share of the sessions


def office_traffic(
    seed: int = 1, packets: int = 10_000, direction: Direction = "both", start: int = START, rate: float = RATE
) -> Batch:
    """`packets` Ethernet frames in order of time, from `start` (ns since 1970), about `rate` a second.

    `direction`: both, only what leaves the branch ("out"), or only what enters it ("in"). The same arguments always
    give the same bytes. Raises ValueError when packets or rate are not positive.
    """
    if packets < 1 or rate <= 0:
        raise ValueError(f"packets ({packets}) and rate ({rate}) must be positive")
    rng = np.random.default_rng(seed)
    horizon = max(int(packets / rate * _SECOND), _SECOND // 10)
    shares = np.cumsum([share for _, share in _MIX])
    kept: list[Timed] = []
    first = [_neighbours, _dns, _voice, _web]  # every sort of traffic appears in small traces too
    while len(kept) < packets:
        early = bool(first)
        make = first.pop(0) if first else _MIX[int(np.searchsorted(shares, rng.random() * shares[-1]))][0]
        at = int(rng.integers(0, horizon // 10 if early else horizon))
        kept += [x for x in make(rng, at) if x[0] < horizon and direction in ("both", "out" if x[1] else "in")]
    kept.sort(key=lambda x: x[0])
    del kept[packets:]
    zero = kept[0][0]
    return Batch.from_frames([x[2] for x in kept], [start + x[0] - zero for x in kept], P.ETHERNET)
