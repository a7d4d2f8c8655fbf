"""What a configuration says, as typed values.

Every class here is plain data; equality means "configures the same" (line numbers and file names do not count). `None`
where a command overrides a more general one means "inherit".
"""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import TYPE_CHECKING

from .issues import Issue
from .lex import MASK, mask_secrets
from .route_list import Routes
from .static_route import StaticRoute
from .transforms import TransformSet
from .verdicts import LineVerdict

if TYPE_CHECKING:
    from .boxes import Box

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Secret(str):
    """A key or a password; prints as a mask."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{MASK}>"

    @property
    def masked(self) -> bool:
        """Whether the configuration came with its keys masked, so that the key itself is not known."""
        return str(self) == MASK


@dataclass(repr=False)
class Kept:
    """A command without effect on the data plane, kept as written, with its section or banner text."""

    text: str
    children: list[str] = field(default_factory=list)
    block: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"Kept({mask_secrets(self.text)!r})"


# --- access lists -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PortMatch:
    """A condition on a port: `low` to `high` inclusive are the ports of eq, lt, gt and range, or those refused by neq.

    `ports` lists the values of eq and neq, which may be several; `low` and `high` are then the least and the greatest.
    """

    op: str  # eq, neq, lt, gt, range
    low: int
    high: int
    ports: tuple[int, ...] = ()

    def matches(self, port: int) -> bool:
        """Tell whether a port fulfils the condition."""
        if self.op == "eq":
            return port in self.ports
        if self.op == "neq":
            return port not in self.ports
        return self.low <= port <= self.high


@dataclass
class Ace:
    """One entry of an access list. Addresses are (value, care mask): bits set in the mask must equal the value's."""

    line: int = field(compare=False)
    permit: bool
    protocol: int | None  # None: any
    src: tuple[int, int]
    dst: tuple[int, int]
    sport: PortMatch | None = None
    dport: PortMatch | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    established: bool = False
    dscp: int | None = None
    precedence: int | None = None
    fragments: bool = False
    log: str | None = None  # "log" or "log-input", and a cookie
    sequence: int = 0
    others: tuple[str, ...] = ()  # conditions that are kept as written: "ttl eq 1", "match-any +syn", "time-range T"
    src_group: str | None = None  # object groups; addresses, protocol and ports above then say "any"
    dst_group: str | None = None
    service_group: str | None = None

    @property
    def grouped(self) -> bool:
        """Whether the entry names object groups, and stands for several."""
        return self.src_group is not None or self.dst_group is not None or self.service_group is not None

    @property
    def beyond_selectors(self) -> list[str]:
        """Conditions that no selector of an SA can express (RFC 4301 4.4.1.1 has addresses, protocol, ports, ICMP type
        and code), each by its first word."""
        named = (("established", self.established), ("fragments", self.fragments), ("dscp", self.dscp is not None),
                 ("precedence", self.precedence is not None))  # fmt: skip
        return [word for word, there in named if there] + [each.split()[0] for each in self.others]


@dataclass
class Remark:
    """A comment in an access list; it stands behind the entry with this sequence number (0: before all)."""

    sequence: int
    text: str


@dataclass
class AccessList:
    """An access list, numbered or named; `standard` ones look at the source only."""

    name: str
    family: int  # 4 or 6
    standard: bool = False
    entries: list[Ace] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    expanded: list[Ace] | None = field(default=None, compare=False, repr=False)

    @property
    def rules(self) -> list[Ace]:
        """The entries that packets are compared with: those that name object groups are expanded."""
        return self.entries if self.expanded is None else self.expanded


@dataclass(frozen=True)
class Service:
    """A protocol with ports or an ICMP message, as a member of an object group."""

    protocol: int | None
    sport: PortMatch | None = None
    dport: PortMatch | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None


@dataclass(frozen=True)
class GroupMember:
    """A member of an object group, as written and as it is meant; `group` names another group."""

    text: str
    networks: tuple[Network, ...] = ()
    services: tuple[Service, ...] = ()
    group: str | None = None
    line: int = field(default=0, compare=False)


