"""Addresses, selectors, SAs, packets and causes: as facts, and as the words that sentences use."""

from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from qfp.control.device import Device
from qfp.engines import kinds
from qfp.stages import STAGE_NAMES
from qfp_kernels import drops

Facts = dict[str, Any]
Said = tuple[str, Facts]
PROTOCOLS = {1: "icmp", 2: "igmp", 4: "ipip", 6: "tcp", 17: "udp", 41: "ipv6", 47: "gre", 50: "esp", 51: "ah",
             58: "icmpv6", 89: "ospf", 132: "sctp"}  # fmt: skip
WITH_PORTS = (6, 17, 33, 132, 136)
ICMP = (1, 58)
LINKS = {1: "Ethernet", 101: "raw IP", 113: "Linux cooked", 228: "raw IPv4", 229: "raw IPv6", 276: "Linux cooked v2"}
CONNECTION_BASE = 2000  # IOS prints connection ids as 2000 + flow id


def address(family: int, high: Any, low: Any) -> IPv4Address | IPv6Address:
    """An address from its two words."""
    value = int(high) << 64 | int(low)
    return IPv4Address(value) if family == 4 else IPv6Address(value)


def sa_end(family: int, row: Any, side: str) -> str:
    """`src` or `dst` of an SA row; `*` where it is open."""
    high, low = row[side + "0"], row[side + "1"]
    return str(address(family, high, low)) if high or low else "*"


def protocol(number: int) -> str:
    return PROTOCOLS.get(number, str(number))


def count(number: int, word: str) -> str:
    """`1 packet`, `2,000 packets`."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def hop_name(family: int) -> str:
    return "TTL" if family == 4 else "hop limit"


def moment(ts: int) -> str:
    """ns since 1970 as UTC text, exact to the ns."""
    try:
        whole = datetime.fromtimestamp(ts // 10**9, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{ts} ns"
    return f"{whole:%Y-%m-%d %H:%M:%S}.{ts % 10**9:09d} UTC"


def network(family: int, pair: tuple[int, int]) -> str:
    """A (value, mask) pair as any, address, prefix, or address and wildcard."""
    value, mask = pair
    bits = 32 if family == 4 else 128
    make: Callable[[int], Any] = IPv4Address if family == 4 else IPv6Address
    wildcard = ~mask & ((1 << bits) - 1)
    if mask == 0:
        return "any"
    if wildcard & (wildcard + 1):
        return f"{make(value)} {make(wildcard)}"
    length = bits - wildcard.bit_length()
    return str(make(value)) if length == bits else f"{make(value)}/{length}"


def selector_text(selector: Any) -> str:
    """Proxy identities as one line."""
    whole = "ip" if selector.family == 4 else "ipv6"
    name = whole if selector.protocol is None else protocol(selector.protocol)
    ends = []
    for pair, ports in ((selector.src, selector.sport), (selector.dst, selector.dport)):
        text = network(selector.family, pair)
        if ports != (0, 65535):
            text += f" port {ports[0]}" if ports[0] == ports[1] else f" ports {ports[0]}-{ports[1]}"
        ends.append(text)
    return f"{name} {ends[0]} -> {ends[1]}"


def interface_name(owner: Device, row: int) -> str:
    names = owner.interfaces.names
    return str(names[row]) if 0 <= row < len(names) else "-"


def cause_facts(number: int, stage: int) -> Facts:
    """Everything that is known about a drop cause, and the stage (number) that found it."""
    c = drops.CAUSES[number]
    return {
        "cause": c.name, "stage": STAGE_NAMES[stage], "sentence": c.sentence, "xe_code": c.xe_code,
        "xe_name": c.xe_name, "linux": c.linux,
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------------- SAs
def profile_of(owner: Device, handle: int) -> Any:
    return owner.sad.profiles[int(owner.tables.t.sa["profile"][handle])]


def sa_facts(owner: Device, handle: int) -> Facts:
    """An SA without its keys."""
    row, profile = owner.tables.t.sa[handle], profile_of(owner, handle)
    family = profile.family
    return {
        "handle": handle, "flow_id": int(row["flow_id"]), "conn_id": CONNECTION_BASE + int(row["flow_id"]),
        "proto": profile.proto, "spi": f"0x{int(row['spi']):08x}",
        "src": sa_end(family, row, "src"), "dst": sa_end(family, row, "dst"),
        "mode": profile.mode, "encr": profile.encr, "integ": profile.integ, "icv_len": profile.icv_len,
        "esn": profile.esn, "natt": list(profile.natt) if profile.natt is not None else None,
    }  # fmt: skip


def sa_name(owner: Device, handle: int) -> str:
    """`SA 3 (SPI 0x…)`."""
    return f"SA {handle} (SPI 0x{int(owner.tables.t.sa['spi'][handle]):08x})"


def algorithm(owner: Device, handle: int) -> str:
    """What an SA does to bytes, in words."""
    profile = profile_of(owner, handle)
    if profile.proto == "ah":
        return str(profile.integ)
    return str(profile.encr) if profile.integ == "none" else f"{profile.encr} and {profile.integ}"


def engine_name(owner: Device, handle: int, outbound: bool) -> str:
    """Who works on this SA's packets: native kernels lack some algorithms, which openssl then does."""
    profile = profile_of(owner, handle)
    native = owner.sad.crypto.name == "native"
    found = kinds.steps(profile.proto, profile.encr, profile.key_len, profile.integ, outbound, native)
    if kinds.OPENSSL_ESP in found or (kinds.OPENSSL_MAC in found and profile.proto == "ah"):
        return "openssl"
    return "native, ICV by openssl" if kinds.OPENSSL_MAC in found else "native"
