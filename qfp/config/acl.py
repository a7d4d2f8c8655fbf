"""Access lists: IPv4 standard and extended, numbered and named; IPv6. First match wins; an implicit deny ends each."""

from __future__ import annotations

import re
from bisect import bisect_right
from ipaddress import IPv4Address, IPv6Address, IPv6Interface

from .arguments import DSCP_NAMES, PRECEDENCE_NAMES, Bad, kind_of, shown
from .grammar import Args, Command
from .lex import Word
from .load import Load, not_modelled
from .model import AccessList, Ace, Configuration, PortMatch, Remark
from .quads import quad

PROTOCOLS = {
    "icmp": 1, "igmp": 2, "ipinip": 4, "tcp": 6, "egp": 8, "igrp": 9, "udp": 17, "ipv6-tunnel": 41, "gre": 47,
    "esp": 50, "ahp": 51, "eigrp": 88, "ospf": 89, "nos": 94, "pim": 103, "pcp": 108, "sctp": 132,
}  # fmt: skip
PORTS_COMMON = {
    "discard": 9, "domain": 53, "echo": 7, "sunrpc": 111, "syslog": 514, "tacacs": 49, "talk": 517, "time": 37,
}  # fmt: skip
PORTS_TCP = {
    **PORTS_COMMON, "bgp": 179, "chargen": 19, "cmd": 514, "daytime": 13, "exec": 512, "finger": 79, "ftp": 21,
    "ftp-data": 20, "gopher": 70, "hostname": 101, "ident": 113, "irc": 194, "klogin": 543, "kshell": 544, "login": 513,
    "lpd": 515, "msrpc": 135, "nntp": 119, "pim-auto-rp": 496, "pop2": 109, "pop3": 110, "smtp": 25, "telnet": 23,
    "uucp": 540, "whois": 43, "www": 80, "syslog": 514, "http": 80, "https": 443, "ssh": 22, "drip": 3949, "ldap": 389,
    "onep-plain": 15001, "onep-tls": 15002, "connectedapps-plain": 15001, "connectedapps-tls": 15002,
}  # fmt: skip
PORTS_UDP = {
    **PORTS_COMMON, "biff": 512, "bootpc": 68, "bootps": 67, "dnsix": 195, "isakmp": 500, "mobile-ip": 434,
    "nameserver": 42, "netbios-dgm": 138, "netbios-ns": 137, "netbios-ss": 139, "non500-isakmp": 4500, "ntp": 123,
    "pim-auto-rp": 496, "rip": 520, "ripv6": 521, "snmp": 161, "snmptrap": 162, "tftp": 69, "who": 513, "xdmcp": 177,
}  # fmt: skip
ICMP4 = {
    "echo-reply": (0, None), "unreachable": (3, None), "net-unreachable": (3, 0), "host-unreachable": (3, 1),
    "protocol-unreachable": (3, 2), "port-unreachable": (3, 3), "packet-too-big": (3, 4),
    "administratively-prohibited": (3, 13), "source-quench": (4, None), "redirect": (5, None), "echo": (8, None),
    "network-unknown": (3, 6), "host-unknown": (3, 7), "host-isolated": (3, 8), "net-tos-unreachable": (3, 11),
    "host-tos-unreachable": (3, 12), "source-route-failed": (3, 5), "dod-net-prohibited": (3, 9),
    "dod-host-prohibited": (3, 10), "host-precedence-unreachable": (3, 14), "precedence-unreachable": (3, 15),
    "net-redirect": (5, 0), "host-redirect": (5, 1), "net-tos-redirect": (5, 2), "host-tos-redirect": (5, 3),
    "general-parameter-problem": (12, 0), "option-missing": (12, 1), "no-room-for-option": (12, 2),
    "alternate-address": (6, None), "conversion-error": (31, None), "mobile-redirect": (32, None),
    "router-advertisement": (9, None), "router-solicitation": (10, None), "time-exceeded": (11, None),
    "ttl-exceeded": (11, 0), "reassembly-timeout": (11, 1), "parameter-problem": (12, None),
    "timestamp-request": (13, None), "timestamp-reply": (14, None), "information-request": (15, None),
    "information-reply": (16, None), "mask-request": (17, None), "mask-reply": (18, None), "traceroute": (30, None),
}  # fmt: skip
ICMP6 = {
    "unreachable": (1, None), "no-route": (1, 0), "no-admin": (1, 1), "beyond-scope": (1, 2),
    "destination-unreachable": (1, 3), "port-unreachable": (1, 4), "packet-too-big": (2, None),
    "time-exceeded": (3, None), "hop-limit": (3, 0), "reassembly-timeout": (3, 1), "parameter-problem": (4, None),
    "header": (4, 0), "next-header": (4, 1), "parameter-option": (4, 2), "echo-request": (128, None),
    "echo-reply": (129, None), "mld-query": (130, None), "mld-report": (131, None), "mld-reduction": (132, None),
    "router-solicitation": (133, None), "router-advertisement": (134, None), "nd-ns": (135, None),
    "nd-na": (136, None), "redirect": (137, None), "router-renumbering": (138, None),
}  # fmt: skip
IGMP = ("dvmrp", "host-query", "host-report", "mtrace-resp", "mtrace-route", "pim", "trace", "v2-leave", "v2-report",
        "v3-report")  # fmt: skip