@dataclass
class ObjectGroup:
    """A named set of addresses or services; `kind` is network, service, v6-network or v6-service."""

    name: str
    kind: str
    members: list[GroupMember] = field(default_factory=list)
    description: str | None = None
    line: int = field(default=0, compare=False)


# --- IPsec ------------------------------------------------------------------------------------------------------


@dataclass(repr=False)
class SessionKey:
    """Keys of one manually keyed SA; empty where the transform has no use for one, or where they are masked."""

    direction: str  # inbound, outbound
    proto: str  # ah, esp
    spi: int
    cipher_key: bytes = b""
    auth_key: bytes = b""
    masked: bool = False

    def __repr__(self) -> str:
        return f"SessionKey({self.direction} {self.proto} spi={self.spi:#x} keys=<{MASK}>)"


@dataclass
class Peer:
    """A peer of a crypto map entry, by address or by host name (`dynamic`: looked up anew at each negotiation)."""

    address: Address | None = None
    hostname: str | None = None
    dynamic: bool = False
    default: bool = False

    @property
    def label(self) -> str:
        """The peer as configured."""
        return str(self.address) if self.address is not None else str(self.hostname)


@dataclass
class SaPolicy:
    """Settings of SAs that crypto map entries and profiles share; None inherits the global setting."""

    transform_sets: list[str] = field(default_factory=list)
    pfs: int | None = None  # Diffie-Hellman group
    lifetime_seconds: int | None = None
    lifetime_kilobytes: int | str | None = None  # or "disable"
    replay_window: int | None = None  # packets; 0: checking is off
    idle_time: int | None = None  # seconds
    idle_default: bool = False
    df_bit: str | None = None
    isakmp_profile: str | None = None
    description: str | None = None
    reverse_route: bool = False
    reverse_route_how: str = ""  # "static", "remote-peer 192.0.2.1 gateway", "tag 5"
    reverse_route_sets: list[str] = field(default_factory=list)  # of `set reverse-route`: "distance 20", "tag 5"
    kept: list[Kept] = field(default_factory=list)  # commands of IOS that are not modelled


@dataclass
class CryptoMapEntry(SaPolicy):
    """One numbered entry of a crypto map or dynamic map."""

    seq: int = 0
    kind: str = "ipsec-isakmp"  # ipsec-isakmp, ipsec-manual, gdoi
    peers: list[Peer] = field(default_factory=list)
    acl: str | None = None
    qos_pre_classify: bool = False
    dynamic_map: str | None = None
    group: str | None = None  # of GETVPN
    session_keys: list[SessionKey] = field(default_factory=list)
    line: int = field(default=0, compare=False)


@dataclass
class CryptoMap:
    """A crypto map: entries in order of their sequence numbers, tried from the top."""

    name: str
    family: int = 4
    local_address: str | None = None  # an interface
    isakmp_profile: str | None = None
    entries: list[CryptoMapEntry] = field(default_factory=list)

    def entry(self, seq: int) -> CryptoMapEntry | None:
        """Return the entry with a sequence number."""
        return next((entry for entry in self.entries if entry.seq == seq), None)


@dataclass
class IpsecProfile(SaPolicy):
    """An IPsec profile, for `tunnel protection`; up to six transform sets."""

    name: str = ""
    responder_only: bool = False
    line: int = field(default=0, compare=False)


@dataclass
class IpsecGlobals:
    """`crypto ipsec ...` commands of the global mode; seconds, kilobytes (1024 octets), packets."""

    lifetime_seconds: int = 3600
    lifetime_kilobytes: int | str = 4608000  # or "disable"
    replay_window: int = 64  # 0: checking is off
    multi_sn: bool = False
    idle_time: int | None = None
    df_bit: str = "copy"
    fragmentation: str | None = None  # before, after
    nat_udp_encapsulation: bool = True
    nat_spi_matching: bool = False
    ipv4_deny: str = "jump"  # clear, drop, jump
    dummy_pps: int | None = None
    dummy_seconds: int | None = None
    ecn: str | None = None  # discard, propagate


