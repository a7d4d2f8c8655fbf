"""Commands of the router as a whole, and the commands of IOS that have no effect on the data plane."""

from __future__ import annotations

from .grammar import Args, Command, Handler
from .load import Load, assign, below, flag, keep, keep_with_warning
from .model import Configuration, IcmpLimits

# Commands kept as they are: known to IOS, without effect on what packets become.
_KEPT = """
version|service|boot|boot-start-marker|boot-end-marker|enable|clock|aaa|logging|mgcp|mta|call|cns|ntp|snmp-server|username
license|redundancy|spanning-tree|multilink|archive|login|memory|subscriber|diagnostic|alias|scheduler|privilege|mpls
tftp-server|ftp-server|vstack|netconf-yang|restconf|telemetry|dialer-list|cdp|lldp|file|exception|parser|process|rmon
frame-relay|vtp|vlan|dial-peer|transceiver|hw-module|config-register|security|tacacs-server|radius-server|isdn
network-clock|network-clock-participate|network-clock-select|spd|l3vpn|card|sntp|prompt|terminal|time-range|event|kron|menu|x25|software|facility-alarm|macro|buffers
mac-address-table|upgrade|warm-reboot|nls|scripting|micro-code|stackwise-virtual|device-tracking|avb|errdisable|password
mmi|memory-size|virtual-service|wsma|cwmp|epm|fabric|system|switch|stack-mac|mls|auto|dot1x|sdm|dot11|wlan|ap|stcapp
ccm-manager|gateway|sccp|dspfarm|fax|h323-gateway|call-manager-fallback|port-channel|lacp|pagp|udld|vmps|rep|ptp|cts|cef
async-bootp|chat-script|isis|clns|appletalk|ipx|decnet|dlsw|source-bridge|llc2|netconf|nmsp|onep|sgcp|sampler|translate
ttycap|tdm|vpdn|webvpn|energywise|configuration|lat|modemcap|mop|priority-list|queue-list|snapshot|device-sensor|asnp
qos map|mac address-table|mac access-list|access-session|location prefer|identity policy|power redundancy-mode|ethernet
"""
_KEPT_IP = (
    "subnet-zero|classless|cef|audit|http|domain|domain-name|domain-lookup|name-server|forward-protocol|ssh|scp|ftp|tftp"
    "|telnet|bootp|finger|source-route|tcp|gratuitous-arps|sla|dhcp|rsvp|rcmd|routing|options|arp|spd|identd"
    "|radius|tacacs|flow-export|default-gateway|host-routing|dns|bootp-server|auth-proxy|admission|ips|ddns|bgp-community"
    "|accounting|accounting-list|accounting-threshold|accounting-transits|cache|device|dvmrp|explicit-path|fast-switching"
    "|flow-aggregation|flow-cache|flow-capture|flow-top-talkers|igmp|mobile|mrm|msdp|mfib|mroute|multicast|netmask-format"
    "|port-map|probe|reflexive-list|rtcp|sap|security|traffic-export|traceroute|urlfilter|wccp|nbar|slb|sctp|subscriber"
    "|radius-source|icmp-cache|default-network|drp|rtp|webvpn|flow-egress|extcommunity-list"
)
_KEPT_IPV6 = (
    "cef|hop-limit|dhcp|nd|source-route|spd|neighbor|ioam|mfib|mobile|mld|multicast|mroute|flow|flowset"
    "|domain|ftp|tftp|http|routing|multicast-routing|snooping|source-guard|destination-guard|telnet|tacacs|sla"
)
# Sections kept with their children.
_SECTIONS = (
    "controller|voice|voice-port|voice-card|control-plane|gatekeeper|key|archive|dial-peer|redundancy|rsvp|tacacs|radius"
    "|flow|ephone|telephony-service|sip-ua|applet|virtual-service|app-hosting|guestshell|monitor|mediatrace|call-home"
    "|track|appqoe|profile|media|pseudowire-class|bridge-domain|l2vpn|performance|object-group|bba-group|vpdn-group"
    "|event manager applet|mac access-list|bfd-template|segment-routing|evpn|wlan|ap|dspfarm|sccp|credentials|template"
    "|lisp|service-template|service-insertion|fhrp|otv|ephone-dn|ephone-template|webvpn|iox|call-manager-fallback|ethernet"
    "|esmc|transport-map|vpdn|translation-rule|crypto-template|gateway|stcapp|domain|ethernet cfm|voice class"
    "|parser view|parameter-map type webauth|l2vpn evpn|sampler|telemetry ietf subscription"
)
_SECTIONS_IP = (
    "dhcp pool",
    "dhcp class",
    "sla",
    "sla monitor",
    "explicit-path",
    "flow-top-talkers",
    "ddns update",
    "slb",
    "host-list",
)  # of `ip`
# What does change packets on a router but is not modelled here.
_NOT_MODELLED = "router|zone|zone-pair|parameter-map|route-map|bridge|standby|multicast|class|l2tp-class|nat64"
_NOT_MODELLED_IP = "nhrp|inspect|multicast-routing|pim|prefix-list|as-path|local|policy-list|community-list"
_NOT_MODELLED_CRYPTO = "ikev2|identity|ssl|call|logging|mib|gkm|xauth|wui|tls-tunnel"
_LINE = (
    "password|login|exec-timeout|transport|stopbits|logging|access-class|privilege|session-timeout|length|width"
    "|speed|databits|parity|flowcontrol|modem|rotary|authorization|accounting|escape-character|history|exec|motd-banner"
    "|exec-banner|autocommand|location|notify|monitor|lockable|ipv6|rxspeed|txspeed|timeout|vacant-message|script"
)


