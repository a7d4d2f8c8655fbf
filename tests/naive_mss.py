"""Maximum segment size of TCP (RFC 9293 section 3.7.1), lowered on the way."""

import struct

from naive import TCP, Ip, read_ip

SYN = 0x02


def option_at(segment: bytes) -> int | None:
    """Where the value of the MSS option of a SYN stands."""
    if len(segment) < 20 or not segment[13] & SYN:
        return None
    end = (segment[12] >> 4) * 4
    if end > len(segment):
        return None
    k = 20
    while k < end and segment[k] != 0:
        size = 1 if segment[k] == 1 else segment[k + 1] if k + 1 < end else 0
        if size < 1 or k + size > end or (size == 1 and segment[k] != 1):
            return None
        if segment[k] == 2 and size == 4:
            return k + 2
        k += size
    return None


def words(data: bytes) -> int:
    return sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))


def clamp(ip: Ip, limit: int) -> Ip:
    """The packet with an MSS of at most `limit`. The checksum moves by the difference (RFC 1624): right stays right."""
    segment = ip.data[ip.upper :]
    at = option_at(segment) if ip.proto == TCP and not ip.later else None
    if at is None or int.from_bytes(segment[at : at + 2]) <= limit:
        return ip
    lower = segment[:at] + struct.pack("!H", limit) + segment[at + 2 :]
    total = (~int.from_bytes(segment[16:18]) & 0xFFFF) + words(lower) - words(segment)
    folded = total % 0xFFFF or 0xFFFF  # a sum of one's complement is never 0 again
    return read_ip(ip.data[: ip.upper] + lower[:16] + struct.pack("!H", ~folded & 0xFFFF) + lower[18:])