# --- IKE --------------------------------------------------------------------------------------------------------


@dataclass
class IsakmpPolicy:
    """An IKE policy, with the defaults of the guide's chapter 10; the lowest priority number is tried first."""

    priority: int
    encryption: str = "des"  # des, 3des, aes
    key_bits: int = 64
    hash: str = "sha"  # md5, sha, sha256, sha384, sha512
    authentication: str = "rsa-sig"  # rsa-sig, rsa-encr, pre-share
    group: int = 1
    lifetime: int = 86400  # seconds
    line: int = field(default=0, compare=False)


@dataclass
class PreSharedKey:
    """A pre-shared key for peers in a network, or for a peer's host name."""

    key: Secret
    network: Network | None = None
    hostname: str | None = None
    key_type: int | None = None  # 0: clear, 6: encrypted
    no_xauth: bool = False


@dataclass
class Keyring:
    """A named set of pre-shared keys, of one front-door VRF; the global keys are the list `IsakmpConfig.keys`."""

    name: str
    vrf: str | None = None
    keys: list[PreSharedKey] = field(default_factory=list)
    local_address: Address | str | None = None  # or an interface
    local_vrf: str | None = None
    description: str | None = None


@dataclass(frozen=True)
class Identity:
    """An IKE identity to match: `kind` is address, host, host domain, user, user domain or group."""

    kind: str
    value: str
    network: Network | None = None
    vrf: str | None = None


@dataclass
class IsakmpProfile:
    """An ISAKMP profile: which peers it is for, and how to deal with them."""

    name: str
    accounting: str | None = None
    self_identity: str | None = None  # address, address ipv6, fqdn, user-fqdn NAME
    matches: list[Identity] = field(default_factory=list)
    keyring: str | None = None
    vrf: str | None = None
    keepalive: tuple[int, int] | None = None  # interval, retry (seconds)
    initiate_aggressive: bool = False
    local_address: Address | str | None = None  # or an interface
    local_vrf: str | None = None
    description: str | None = None


@dataclass
class IsakmpPeer:
    """A peer to which aggressive mode is used: with which identity and password."""

    network: Network | None = None
    hostname: str | None = None
    vrf: str | None = None
    client_endpoint: str | None = None
    password: Secret | None = None
    description: str | None = None


@dataclass(frozen=True)
class Keepalive:
    """Dead peer detection (guide chapter 5): seconds between probes, seconds between retries."""

    interval: int
    retry: int = 2
    periodic: bool = False


@dataclass
class IsakmpConfig:
    """`crypto isakmp ...` and keyrings."""

    enabled: bool = True
    policies: dict[int, IsakmpPolicy] = field(default_factory=dict)
    keys: list[PreSharedKey] = field(default_factory=list)
    keyrings: dict[str, Keyring] = field(default_factory=dict)
    profiles: dict[str, IsakmpProfile] = field(default_factory=dict)
    peers: list[IsakmpPeer] = field(default_factory=list)
    keepalive: Keepalive | None = None
    nat_keepalive: int | None = None  # seconds
    invalid_spi_recovery: bool = False
    identity: str = "address"  # address, hostname, dn
    aggressive_mode: bool = True


# --- interfaces and routing -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Address6:
    """An IPv6 address of an interface; with `eui64` its low 64 bits come from the interface's identifier.

    general: the name of the general prefix that it is under, and `bits` what stands behind the name.
    """

    interface: IPv6Interface
    eui64: bool = False
    link_local: bool = False
    general: str | None = None
    bits: IPv6Interface | None = None