_TCP, _IGMP = 6, 2
_FLAGS = ("ack", "fin", "psh", "rst", "syn", "urg")
# Conditions of IOS that are kept as written, by family: those of one word, and those with a value behind them
_BARE: dict[int, tuple[str, ...]] = {
    4: (), 6: ("auth", "dest-option", "hbh", "mobility", "routing", "undetermined-transport"),
}  # fmt: skip
_VALUED: dict[int, dict[str, str]] = {
    4: {"option": "an IP option", "reflect": "a name", "time-range": "the name of a time range", "tos": "a TOS",
        "ttl": "an operator"},
    6: {"dest-option-type": "an option", "flow-label": "a flow label", "mobility-type": "a type", "reflect": "a name",
        "routing-type": "a type", "time-range": "the name of a time range"},
}  # fmt: skip
_OPTIONS = {"established", "fragments", "log", "log-input", "dscp", "precedence", "sequence", "match-any", "match-all",
            *IGMP, *_BARE[6], *_VALUED[4], *_VALUED[6]}  # fmt: skip
_PORT_OPERATORS = ("eq", "neq", "lt", "gt", "range")
_FULL = {4: 0xFFFFFFFF, 6: (1 << 128) - 1}
_WITH_PORTS = (6, 17, 132)
_NUMBER = re.compile(r"[0-9]{1,6}\Z")


