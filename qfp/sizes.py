"""Sizes: what a packet weighs once it is protected or tunnelled, exactly, from transforms alone (PF-2).

One description (`Sizing`) serves the tables of the data plane, `qfp mtu` and the show commands. All lengths in bytes.

    Sizing(family=4, encr="aes-cbc", icv=12).plaintext_mtu(1500)      # 1438
    Sizing(family=4, encr="aes-cbc", icv=12).protected(1438)          # 1496
    mtu_adj(1438)                                                     # 1416
"""

from dataclasses import dataclass

from qfp.algorithms import cipher

IP_HEADER = {4: 20, 6: 40}
UDP_HEADER, ESP_HEADER, AH_HEADER, GRE_HEADER, GRE_OPTION = 8, 8, 12, 4, 4
TRAILER = 2  # pad length and next header
FRAGMENT_UNIT = 8
MTU_MIN = {4: 68, 6: 1280}  # RFC 791 section 3.2, RFC 8200 section 5
LENGTH_MAX = 65535


def ah_header(icv: int, family: int) -> int:
    """AH with an ICV field of `icv` bytes (the IV of GMAC counted in), padded to 4 bytes over IPv4, to 8 over IPv6
    (RFC 4302 section 3.3.3.2.1); 0 without one."""
    if not icv:
        return 0
    unit = 4 if family == 4 else 8
    return (AH_HEADER + icv + unit - 1) // unit * unit


@dataclass(frozen=True)
class Sizing:
    """How an SA, or a bundle of AH over ESP, changes the length of a packet.

    family: of the outer header. encr: the ESP cipher's name in qfp.algorithms, None for AH alone. icv: bytes of ESP's
    ICV. ah_icv: bytes of AH's ICV field, 0 = no AH. natt: RFC 3948 UDP encapsulation. Transport mode keeps the packet's
    own IP header.
    """

    family: int = 4
    encr: str | None = "null"
    icv: int = 0
    ah_icv: int = 0
    transport: bool = False
    natt: bool = False

    @property
    def headers(self) -> int:
        """Bytes of AH, UDP and ESP headers, and of the IV."""
        ah = ah_header(self.ah_icv, self.family)
        if self.encr is None:
            return ah
        return ah + (UDP_HEADER if self.natt else 0) + ESP_HEADER + cipher(self.encr).iv

    def _payload(self, size: int) -> int:
        """`size` bytes with padding, trailer and ICV."""
        if self.encr is None:
            return size
        block = cipher(self.encr).block
        return (size + TRAILER + block - 1) // block * block + self.icv

    def protected(self, size: int, head: int | None = None) -> int:
        """Bytes of the packet that an inner packet of `size` bytes becomes. `head`: transport mode, bytes of IP header
        in front of ESP or AH (with options or extension headers more than the plain header)."""
        kept = (head if head is not None else IP_HEADER[self.family]) if self.transport else 0
        outer = kept if self.transport else IP_HEADER[self.family]
        return outer + self.headers + self._payload(size - kept)

    def plaintext_mtu(self, path_mtu: int) -> int:
        """The longest inner packet whose protected form is at most `path_mtu` bytes: `plaintext mtu` of the show
        commands. Not below 0."""
        room = path_mtu - IP_HEADER[self.family] - self.headers
        if self.encr is not None:
            block = cipher(self.encr).block
            room = (room - self.icv) // block * block - TRAILER
        return max(0, room + (IP_HEADER[self.family] if self.transport else 0))


def mtu_adj(plaintext_mtu: int) -> int:
    """`mtu_adj` of the platform's SA: the largest IPv4 fragment payload within the plaintext MTU."""
    return max(0, (plaintext_mtu - IP_HEADER[4]) // FRAGMENT_UNIT * FRAGMENT_UNIT)


def gre_overhead(family: int, *, key: bool = False, checksum: bool = False, sequence: bool = False) -> int:
    """Bytes that GRE puts in front of a packet, delivery header included (RFC 2784, 2890)."""
    return IP_HEADER[family] + GRE_HEADER + GRE_OPTION * (key + checksum + sequence)


def fragment_sizes(size: int, limit: int, head: int = 20) -> list[int]:
    """Lengths of the packets that one of `size` bytes is cut into before encryption (PF-3): as few as fit `limit`, then
    as equal as 8-byte units allow. `head`: bytes of IPv4 header, without options. One that fits stays whole."""
    if size <= limit:
        return [size]
    payload = size - head
    unit = (limit - head) // FRAGMENT_UNIT * FRAGMENT_UNIT
    count = -(-payload // unit)
    each = -(-payload // count)
    each = -(-each // FRAGMENT_UNIT) * FRAGMENT_UNIT
    return [head + min(each, payload - done) for done in range(0, payload, each)]


def outer_sizes(size: int, mtu: int, family: int) -> list[int]:
    """Lengths of the fragments that a packet of `size` bytes leaves in after encryption: each as long as `mtu` lets it,
    the rest last. IPv6 fragments carry a fragment header (RFC 8200 section 4.5)."""
    if size <= mtu:
        return [size]
    head = IP_HEADER[family]
    extra = 0 if family == 4 else 8
    unit = (mtu - head - extra) // FRAGMENT_UNIT * FRAGMENT_UNIT
    left, out = size - head, []
    while left > 0:
        room = mtu - head - extra
        take = left if left <= room else unit
        out.append(head + extra + take)
        left -= take
    return out