# Tunnel modes that are IPsec itself, and the IP versions that each carries. The guide's two carry both.
VTI_OVERLAYS = {
    "ipsec ipv4": (4, 6), "ipsec ipv6": (4, 6), "ipsec dual-overlay": (4, 6), "ipsec ipv4 v6-overlay": (6,),
    "ipsec ipv6 v4-overlay": (4,),
}  # fmt: skip


@dataclass(frozen=True)
class NhrpMap:
    """`ip nhrp map`: next hops in `network` are behind the NBMA address `peer`, which may be a host name."""

    network: Network
    peer: Address | str


@dataclass
class TunnelConfig:
    """`tunnel ...` and `nhrp map` commands; `source` is an address or an interface, `destination` an address or a host
    name."""

    source: Address | str | None = None
    destination: Address | str | None = None
    mode: str = "gre ip"
    key: int | None = None
    checksum: bool = False
    sequence: bool = False
    protection_profile: str | None = None
    shared: bool = False
    ikev2_profile: str | None = None
    isakmp_profile: str | None = None
    vrf: str | None = None  # the front-door VRF
    ttl: int | None = None
    tos: int | None = None
    path_mtu_discovery: bool = False
    nhrp_maps: list[NhrpMap] = field(default_factory=list)
    nhrp_multicast: list[Address | str] = field(default_factory=list)  # NBMA addresses that multicast goes to

    @property
    def is_vti(self) -> bool:
        """Whether the tunnel's encapsulation is IPsec itself."""
        return self.mode in VTI_OVERLAYS

    @property
    def overlay(self) -> tuple[int, ...]:
        """IP versions that a VTI carries."""
        return VTI_OVERLAYS[self.mode]

    @property
    def is_multipoint(self) -> bool:
        """Whether the tunnel has many peers, each with an NBMA address that NHRP knows."""
        return self.mode in ("gre multipoint", "gre multipoint ipv6")

    @property
    def nbma(self) -> list[Address | str]:
        """NBMA addresses that NHRP entries name, each once, in the order of the configuration."""
        return list(dict.fromkeys([*(each.peer for each in self.nhrp_maps), *self.nhrp_multicast]))


@dataclass
class Interface:
    """An interface; MTUs in octets, bandwidth in kbit/s, link encapsulation as a VLAN number."""

    name: str
    description: str | None = None
    shutdown: bool = False
    addresses4: list[IPv4Interface] = field(default_factory=list)  # the first is the primary one
    addresses6: list[Address6] = field(default_factory=list)
    ipv6_enable: bool = False
    mac: str | None = None  # `mac-address` as three groups of four hex digits: "0011.2233.4455"
    unnumbered: str | None = None
    vrf: str | None = None
    mtu: int | None = None
    ip_mtu: int | None = None
    ipv6_mtu: int | None = None
    tcp_adjust_mss: int | None = None
    ipv6_tcp_adjust_mss: int | None = None
    bandwidth: int | None = None
    vlan: int | None = None
    inner_vlan: str | None = None  # of `second-dot1q`: a list of numbers and ranges, or "any"
    native_vlan: bool = False
    access_group_in: str | None = None
    access_group_out: str | None = None
    traffic_filter_in: str | None = None  # IPv6
    traffic_filter_out: str | None = None
    crypto_map: str | None = None
    ipv6_crypto_map: str | None = None
    df_bit: str | None = None
    fragmentation: str | None = None
    service_policy_in: str | None = None
    service_policy_out: str | None = None
    qos_pre_classify: bool = False
    unreachables: bool = True
    unreachables6: bool = True
    tunnel: TunnelConfig | None = None
    kept: list[Kept] = field(default_factory=list)
    line: int = field(default=0, compare=False)

    @property
    def is_template(self) -> bool:
        """Whether sessions would be cloned from the interface, which never comes up itself."""
        return self.name.startswith("Virtual-Template")

    @property
    def is_down(self) -> bool:
        """Whether it carries nothing, whatever else is configured."""
        return self.shutdown or self.is_template


