"""Access lists as text."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from .acl import PROTOCOLS
from .model import AccessList, Ace, Configuration, PortMatch

_NAMES = {
    4: {number: name for name, number in PROTOCOLS.items()},
    6: {6: "tcp", 17: "udp", 50: "esp", 51: "ahp", 58: "icmp", 108: "pcp", 132: "sctp"},
}
_FULL = {4: (1 << 32) - 1, 6: (1 << 128) - 1}


def access_lists(cfg: Configuration) -> list[list[str]]:
    """Return a block of lines for each access list."""
    return [_list(acl) for acl in (*cfg.access_lists.values(), *cfg.ipv6_access_lists.values())]


def _list(acl: AccessList) -> list[str]:
    """Numbered lists print a line an entry, unless their sequence numbers say more than their order."""
    plain = all(ace.sequence == 10 * (at + 1) for at, ace in enumerate(acl.entries))
    if acl.family == 4 and acl.name.isdigit() and plain and (acl.entries or acl.remarks):
        return [f"access-list {acl.name} {text}" for _, text in _lines(acl)]
    if acl.family == 6:
        head = f"ipv6 access-list {acl.name}"
        numbered = [(f"sequence {seq} " if seq and not plain else "") + text for seq, text in _lines(acl)]
    else:
        head = f"ip access-list {'standard' if acl.standard else 'extended'} {acl.name}"
        numbered = [(f"{seq} " if seq and not plain else "") + text for seq, text in _lines(acl)]
    return [head, *(f" {line}" for line in numbered)]


def _lines(acl: AccessList) -> list[tuple[int, str]]:
    """Return entries and remarks in order; remarks have sequence 0."""
    remarks = sorted(acl.remarks, key=lambda remark: remark.sequence)
    found: list[tuple[int, str]] = []
    at = 0
    for ace in acl.entries:
        while at < len(remarks) and remarks[at].sequence < ace.sequence:
            found.append((0, f"remark {remarks[at].text}".rstrip()))
            at += 1
        found.append((ace.sequence, entry_text(ace, acl.family, acl.standard)))
    return found + [(0, f"remark {remark.text}".rstrip()) for remark in remarks[at:]]


def entry_text(ace: Ace, family: int, standard: bool = False) -> str:
    """Return an entry as `permit ...`, without its sequence number."""
    words = ["permit" if ace.permit else "deny"]
    if standard:
        words.append(_address(ace.src, family))
    else:
        words.append(_group(ace.service_group) or _protocol(ace.protocol, family))
        words += [_group(ace.src_group) or _address(ace.src, family), *_port(ace.sport)]
        words += [_group(ace.dst_group) or _address(ace.dst, family), *_port(ace.dport)]
    words += [str(each) for each in (ace.icmp_type, ace.icmp_code) if each is not None]
    words += ["established"] if ace.established else []
    words += ["dscp", str(ace.dscp)] if ace.dscp is not None else []
    words += ["precedence", str(ace.precedence)] if ace.precedence is not None else []
    words += ["fragments"] if ace.fragments else []
    words += ace.others
    return " ".join([*words, *([ace.log] if ace.log else [])])


def _group(name: str | None) -> str:
    return f"object-group {name}" if name is not None else ""


def object_groups(cfg: Configuration) -> list[list[str]]:
    """Return a block of lines for each object group."""
    return [
        [f"object-group {each.kind} {each.name}", *([f" description {each.description}"] if each.description else []),
         *(f" {member.text}" for member in each.members)]
        for each in cfg.object_groups.values()
    ]  # fmt: skip


def _protocol(protocol: int | None, family: int) -> str:
    if protocol is None:
        return "ip" if family == 4 else "ipv6"
    return _NAMES[family].get(protocol, str(protocol))


def _address(pair: tuple[int, int], family: int) -> str:
    value, care = pair
    address = IPv4Address(value) if family == 4 else IPv6Address(value)
    if care == 0:
        return "any"
    if care == _FULL[family]:
        return f"host {address}"
    if family == 6:
        return f"{address}/{care.bit_count()}"
    return f"{address} {IPv4Address(care ^ _FULL[4])}"


def _port(port: PortMatch | None) -> list[str]:
    if port is None:
        return []
    if port.op == "lt":
        return ["lt", str(port.high + 1)]
    if port.op == "gt":
        return ["gt", str(port.low - 1)]
    return [port.op, *(map(str, port.ports) if port.ports else (str(port.low), str(port.high)))]
