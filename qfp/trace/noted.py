"""What a capture held besides what was taken from it: frames that were not looked into, headers that the sender left to
its network card, records without a time. As facts of JSON, and as sentences."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qfp.batch import Array
from qfp.trace.source import Source
from qfp_kernels import capture as C
from qfp_kernels import dissect_words as W

MOST = 16  # kinds that are listed one by one, the commonest
SAID = 5  # of these, kinds in the sentence

# By number of the space: key in JSON, words, digits of the number (0 = decimal)
SPACES = (
    ("link_type", "link type", 0), ("ethertype", "EtherType", 4), ("ip_protocol", "IP protocol", 0),
    ("udp_port", "UDP port", 0), ("tcp_port", "TCP port", 0), ("ppp_protocol", "PPP protocol", 4),
    ("llc_saps", "LLC SAPs", 4), ("nlpid", "NLPID", 2), ("next_protocol", "next protocol", 0),
    ("address_family", "address family", 0), ("fragment_of", "a fragment of IP protocol", 0), ("reason", "reason", 0),
)  # fmt: skip
REASONS = ("captured too short", "malformed header", "nested too deep", "encrypted by the link layer")
NAMES = {
    (W.LINK, 147): "private use", (W.LINK, 220): "USB", (W.LINK, 249): "USB", (W.LINK, 187): "Bluetooth",
    (W.LINK, 201): "Bluetooth", (W.LINK, 227): "CAN", (W.LINK, 252): "exported PDUs", (W.LINK, 253): "netlink",
    (W.ETHERTYPE, 0x0806): "ARP", (W.ETHERTYPE, 0x8035): "RARP", (W.ETHERTYPE, 0x88CC): "LLDP",
    (W.ETHERTYPE, 0x888E): "EAPOL", (W.ETHERTYPE, 0x8809): "slow protocols", (W.ETHERTYPE, 0x9000): "loopback",
    (W.ETHERTYPE, 0x8863): "PPPoE discovery", (W.ETHERTYPE, 0x8902): "CFM", (W.ETHERTYPE, 0x88F7): "PTP",
    (W.ETHERTYPE, 0x88E5): "MACsec", (W.ETHERTYPE, 0x2000): "CDP", (W.ETHERTYPE, 0x2001): "NHRP",
    (W.ETHERTYPE, 0x8847): "MPLS", (W.ETHERTYPE, 0x22F3): "TRILL", (W.ETHERTYPE, 0x8870): "jumbo LLC",
    (W.ETHERTYPE, 0x88A2): "ATA", (W.ETHERTYPE, 0x8906): "FCoE", (W.ETHERTYPE, 0x8892): "PROFINET",
    (W.ETHERTYPE, 0x88B8): "GOOSE", (W.ETHERTYPE, 0x8137): "IPX", (W.ETHERTYPE, 0x809B): "AppleTalk",
    (W.ETHERTYPE, 0x883E): "WCCP", (W.ETHERTYPE, 0x88E1): "HomePlug", (W.ETHERTYPE, 0x893A): "IEEE 1905",
    (W.PROTOCOL, 47): "GRE", (W.PROTOCOL, 55): "minimal encapsulation", (W.PROTOCOL, 98): "ENCAP",
    (W.PROTOCOL, 108): "IPComp", (W.PROTOCOL, 115): "L2TPv3",
    (W.FRAGMENT_OF, 4): "IP in IP", (W.FRAGMENT_OF, 17): "UDP", (W.FRAGMENT_OF, 41): "6in4",
    (W.FRAGMENT_OF, 47): "GRE", (W.FRAGMENT_OF, 50): "ESP in a tunnel", (W.FRAGMENT_OF, 51): "AH in a tunnel",
    (W.FRAGMENT_OF, 115): "L2TPv3",
    (W.UDP_PORT, 1701): "L2TP", (W.UDP_PORT, 2152): "GTP-U", (W.UDP_PORT, 4789): "VXLAN", (W.UDP_PORT, 5247): "CAPWAP",
    (W.UDP_PORT, 6081): "GENEVE", (W.UDP_PORT, 6343): "sFlow", (W.UDP_PORT, 37008): "TZSP",
    (W.UDP_PORT, 51820): "WireGuard", (W.TCP_PORT, 4500): "ESP in TCP, RFC 8229", (W.PPP, 0x00FD): "compressed",
    (W.PPP, 0x003D): "multilink fragments", (W.PPP, 0x0053): "encrypted", (W.LLC, 0x4242): "spanning tree",
    (W.LLC, 0xFEFE): "IS-IS", (W.LLC, 0xAAAA): "SNAP of a vendor", (W.LLC, 0xE0E0): "IPX",
}  # fmt: skip
# What comes with nearly every capture and holds no IP packet: counted, and not told on stderr
USUAL = {
    (W.ETHERTYPE, number) for number in (0x0806, 0x8035, 0x88CC, 0x888E, 0x8809, 0x9000, 0x8863, 0x8902, 0x88F7, 0x2000)
} | {(W.LLC, 0x4242), (W.LLC, 0xFEFE), (W.LLC, 0xAAAA)}  # fmt: skip


@dataclass
class Noted:
    """Counts of a capture. frames: by (space, number) of dissect_words, of what was not looked into; no_checksum,
    no_length: packets taken without; untimed: simple packet blocks; beyond: times that do not fit 64-bit ns;
    other_kinds, other_frames: what `frames` does not list one by one, where facts of another run were taken over."""

    frames: dict[tuple[int, int], int] = field(default_factory=dict)
    no_checksum: int = 0
    no_length: int = 0
    untimed: int = 0
    beyond: int = 0
    other_kinds: int = 0
    other_frames: int = 0

    @classmethod
    def of(cls, counts: Array, source: Source | None = None) -> Noted:
        """counts: one number a space and number, as kernels fill it; source: what was walked."""
        found = {(int(k) >> 16, int(k) & 0xFFFF): int(counts[k]) for k in np.flatnonzero(counts)}
        checksum, length = (found.pop((W.OFFLOAD, what & 0xFFFF), 0) for what in (W.NO_CHECKSUM, W.NO_LENGTH))
        untimed, beyond = (0, 0) if source is None else (int(source.state[w]) for w in (C.W_UNTIMED, C.W_BEYOND))
        return cls(found, checksum, length, untimed, beyond)

    @classmethod
    def from_facts(cls, facts: Any) -> Noted:
        """Back from what `facts` gave. Raises ValueError, KeyError, TypeError for anything else."""
        spaces = {key: space for space, (key, _, _) in enumerate(SPACES)}
        told, offload = facts["not_looked_into"], facts["offload"]
        frames = {(spaces[kind["kind"]], int(kind["number"])): int(kind["frames"]) for kind in told["kinds"]}
        if any(not 0 <= number <= (len(REASONS) - 1 if space == W.WHY else 0xFFFF) for space, number in frames):
            raise ValueError("a number of another kind")
        numbers = (offload["no_checksum"], offload["no_length"], facts["without_time"], facts["time_beyond_range"],
                   told["other_kinds"], told["other_frames"])  # fmt: skip
        return cls(frames, *(int(number) for number in numbers))

    def facts(self) -> dict[str, Any]:
        """As JSON has it: the commonest kinds, and how many more there are."""
        ranked = self._ranked()
        kinds = [
            {"kind": SPACES[space][0], "number": number, "name": _name(space, number), "frames": count}
            for (space, number), count in ranked[:MOST]
        ]
        rest = ranked[MOST:]
        return {
            "not_looked_into": {
                "frames": sum(self.frames.values()) + self.other_frames, "kinds": kinds,
                "other_kinds": len(rest) + self.other_kinds,
                "other_frames": sum(count for _, count in rest) + self.other_frames,
            },
            "offload": {"no_checksum": self.no_checksum, "no_length": self.no_length},
            "without_time": self.untimed, "time_beyond_range": self.beyond,
        }  # fmt: skip

    def sentences(self) -> list[str]:
        """What is worth saying beside the results."""
        said = [self._not_looked_into()] if self._strange() else []
        for count, what in ((self.no_checksum, "header checksum"), (self.no_length, "length")):
            if count:
                said.append(f"{_packets(count)} without IP {what}, which the sender left to its network card: taken as "
                            "they were meant")  # fmt: skip
        if self.untimed:
            said.append(f"{_packets(self.untimed)} without a time (simple packet blocks): taken as of 1970-01-01")
        if self.beyond:
            said.append(f"{_packets(self.beyond)} with a time beyond 64-bit nanoseconds (before 1677, after 2262): "
                        "taken as of the nearest that fits")  # fmt: skip
        return said

    def _ranked(self) -> list[tuple[tuple[int, int], int]]:
        return sorted(self.frames.items(), key=lambda item: (-item[1], item[0]))

    def _strange(self) -> list[tuple[tuple[int, int], int]]:
        return [item for item in self._ranked() if item[0] not in USUAL]

    def _not_looked_into(self) -> str:
        strange = self._strange()
        rest = sum(count for _, count in strange[SAID:]) + self.other_frames
        total = sum(count for _, count in strange[:SAID]) + rest
        listed = [f"{count:,} of {_words(*kind)}" for kind, count in strange[:SAID]]
        if rest:
            listed.append(f"{rest:,} of {max(0, len(strange) - SAID) + self.other_kinds} more kinds")
        return f"{total:,} frame{'' if total == 1 else 's'} not looked into: {', '.join(listed)}"


def _packets(count: int) -> str:
    return "1 packet" if count == 1 else f"{count:,} packets"


def _name(space: int, number: int) -> str | None:
    if space == W.WHY:
        return REASONS[number]
    return NAMES.get((space, number))


def _words(space: int, number: int) -> str:
    """`EtherType 0x88e5 (MACsec)`."""
    if space == W.WHY:
        return REASONS[number]
    _, words, digits = SPACES[space]
    name = _name(space, number)
    shown = f"0x{number:0{digits}x}" if digits else str(number)
    return f"{words} {shown} ({name})" if name else f"{words} {shown}"