@dataclass(frozen=True)
class NatRule:
    """A rule of `ip nat … source`: whose sources it translates: a list, a route map or a box of packets (static).

    identity: a static rule that maps addresses to themselves; both: of `ip nat source`, for `ip nat enable`.
    """

    line: int = field(compare=False)
    acl: str | None = None
    route_map: str | None = None
    static: Box | None = None
    identity: bool = False
    vrf: str | None = None
    both: bool = False


@dataclass
class Nat:
    """What is read of `ip nat`; the lines themselves are kept. roles: inside, outside, enable by interface."""

    rules: list[NatRule] = field(default_factory=list)
    roles: dict[str, set[str]] = field(default_factory=dict)


@dataclass
class IcmpLimits:
    """`ip icmp rate-limit unreachable` and `ipv6 icmp error-interval`; milliseconds for one error, 0 = no limit."""

    unreachable: int = 500
    unreachable_df: int = 500  # fragmentation needed
    interval6: int = 100
    bucket6: int = 10  # errors that may come at once


@dataclass
class Vrf:
    """A routing table of its own; `families` are those enabled (`ip vrf` enables IPv4)."""

    name: str
    rd: str | None = None
    families: list[int] = field(default_factory=list)
    old_style: bool = False  # written as `ip vrf`
    kept: list[str] = field(default_factory=list)


# --- QoS --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClassMatch:
    """One condition of a class map: precedence, dscp, access-group, protocol, qos-group, class-map, any or other.

    `other` holds conditions that are not looked at, as written: no packet fulfils them.

    `family` 4 restricts precedence and dscp to IPv4 packets (`match ip dscp`), 0 does not.
    """

    kind: str
    values: tuple[int | str, ...] = ()
    negate: bool = False
    family: int = 0


@dataclass
class ClassMap:
    """A class of packets: all of its conditions, or any."""

    name: str
    match_any: bool = False
    matches: list[ClassMatch] = field(default_factory=list)
    description: str | None = None
    refused: bool = field(default=False, compare=False)  # a condition was refused: to match all of them matches nothing


@dataclass
class Police:
    """A policer: rate in bit/s, packets/s (`packets`) or per cent; bursts in `burst_unit`; an action a colour."""

    rate: int | None = None
    percent: int | None = None
    burst: int | None = None
    excess_burst: int | None = None
    peak_rate: int | None = None
    peak_percent: int | None = None
    packets: bool = False  # rates count packets, not bits
    burst_unit: str = "bytes"  # bytes, packets, ms (of the rate), us
    conform: str = "transmit"
    exceed: str = "drop"
    violate: str | None = None


@dataclass
class ClassPolicy:
    """What a policy does with a class. Rates: kbit/s for priority and bandwidth, bit/s for shaping."""

    name: str
    priority: bool = False
    priority_level: int = 1
    priority_kbps: int | None = None
    priority_percent: int | None = None
    priority_burst: int | None = None  # octets
    bandwidth_kbps: int | None = None
    bandwidth_percent: int | None = None
    remaining_percent: int | None = None
    remaining_ratio: int | None = None
    shape_bps: int | None = None
    shape_percent: int | None = None
    shape_burst: int | None = None  # Bc: bits, of a percentage milliseconds
    shape_excess: int | None = None  # Be, likewise
    shape_peak: bool = False  # `shape peak`: Be of every interval is sent too
    queue_limit: int | None = None
    queue_limit_unit: str = "packets"  # packets, bytes, ms, us
    set_dscp: int | None = None
    set_precedence: int | None = None
    set_qos_group: int | None = None
    fair_queue: bool = False
    police: Police | None = None
    service_policy: str | None = None
    kept: list[Kept] = field(default_factory=list)  # commands of IOS that are not modelled


@dataclass
class PolicyMap:
    """A policy: its classes in order; `class-default` takes what no other does."""

    name: str
    classes: list[ClassPolicy] = field(default_factory=list)
    description: str | None = None


