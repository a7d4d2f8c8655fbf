"""Interface commands: addresses, MTUs, what is bound to an interface, and tunnels (guide chapters 3, 7, 9, 10)."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv6Interface

from .arguments import INTERFACE_TYPES, canonical_interface, shown
from .grammar import Args, Command, Handler
from .load import Load, assign, below, describe, flag, keep, keep_with_warning
from .model import Address6, Configuration, Interface, TunnelConfig

# Interface commands of IOS without effect on what packets become.
_KEPT = (
    "speed|duplex|negotiation|media-type|cdp|lldp|clockrate|clock|serial|keepalive|load-interval|delay|carrier-delay"
    "|hold-queue|tx-ring-limit|snmp|logging|fair-queue|mop|dot1x|power|cable|framing|linecode|dsu|peer|compress|down-when-looped"
    "|dialer|dialer-group|isdn|async|timeslots|channel-group|switchport|spanning-tree|arp|macsec"
    "|random-detect|transmit-buffers|max-reserved-bandwidth|ethernet|service|udld|trust|loopback|plim|mpls|autodetect"
    "|isis|bgp-policy|bfd|channel-protocol|lacp|pagp|port-channel|platform|l2protocol|l2protocol-tunnel|storm-control"
    "|authentication|access-session|device-tracking|mab|auto|srr-queue|priority-queue|queue-set|mls|wrr-queue|rcv-queue"
    "|nmsp|energywise|cts|datalink|history|h323-gateway|eigrp|lldp|lisp|interface-id|output|input|invert|carrier|mediatrace"
    "|crc|scramble|ces|line-code|cablelength|clear|fec|hello|carrier-delay|performance|monitor|callin|physical-layer"
    "|fddi|ring-speed|source|aggregate|group-range|async-bootp|peer-default|no-alias|vtp|pulse-time|dce-terminal-timing-enable"
    "|squelch|half-duplex|full-duplex|ntp|vlan-id|flowcontrol|priority|medium|bridge-domain|rewrite|dlsw|cwmp|rep|ptp"
    "|l2|private-vlan|nonegotiate|gsm|lte|profile|script|voice|vlan|stackwise-virtual|mode|ssid|station-role|antenna|world-mode"
    "|infrastructure-client|channel|packet|rts|beacon|power-supply|guest-wireless|dot11|gig|tx-queue-limit|pseudowire"
    "|private-mtu|hsrp|autostate|dsl|bundle-enable|service-module|routing|synchronous|mka|priority-group|custom-queue-list|ospfv3|virtual-reassembly|llc2|source-interface|member|mtu-ignore|atm|ima-group|dfi|ima|sgsn|flow|nbar"
)
_KEPT_IP = (
    "route-cache|mroute-cache|directed-broadcast|proxy-arp|redirects|mask-reply|broadcast-address|helper-address|split-horizon"
    "|cef|flow|rip|ospf|eigrp|router|igmp|information-reply|load-sharing|accounting|virtual-reassembly|dhcp|nbar|arp"
    "|hello-interval|hold-time|summary-address|authentication|irdp|rtp|rsvp|wccp|sticky-arp|local-proxy-arp|security"
    "|bandwidth-percent|mfib|flowspec|bootp|bgp|mobile|mrm|probe|sap|sdr|trigger-authentication|ddns|device|next-hop-self"
    "|dvmrp|cgmp|multicast|urd|ips|auth-proxy|admission|source|subscriber|lisp|header-compression|vrf receive"
    "|vrf sitemap|audit|ospf-te|verification|pgm|traffic-export|sla|isis|dampening-change|dhcp-client"
)
_KEPT_IPV6 = (
    "cef|nd|ospf|ospfv3|eigrp|rip|redirects|dhcp|mld|flow|verify|hello-interval|hold-time|router|virtual-reassembly"
    "|mfib|flowspec|bandwidth-percent|next-hop-self|split-horizon|summary-address|authentication|multicast|destination-guard"
    "|snooping|source-guard|neighbor|rsvp|inspect|mobile|lisp|wccp|tcp compression-connections|ioam|icmp"
)
_NOT_MODELLED = (
    "ip pim|ip policy|ip verify|ip inspect|ip vrf select|ipv6 nat|ipv6 pim|ipv6 policy|ppp"
    "|pppoe|pppoe-client|zone-member|standby|vrrp|glbp|bridge-group|xconnect"
    "|tunnel destination access-list"
    "|tunnel route-via|tunnel bandwidth|tunnel entropy|tunnel mpls|tunnel flow|tunnel rbscp|tunnel udlr|tunnel raw"
    "|rate-limit|ip address dhcp|ip address negotiated|ipv6 unnumbered|crypto engine|nat64|backup"
    "|ipv6 address autoconfig|ipv6 address dhcp|crypto gdoi|encapsulation"
)

# Interface commands with commands of their own below them
_SECTIONS = "pvc|service instance|frame-relay interface-dlci|vlan-range|bfd-template|fr-atm|connect|ip vrf autoclassify"

TUNNEL_MODES = (
    "aurp", "cayman", "dvmrp", "eon", "ethernet gre ipv4", "ethernet gre ipv6", "geneve ip", "gre ip", "gre ipv6",
    "gre multipoint", "gre multipoint ipv6", "ipip", "ipip decapsulate-any", "ipip ipv6", "ipsec dual-overlay",
    "ipsec ipv4", "ipsec ipv4 v6-overlay", "ipsec ipv6", "ipsec ipv6 v4-overlay", "iptalk", "ipv6", "ipv6ip",
    "ipv6ip 6rd", "ipv6ip 6to4", "ipv6ip auto-tunnel", "ipv6ip isatap", "l2tp", "mpls", "mpls traffic-eng",
    "mpls traffic-eng point-to-multipoint", "nos", "rbscp", "udp ip", "udp ipv6", "udp multipoint", "vxlan ipv4",
    "vxlan ipv6", "vxlan-gpe ipv4", "vxlan-gpe ipv6",
)  # fmt: skip


def _interface(load: Load, cfg: Configuration, args: Args) -> Interface | None:
    name: str = args["name"]
    if args.no:
        cfg.interfaces.pop(name, None)
        return None
    if name in cfg.interfaces:
        return cfg.interfaces[name]
    if canonical_interface(name) is None:
        load.warn(f"interface type of {shown(name)} is not known", column=args.column("name"))
    elif name in INTERFACE_TYPES:
        load.warn(f"interface {name} has no number", f"write {name}0", column=args.column("name"))
    tunnel = TunnelConfig() if name.startswith(("Tunnel", "Virtual-Template")) else None
    interface = Interface(name, tunnel=tunnel, line=load.statement.line)
    cfg.interfaces[name] = interface
    return interface


# --- addresses


def _ip_address(load: Load, interface: Interface, args: Args) -> None:
    """`show running-config` prints the secondary addresses before the primary one."""
    addresses = interface.addresses4
    if args.no:
        load.retain(addresses, [each for each in addresses if "address" in args and each.ip != args["address"]])
        return
    address: IPv4Interface = args["prefix"] if "prefix" in args else IPv4Interface((args["address"], args["mask"]))
    if "prefix" in args:
        load.warn(f"{address} is taken as {address.ip} {address.netmask}", f"write {address.ip} {address.netmask}",
                  column=args.column("prefix"))  # fmt: skip
    fault = _fault(address)
    if fault:
        column = args.column("prefix" if "prefix" in args else "address")
        load.error(f"{address.ip} {address.netmask} {fault}", column=column)
        return
    if "secondary" in args.keywords:
        load.add_once(addresses, address)
        return
    key = ("primary address", id(interface))
    primary = load.index.get(key)
    load.index[key] = address
    load.retain(addresses, [address, *(each for each in addresses if each not in (address, primary))])


def _fault(address: IPv4Interface) -> str:
    """Say why an address cannot be that of an interface; "" if it can."""
    if address.ip.is_multicast or address.ip.is_unspecified or address.ip == address.ip.__class__(0xFFFFFFFF):
        return "is not the address of an interface"
    if address.network.prefixlen == 0:
        return "has an empty mask"
    if address.network.prefixlen < 31 and address.ip == address.network.network_address:
        return "is the address of the network, not of an interface in it"
    if address.network.prefixlen < 31 and address.ip == address.network.broadcast_address:
        return "is the broadcast address of the network"
    return ""


def _ipv6_address(load: Load, interface: Interface, args: Args) -> None:
    prefix: IPv6Interface | None = args.get("prefix")
    if "address" in args:  # a link-local address is written without a prefix length
        prefix = IPv6Interface((args["address"], 128))
        if not prefix.ip.is_link_local:
            load.error(f"{prefix.ip} is not a link-local address (fe80::/10)", column=args.column("address"))
            return
    if prefix is None:
        if args.no:
            load.retain(interface.addresses6, [])
        else:
            load.warn("an IPv6 address is missing: the command has no effect", "write PREFIX/LENGTH behind it")
        return
    entry = Address6(prefix, "eui-64" in args.keywords, "link-local" in args.keywords)
    if args.no:
        load.retain(interface.addresses6, [each for each in interface.addresses6 if each.interface != prefix])
    elif prefix.ip.is_multicast:
        load.error(f"{prefix.ip} is a multicast address", column=args.column("prefix"))
    elif entry.eui64 and prefix.network.prefixlen > 64:
        load.error("eui-64 needs a prefix of at most 64 bits", column=args.column("prefix"))
    else:
        load.add_once(interface.addresses6, entry)


# --- bindings


def _bind(input_field: str, output_field: str) -> Handler:
    """A handler for commands that end in a direction."""

    def handler(load: Load, interface: Interface, args: Args) -> None:
        inbound = bool(args.keywords & {"in", "input"})
        outbound = bool(args.keywords & {"out", "output"})
        value = None if args.no else args["value"]
        for attribute, meant in ((input_field, inbound or not outbound), (output_field, outbound or not inbound)):
            if meant:
                setattr(interface, attribute, value)
                load.mark(interface, attribute)

    return handler


def _fragmentation(load: Load, section: Interface, args: Args) -> None:
    """`crypto ipsec fragmentation`, on an interface or globally: both sections have the same field."""
    section.fragmentation = None if args.no else str(args["value"]).partition("-")[0]


def _vlan(load: Load, interface: Interface, args: Args) -> None:
    """`dot1q 100 second-dot1q 200`: a tag in a tag; the inner one may be a list, a range or any."""
    inner = "any" if "any" in args.keywords else "".join(args.get("inner", ()))
    interface.vlan = None if args.no else args["vlan"]
    interface.inner_vlan = None if args.no or not inner else inner
    interface.native_vlan = not args.no and "native" in args.keywords
    load.mark(interface, "vlan")


def _tunnel_needed(load: Load, interface: Interface) -> TunnelConfig | None:
    if interface.tunnel is None:
        load.error(f"{interface.name} is not a tunnel interface: it takes no tunnel commands")
    return interface.tunnel


def _tunnel(attribute: str, argument: str = "value") -> Handler:
    """A handler that stores an argument of a `tunnel` command; without the argument, it is a switch."""
    set_value, switch = assign(attribute, argument), flag(attribute)

    def handler(load: Load, interface: Interface, args: Args) -> None:
        tunnel = _tunnel_needed(load, interface)
        if tunnel is not None:
            (set_value if argument else switch)(load, tunnel, args)

    return handler


def _path_mtu_timing(load: Load, interface: Interface, args: Args) -> None:
    """`age-timer` and `min-mtu` switch path MTU discovery on; by them themselves nothing is changed here."""
    _tunnel("path_mtu_discovery", "")(load, interface, args)
    if interface.tunnel is not None and not args.no:
        keep(load, interface, args)


def _tunnel_mode(load: Load, interface: Interface, args: Args) -> None:
    tunnel = _tunnel_needed(load, interface)
    if tunnel is None:
        return
    typed = [word.text.lower() for word in load.statement.words[2:]]
    mode = "gre ip" if args.no or typed == ["gre"] else _mode_of(typed)
    tunnel.mode = mode


def _mode_of(typed: list[str]) -> str:
    for mode in TUNNEL_MODES:
        words = mode.split()
        if len(words) == len(typed) and all(full.startswith(short) for full, short in zip(words, typed, strict=True)):
            return mode
    return " ".join(typed)


def _protection(load: Load, interface: Interface, args: Args) -> None:
    tunnel = _tunnel_needed(load, interface)
    if tunnel is None:
        return
    tunnel.protection_profile = None if args.no else args["name"]
    tunnel.shared = not args.no and "shared" in args.keywords
    tunnel.ikev2_profile = None if args.no else args.get("ikev2")
    tunnel.isakmp_profile = None if args.no else args.get("isakmp")
    load.mark(tunnel, "shared")
    if tunnel.ikev2_profile is not None:
        load.report("note", "'ikev2-profile' has no effect", "IKE is not modelled", column=args.column("ikev2"))


_BYTES = "68-9216"
COMMANDS = [
    Command("global", "interface <name:new-interface> [{point-to-point | multipoint | l2transport | "
            "type <type:word>}]", _interface, "interface"),
    *(Command("interface", pattern, handler) for pattern, handler in (
        ("description [<value:text>]", describe),
        ("shutdown", flag("shutdown")),
        ("mac-address <value:mac>", assign("mac")),
        ("ip address {<address:ip4> <mask:mask> | <prefix:prefix4>} [secondary]", _ip_address),
        ("ip unnumbered <value:interface>", assign("unnumbered")),
        ("ipv6 address [<prefix:prefix6> [{eui-64 | anycast}] | <address:ip6> link-local]", _ipv6_address),
        ("ipv6 enable", flag("ipv6_enable")),
        ("{vrf forwarding | ip vrf forwarding} <value:@vrf>", assign("vrf")),
        (f"mtu <value:{_BYTES}>", assign("mtu")),
        (f"ip mtu <value:{_BYTES}>", assign("ip_mtu")),
        ("ipv6 mtu <value:1280-9216>", assign("ipv6_mtu")),
        ("ip tcp adjust-mss <value:500-9000>", assign("tcp_adjust_mss")),
        ("ipv6 tcp adjust-mss <value:40-9000>", assign("ipv6_tcp_adjust_mss")),
        ("ip unreachables", flag("unreachables")),
        ("ipv6 unreachables", flag("unreachables6")),
        ("bandwidth <value:1-10000000>", assign("bandwidth")),
        ("encapsulation {dot1q | dot1ad} <vlan:1-4094> [native]", _vlan),
        ("encapsulation dot1q <vlan:1-4094> second-dot1q {<inner:vlans+> | any}", _vlan),
        ("ip access-group <value:@access list> {in | out}", _bind("access_group_in", "access_group_out")),
        ("ipv6 traffic-filter <value:@IPv6 access list> {in | out}", _bind("traffic_filter_in", "traffic_filter_out")),
        ("crypto map <value:@crypto map>", assign("crypto_map")),
        ("ipv6 crypto map <value:@crypto map>", assign("ipv6_crypto_map")),
        ("crypto ipsec df-bit <value:clear|set|copy>", assign("df_bit")),
        ("crypto ipsec fragmentation <value:before-encryption|after-encryption>", _fragmentation),
        ("service-policy {input | output} <value:@policy map>", _bind("service_policy_in", "service_policy_out")),
        ("qos pre-classify", flag("qos_pre_classify")),
        ("tunnel source {<value:interface> | <value:address>}", _tunnel("source")),
        ("tunnel destination <value:endpoint>", _tunnel("destination")),
        (f"tunnel mode {{gre | {' | '.join(TUNNEL_MODES)}}}", _tunnel_mode),
        ("tunnel protection ipsec profile <name:@IPsec profile> "
         "[{ikev2-profile <ikev2:word> | isakmp-profile <isakmp:@ISAKMP profile>}] [shared]", _protection),
        ("tunnel protection ipsec profile <name:@IPsec profile> shared "
         "{ikev2-profile <ikev2:word> | isakmp-profile <isakmp:@ISAKMP profile>}", _protection),
        ("tunnel key <value:0-4294967295>", _tunnel("key")),
        ("tunnel checksum", _tunnel("checksum", "")),
        ("tunnel sequence-datagrams", _tunnel("sequence", "")),
        ("tunnel vrf <value:@vrf>", _tunnel("vrf")),
        ("tunnel ttl <value:1-255>", _tunnel("ttl")),
        ("tunnel tos <value:0-255>", _tunnel("tos")),
        ("tunnel path-mtu-discovery", _tunnel("path_mtu_discovery", "")),
        ("tunnel path-mtu-discovery {age-timer {<age:10-30> | infinite} | min-mtu <least:92-65535>}", _path_mtu_timing),
    )),
    Command("global", "crypto ipsec fragmentation <value:before-encryption|after-encryption>",
            below("ipsec", _fragmentation)),
    *(Command("interface", f"{word} *", keep, verdict="kept") for word in _KEPT.split("|")),
    *(Command("interface", f"ip {word} *", keep, verdict="kept") for word in _KEPT_IP.split("|")),
    *(Command("interface", f"ipv6 {word} *", keep, verdict="kept") for word in _KEPT_IPV6.split("|")),
    *(Command("interface", f"{words} *", keep_with_warning, verdict="kept") for words in _NOT_MODELLED.split("|")),
    *(Command("interface", f"{words} *", keep, "opaque", "kept") for words in _SECTIONS.split("|")),
    Command("interface", "service-policy type *", keep, verdict="kept"),
]  # fmt: skip