def _host(load: Load, cfg: Configuration, args: Args) -> None:
    name = args.get("name")
    if args.no:
        if name is None:
            cfg.hosts.clear()
        cfg.hosts.pop(str(name), None)
        return
    known = cfg.hosts.setdefault(str(name), [])
    for address in args["addresses"]:
        load.add_once(known, address)


def _icmp_limit(load: Load, cfg: Configuration, args: Args) -> None:
    """`ip icmp rate-limit unreachable`: with `df` for fragmentation needed alone, else for all; `no` takes it away."""
    limits, value = cfg.icmp, 0 if args.no else args.get("value", IcmpLimits.unreachable)
    limits.unreachable_df = value
    if "df" not in args.keywords:
        limits.unreachable = value


def _icmp6_interval(load: Load, cfg: Configuration, args: Args) -> None:
    limits = cfg.icmp
    limits.interval6 = IcmpLimits.interval6 if args.no else args["value"]
    limits.bucket6 = IcmpLimits.bucket6 if args.no else args.get("bucket", IcmpLimits.bucket6)


def _qos_group(load: Load, cfg: Configuration, args: Args) -> None:
    groups = cfg.platform.llq_qos_groups
    load.mark(cfg.platform, "llq_qos_groups")
    if args.no:
        groups[:] = [] if "group" not in args else [group for group in groups if group != args["group"]]
    elif args["group"] not in groups:
        groups.append(args["group"])


def _first_words(table: str, prefix: str, handler: Handler, verdict: str, enters: str = "") -> list[Command]:
    words = [word for line in table.strip().split("\n") for word in line.split("|")]
    return [Command("global", f"{prefix}{word} *", handler, enters, verdict) for word in dict.fromkeys(words)]


def _without(table: str, other: str) -> str:
    taken = set(other.split("|"))
    return "\n".join(word for line in table.strip().split("\n") for word in line.split("|") if word not in taken)


_PLATFORM_FLAGS = {
    "arlog-supress": "arlog_suppress",  # as release 16.6 spells it
    "arlog-suppress": "arlog_suppress",
    "reassemble transit": "reassemble_transit",
    "fips-mode": "fips_mode",
    "gdoi accept-both": "gdoi_accept_both",
}

COMMANDS = [
    Command("global", "hostname <value:word>", assign("hostname")),
    Command("global", "{ip | ipv6} host <name:word> [<port:0-65535>] <addresses:address+>", _host),
    Command("global", "{ip | ipv6} host vrf *", keep_with_warning, verdict="kept"),
    Command("global", "ipv6 unicast-routing", flag("unicast_routing6")),
    Command("global", "ip icmp rate-limit unreachable [df] [<value:1-4294967295>]", _icmp_limit),
    Command("global", "ip icmp redirect *", keep, verdict="kept"),
    Command("global", "ipv6 icmp error-interval <value:0-2147483647> [<bucket:1-200>]", _icmp6_interval),
    Command("global", "platform ipsec llq qos-group <group:1-99>", _qos_group),
    *(
        Command("global", f"platform ipsec {words}", below("platform", flag(name)))
        for words, name in _PLATFORM_FLAGS.items()
    ),
    *(Command("global", f"platform {word} *", keep, verdict="kept") for word in ("qfp", "punt-keepalive", "hardware",
      "console", "sslvpn", "shell", "urpf", "mpls", "bridge-security", "vfi")),
    *_first_words(_without(_KEPT, _SECTIONS), "", keep, "kept"),
    *_first_words("banner", "", keep, "kept"),
    *_first_words(_KEPT_IP, "ip ", keep, "kept"),
    *(Command("global", f"ip {words} *", keep, "opaque", "kept") for words in _SECTIONS_IP),
    *_first_words(_KEPT_IPV6, "ipv6 ", keep, "kept"),
    *_first_words(_SECTIONS, "", keep, "kept", "opaque"),
    *_first_words(_NOT_MODELLED, "", keep_with_warning, "kept", "opaque"),
    *_first_words(_NOT_MODELLED_IP, "ip ", keep_with_warning, "kept", "opaque"),
    *_first_words("router|local|nat|pim|inspect|prefix-list", "ipv6 ", keep_with_warning, "kept", "opaque"),
    *(Command("global", f"{family} local policy *", keep_with_warning, verdict="kept") for family in ("ip", "ipv6")),
    *_first_words(_NOT_MODELLED_CRYPTO, "crypto ", keep_with_warning, "kept", "opaque"),
    *_first_words("pki|key|ca|engine", "crypto ", keep, "kept", "opaque"),
    Command("global", "line *", keep, "line", "kept"),
    *(Command("line", f"{word} *", keep, verdict="kept") for word in _LINE.split("|")),
]  # fmt: skip