@dataclass
class Platform:
    """`platform ipsec ...`, and which device is modelled (None: one with every feature; guide chapter 2, AR-11)."""

    model: str | None = None
    release: tuple[int, int, int] = (16, 6, 1)  # the guide's
    llq_qos_groups: list[int] = field(default_factory=list)
    transport6: bool = field(default=True, compare=False)  # transport mode over IPv6; else tunnel mode alone
    arlog_suppress: bool = False
    reassemble_transit: bool = False
    fips_mode: bool = False
    gdoi_accept_both: bool = False


# --- the whole --------------------------------------------------------------------------------------------------


@dataclass
class Held:
    """What is held down because a refused line asks for its protection: see qfp.config.held.

    interfaces: names, each with the reason. prefixes: (VRF, network) pairs that no packet is sent to by a route as
    specific or less.
    """

    interfaces: dict[str, str] = field(default_factory=dict)
    prefixes: list[tuple[str | None, Network]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.interfaces or self.prefixes)


@dataclass(repr=False)
class Configuration:
    """A whole configuration. Two are equal when they configure the same; issues and lines do not count."""

    hostname: str = "Router"
    hosts: dict[str, list[Address]] = field(default_factory=dict)
    interfaces: dict[str, Interface] = field(default_factory=dict)
    access_lists: dict[str, AccessList] = field(default_factory=dict)
    ipv6_access_lists: dict[str, AccessList] = field(default_factory=dict)
    object_groups: dict[str, ObjectGroup] = field(default_factory=dict)
    transform_sets: dict[str, TransformSet] = field(default_factory=dict)
    crypto_maps: dict[str, CryptoMap] = field(default_factory=dict)
    dynamic_maps: dict[str, CryptoMap] = field(default_factory=dict)
    profiles: dict[str, IpsecProfile] = field(default_factory=dict)
    ipsec: IpsecGlobals = field(default_factory=IpsecGlobals)
    isakmp: IsakmpConfig = field(default_factory=IsakmpConfig)
    gdoi_groups: list[Kept] = field(default_factory=list)
    routes: MutableSequence[StaticRoute] = field(default_factory=Routes)
    vrfs: dict[str, Vrf] = field(default_factory=dict)
    unicast_routing6: bool = False
    icmp: IcmpLimits = field(default_factory=IcmpLimits)
    class_maps: dict[str, ClassMap] = field(default_factory=dict)
    policy_maps: dict[str, PolicyMap] = field(default_factory=dict)
    platform: Platform = field(default_factory=Platform)
    kept: list[Kept] = field(default_factory=list)
    nat: Nat = field(default_factory=Nat, compare=False)
    allow_null: bool = field(default=False, compare=False)  # ESP that neither encrypts nor authenticates is taken
    held: Held = field(default_factory=Held, compare=False)
    file: str = field(default="", compare=False)
    issues: list[Issue] = field(default_factory=list, compare=False)
    lines: Sequence[LineVerdict] = field(default_factory=list, compare=False)

    def __repr__(self) -> str:
        return (
            f"Configuration({self.hostname!r}, {len(self.interfaces)} interfaces, {len(self.crypto_maps)} crypto maps, "
            f"{len(self.issues)} issues)"
        )

    @property
    def ok(self) -> bool:
        """Whether the configuration has no errors (it may have warnings)."""
        return not any(issue.severity == "error" for issue in self.issues)

    @property
    def errors(self) -> list[Issue]:
        """The issues that say what is refused and missing from what runs."""
        return [issue for issue in self.issues if issue.severity == "error"]

    @property
    def problems(self) -> list[Issue]:
        """The issues that are errors or warnings."""
        return [issue for issue in self.issues if issue.severity != "note"]

    def resolve(self, name: str) -> list[Address]:
        """Return the addresses of a host name of `ip host`; names are the same in capitals."""
        if name in self.hosts:
            return self.hosts[name]
        folded = name.casefold()
        return next((found for host, found in self.hosts.items() if host.casefold() == folded), [])