class Wrong(Exception):
    """A word of an entry that cannot stand where it does."""

    def __init__(self, column: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.column, self.hint = column, hint


class EntryReader:
    """Reads the words of one entry from left to right."""

    def __init__(self, words: list[Word], family: int) -> None:
        self.words, self.family, self.at = words, family, 0
        self.doubts: list[Wrong] = []  # what is read as it stands, but was hardly meant

    def more(self) -> bool:
        return self.at < len(self.words)

    def peek(self) -> str:
        return self.words[self.at].text.lower() if self.more() else ""

    def column(self) -> int:
        if self.more():
            return self.words[self.at].column
        last = self.words[-1]
        return last.column + len(last.text)

    def take(self, expected: str) -> str:
        if not self.more():
            raise Wrong(self.column(), f"incomplete entry: {expected} expected")
        self.at += 1
        return self.words[self.at - 1].text.lower()

    def wrong(self, message: str, hint: str = "") -> Wrong:
        """An error at the word just taken."""
        return Wrong(self.words[self.at - 1].column, message, hint)

    def number(self, names: dict[str, int], high: int, expected: str) -> int:
        """A number up to `high`, or its name, which may be cut short as long as it stays unique."""
        text = self.take(expected)
        if _NUMBER.match(text):
            if int(text) > high:
                raise self.wrong(f"{shown(text)} is outside 0 to {high}")
            return int(text)
        meant = [text] if text in names else [name for name in names if name.startswith(text)]
        if len(meant) != 1:
            raise self.wrong(f"{shown(text)} is not {expected}")
        return names[meant[0]]

    # --- addresses

    def address(self) -> tuple[int, int]:
        """Read any, host A, A WILDCARD (IPv4) or PREFIX (IPv6); return (value, care mask)."""
        word = self.take("an address")
        if word in ("any", "an"):
            return 0, 0
        if word in ("host", "hos", "ho"):
            return self._value(self.take("an address")), _FULL[self.family]
        if self.family == 6:
            return self._prefix6()
        value = self._value(word)
        if not self.more() or "." not in self.peek():
            raise Wrong(self.column(), "a wildcard mask must follow the address", "write 'host' for a single address")
        wildcard = self._value(self.take("a wildcard mask"))
        care = wildcard ^ _FULL[4]
        if 0 < wildcard < _FULL[4] and not care & (care + 1):
            told = f"{shown(self.words[self.at - 1].text)} is a netmask where a wildcard belongs: it is taken as one"
            self.doubts.append(self.wrong(told, f"write {IPv4Address(care)}"))
        return value & care, care

    def group(self) -> str | None:
        """Read `object-group NAME`, if it comes next."""
        if self.peek() != "object-group":
            return None
        self.at += 1
        self.take("the name of an object group")
        return self.words[self.at - 1].text

    def standard_address(self) -> tuple[int, int]:
        """Read the address of a standard entry: the wildcard may be left out."""
        if self.peek() in ("any", "host") or (self.at + 1 < len(self.words) and "." in self.words[self.at + 1].text):
            return self.address()
        return self._value(self.take("an address")), _FULL[4]

    def _value(self, text: str) -> int:
        if self.family == 4:
            try:
                return quad(text)
            except (ValueError, KeyError):
                pass  # not in the usual writing
        taken = kind_of("ip4" if self.family == 4 else "ip6").take(self.words, self.at - 1)
        if taken is None or isinstance(taken, Bad):
            raise self.wrong(f"{shown(text)} is not an IPv{self.family} address")
        address: IPv4Address | IPv6Address = taken.value
        return int(address)

    def _prefix6(self) -> tuple[int, int]:
        taken = kind_of("prefix6").take(self.words, self.at - 1)
        if taken is None or isinstance(taken, Bad):
            text = self.words[self.at - 1].text
            raise self.wrong(f"{shown(text)} is not an IPv6 prefix", "write 'host' for a single address")
        prefix: IPv6Interface = taken.value
        return int(prefix.network.network_address), int(prefix.network.netmask)

    # --- what follows addresses

    def port(self, protocol: int | None) -> PortMatch | None:
        """Read a port condition, if there is one."""
        operator = self.peek()
        if operator not in _PORT_OPERATORS or protocol not in _WITH_PORTS:
            return None
        self.at += 1
        names = PORTS_UDP if protocol == 17 else PORTS_TCP
        first = self.number(names, 65535, "a port")
        if operator == "lt":
            return PortMatch("lt", 0, first - 1)
        if operator == "gt":
            return PortMatch("gt", first + 1, 65535)
        if operator == "range":
            other = self.number(names, 65535, "a port")
            return PortMatch("range", min(first, other), max(first, other))
        ports = [first]
        while self.more() and len(ports) < 10 and (_NUMBER.match(self.peek()) or self.peek() in names):
            ports.append(self.number(names, 65535, "a port"))
        return PortMatch(operator, min(ports), max(ports), tuple(ports))

    def bare_port(self, protocol: int | None) -> PortMatch:
        """Read a port without an operator, as object groups have it."""
        port = self.number(PORTS_UDP if protocol == 17 else PORTS_TCP, 65535, "a port")
        return PortMatch("eq", port, port, (port,))

    def icmp(self, ace: Ace) -> None:
        """Read an ICMP message name, or type and code, if there is one."""
        names = ICMP4 if self.family == 4 else ICMP6
        if self.peek() in names:
            ace.icmp_type, ace.icmp_code = names[self.take("a message")]
        elif _NUMBER.match(self.peek()):
            ace.icmp_type = self.number({}, 255, "an ICMP type")
            if _NUMBER.match(self.peek()):
                ace.icmp_code = self.number({}, 255, "an ICMP code")

    def options(self, ace: Ace) -> None:
        """Read what may end an entry, in any order."""
        others: list[str] = []
        while self.more():
            word = self.take("an option")
            if word == "established" and ace.protocol == _TCP:
                ace.established = True
            elif word == "fragments":
                ace.fragments = True
            elif word in ("log", "log-input"):
                ace.log = " ".join([word, *self._cookie()])
            elif word == "dscp":
                ace.dscp = self.number(DSCP_NAMES, 63, "a DSCP")
            elif word == "precedence":
                ace.precedence = self.number(PRECEDENCE_NAMES, 7, "a precedence")
            elif word == "sequence" and self.family == 6:
                ace.sequence = self.number({}, 999999, "a sequence number")
            else:
                others.append(self._other(word, ace.protocol))
        ace.others = tuple(others)

    def _cookie(self) -> list[str]:
        """The word of one's own that may stand behind `log`."""
        if not self.more() or self.peek() in _OPTIONS or self.peek() in _FLAGS:
            return []
        self.at += 1
        return [self.words[self.at - 1].text]

    def _other(self, word: str, protocol: int | None) -> str:
        """Read a condition that is only kept; returns it as written."""
        if word in _BARE[self.family] or (protocol == _TCP and word in _FLAGS):
            return word
        if protocol == _IGMP and (word in IGMP or (_NUMBER.match(word) and int(word) < 16)):
            return word
        if protocol == _TCP and word in ("match-any", "match-all"):
            return " ".join([word, *self._signed_flags()])
        if word not in _VALUED[self.family]:
            raise self.wrong(f"{shown(word)} is not expected here")
        if word == "ttl":
            return " ".join([word, *self._ttl()])
        self.take(_VALUED[self.family][word])
        found = [word, self.words[self.at - 1].text]
        if word == "reflect" and self.peek() == "timeout":
            self.at += 1
            found += ["timeout", str(self.number({}, 2147483, "a timeout"))]
        return " ".join(found)

    def _signed_flags(self) -> list[str]:
        """`+syn -ack`, at least one."""
        found = []
        while self.peek()[:1] in ("+", "-") and self.peek()[1:] in _FLAGS:
            found.append(self.take("a flag"))
        if not found:
            raise Wrong(self.column(), "TCP flags with + or - expected", "as in match-any +syn -ack")
        return found

    def _ttl(self) -> list[str]:
        operator = self.take("an operator")
        if operator not in _PORT_OPERATORS:
            raise self.wrong(f"{shown(operator)} is not one of {', '.join(_PORT_OPERATORS)}")
        values = [self.number({}, 255, "a TTL") for _ in range(2 if operator == "range" else 1)]
        return [operator, *map(str, values)]


def _protocol(reader: EntryReader) -> int | None:
    """Read the protocol; IPv6 entries may leave it out."""
    word = reader.peek()
    if word == ("ip" if reader.family == 4 else "ipv6"):
        reader.take("a protocol")
        return None
    if reader.family == 6 and (word in ("any", "host") or ":" in word):
        return None
    names = PROTOCOLS if reader.family == 4 else {**PROTOCOLS, "icmp": 58}
    return reader.number(names, 255, "a protocol")


def _read_ace(reader: EntryReader, standard: bool, line: int) -> Ace:
    permit = "permit".startswith(reader.take("permit or deny"))  # it may be cut short
    if standard:
        ace = Ace(line, permit, None, reader.standard_address(), (0, 0))
    else:
        service = reader.group()
        protocol = _protocol(reader) if service is None else None
        src_group = reader.group()
        src = (0, 0) if src_group else reader.address()
        sport = reader.port(protocol)
        dst_group = reader.group()
        dst = (0, 0) if dst_group else reader.address()
        ace = Ace(line, permit, protocol, src, dst, sport, reader.port(protocol))
        ace.service_group, ace.src_group, ace.dst_group = service, src_group, dst_group
        if protocol == (1 if reader.family == 4 else 58):
            reader.icmp(ace)
    reader.options(ace)
    return ace


# --- commands ---------------------------------------------------------------------------------------------------


def _entry(load: Load, acl: AccessList, args: Args) -> None:
    """`[SEQ] permit|deny ...` or `[sequence N] permit ...`, and their `no` forms."""
    words = [word for word in load.statement.words if word.column >= args.column("action")]
    reader = EntryReader(words, acl.family)
    try:
        ace = _read_ace(reader, acl.standard, load.statement.line)
    except Wrong as wrong:
        load.error(str(wrong), wrong.hint, column=wrong.column)
        return
    for doubt in reader.doubts:
        load.warn(str(doubt), doubt.hint, column=doubt.column)
    ace.sequence = args.get("seq") or ace.sequence
    if args.no:
        gone = {each.sequence for each in acl.entries if _same(each, ace)}
        acl.entries[:] = [each for each in acl.entries if each.sequence not in gone]
        load.index.get(("acl", acl.family, acl.name), set()).difference_update(gone)
        return
    _add(load, acl, ace, args)


def _same(one: Ace, other: Ace) -> bool:
    first, second = dict(vars(one)), dict(vars(other))
    for each in (first, second):
        del each["line"], each["sequence"]
    return first == second


def _add(load: Load, acl: AccessList, ace: Ace, args: Args) -> None:
    taken: set[int] = load.index.setdefault(("acl", acl.family, acl.name), set())
    if not ace.sequence:
        ace.sequence = max(load.index.get(("acl-last", acl.family, acl.name), 0), 0) + 10
    elif ace.sequence in taken:
        load.error(f"access list {acl.name} has an entry {ace.sequence} already", column=args.column("seq"))
        return
    taken.add(ace.sequence)
    last = ("acl-last", acl.family, acl.name)
    load.index[last] = max(load.index.get(last, 0), ace.sequence)
    acl.entries.append(ace)


def _remark(load: Load, acl: AccessList, args: Args) -> None:
    text = args.get("text", "")
    if args.no:
        acl.remarks[:] = [remark for remark in acl.remarks if text and remark.text != text]
    else:
        acl.remarks.append(Remark(load.index.get(("acl-last", acl.family, acl.name), 0), text))


def _drop_sequence(load: Load, acl: AccessList, args: Args) -> None:
    if not args.no:
        load.error("incomplete command: permit or deny expected behind the sequence number")
        return
    acl.entries[:] = [ace for ace in acl.entries if ace.sequence != args["seq"]]
    load.index.get(("acl", acl.family, acl.name), set()).discard(args["seq"])


def _is_standard(number: int) -> bool:
    return 1 <= number <= 99 or 1300 <= number <= 1999


def _list(load: Load, lists: dict[str, AccessList], name: str, family: int, standard: bool) -> AccessList:
    found = lists.setdefault(name, AccessList(name, family, standard))
    if found.standard != standard:
        load.error(f"access list {shown(name)} is {'a standard' if found.standard else 'an extended'} one")
    return found


def _numbered(load: Load, cfg: Configuration, args: Args) -> None:
    """`access-list N ...`; the `no` form removes the whole list, with or without an entry behind it, as on IOS."""
    number = args["number"]
    if args.no:
        _forget(load, cfg.access_lists, 4, str(number))
        return
    if not (_is_standard(number) or 100 <= number <= 199 or 2000 <= number <= 2699):
        load.error(f"{number} is not the number of an IP access list", "use 1-199 or 1300-2699")
        return
    acl = _list(load, cfg.access_lists, str(number), 4, _is_standard(number))
    if args.get("action") == "remark":
        _remark(load, acl, args)
    else:
        _entry(load, acl, args)


def _forget(load: Load, lists: dict[str, AccessList], family: int, name: str) -> None:
    lists.pop(name, None)
    load.index.pop(("acl", family, name), None)
    load.index.pop(("acl-last", family, name), None)


def _named4(load: Load, cfg: Configuration, args: Args) -> AccessList | None:
    name = args["name"]
    if args.no:
        _forget(load, cfg.access_lists, 4, name)
        return None
    numbered = name.isascii() and name.isdigit()
    if numbered and (len(name) > 4 or _is_standard(int(name)) != ("standard" in args.keywords)):
        load.error(f"{shown(name)} is not the number of such an access list", column=args.column("name"))
    return _list(load, cfg.access_lists, name, 4, "standard" in args.keywords)


def _named6(load: Load, cfg: Configuration, args: Args) -> AccessList | None:
    if args.no:
        _forget(load, cfg.ipv6_access_lists, 6, args["name"])
        return None
    return _list(load, cfg.ipv6_access_lists, args["name"], 6, False)


def finish(cfg: Configuration) -> None:
    """Put the entries of every list into the order of their sequence numbers."""
    for acl in (*cfg.access_lists.values(), *cfg.ipv6_access_lists.values()):
        acl.entries.sort(key=lambda ace: ace.sequence)
        taken = [0, *(ace.sequence for ace in acl.entries)]
        for remark in acl.remarks:  # the entry before a remark may be gone
            remark.sequence = taken[bisect_right(taken, remark.sequence) - 1]


COMMANDS = [
    Command("global", "access-list <number:1-2699> {<action:permit|deny> <rest:text> | <action:remark> [<text:text>]}",
            _numbered),
    Command("global", "ip access-list {extended | standard} <name:word>", _named4, "acl"),
    Command("global", "ipv6 access-list <name:word>", _named6, "acl6"),
    Command("acl", "[<seq:1-2147483647>] <action:permit|deny> <rest:text>", _entry),
    Command("acl", "remark [<text:text>]", _remark),
    Command("acl", "<seq:1-2147483647>", _drop_sequence),
    *(Command(mode, "evaluate <name:word>", not_modelled) for mode in ("acl", "acl6")),
    Command("acl6", "[sequence <seq:1-4294967294>] <action:permit|deny> <rest:text>", _entry),
    Command("acl6", "remark [<text:text>]", _remark),
    Command("acl6", "sequence <seq:1-4294967294>", _drop_sequence),
]  # fmt: skip
