"""IKE commands: policies, pre-shared keys, keyrings, profiles, peers, keepalives (guide chapters 4, 5, 6, 10)."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Interface, IPv6Network, ip_network
from typing import Any

from .grammar import Args, Command, Handler
from .lex import MASK
from .load import Load, assign, below, describe, flag, keep_with_warning, not_modelled
from .model import (
    Identity,
    IsakmpConfig,
    IsakmpPeer,
    IsakmpPolicy,
    IsakmpProfile,
    Keepalive,
    Keyring,
    Network,
    PreSharedKey,
    Secret,
)  # fmt: skip

_GROUPS = "1|2|5|14|15|16|19|20|21|24"
_KEY_BITS = {"des": 64, "3des": 192, "aes": 128}
_MAPPING_EXPIRY = 20  # seconds after which NAT devices of the guide forget a mapping (chapter 6)


# --- policies


def _policy(load: Load, isakmp: IsakmpConfig, args: Args) -> IsakmpPolicy | None:
    priority = args["priority"]
    if args.no:
        isakmp.policies.pop(priority, None)
        return None
    return isakmp.policies.setdefault(priority, IsakmpPolicy(priority, line=load.statement.line))


def _encryption(load: Load, policy: IsakmpPolicy, args: Args) -> None:
    policy.encryption = "des" if args.no else args["value"]
    policy.key_bits = _KEY_BITS[policy.encryption] if args.no else int(args.get("bits", _KEY_BITS[policy.encryption]))


def _group(load: Load, policy: IsakmpPolicy, args: Args) -> None:
    policy.group = 1 if args.no else int(args["value"])


# --- keys


def _network(args: Args) -> Network | None:
    """Return the peers' network from an address with an optional mask, or from an IPv6 address or prefix.

    0.0.0.0 without a mask, and ::, are everybody: so `show running-config` prints the wildcard.
    """
    if "address" in args:
        everybody = int(args["address"]) == 0
        return IPv4Network((args["address"], args.get("mask", 0 if everybody else 32)), strict=False)
    if "prefix4" in args:
        return IPv4Network(args["prefix4"].network)
    if "address6" in args and ("length" in args or int(args["address6"]) == 0):
        return IPv6Network((args["address6"], args.get("length", 0)), strict=False)
    if "prefix" in args:
        prefix: IPv6Interface = args["prefix"]
        return prefix.network
    if "address6" in args:  # the guide's syntax has the length as a word of its own
        return ip_network((args["address6"], args.get("length", 128)), strict=False)
    return None


def _key(load: Load, keys: list[PreSharedKey], args: Args) -> None:
    network, hostname = _network(args), args.get("hostname")
    if args.no:
        keys[:] = [each for each in keys if (each.network, each.hostname) != (network, hostname)]
        return
    secret = Secret(args["key"])
    key_type = int(args["type"]) if "type" in args else None
    if key_type is None and secret in ("0", "6"):
        key_type = 0  # or else it could not be told from a type when it is printed
    column = args.column("key")
    if secret == MASK:
        load.warn("the key is masked: peers cannot be authenticated with it", "print the configuration with its keys")
    if key_type == 6:
        load.warn("an encrypted key (type 6) cannot be read: it fits only the same text", column=column)
    known = load.index.setdefault(("keys", id(keys)), {})
    key = PreSharedKey(secret, network, hostname, key_type, "no-xauth" in args.keywords)
    old = known.get((network, hostname))
    if old is not None and old in keys:
        vars(old).update(vars(key))
    else:
        known[network, hostname] = key
        keys.append(key)


def _section_key(load: Load, section: Any, args: Args) -> None:
    _key(load, section.keys, args)


def _keyring(load: Load, isakmp: IsakmpConfig, args: Args) -> Keyring | None:
    if args.no:
        isakmp.keyrings.pop(args["name"], None)
        return None
    keyring = isakmp.keyrings.setdefault(args["name"], Keyring(args["name"]))
    keyring.vrf = args.get("vrf", keyring.vrf)
    return keyring


# --- liveness


def _keepalive(load: Load, isakmp: IsakmpConfig, args: Args) -> None:
    load.mark(isakmp, "keepalive")
    isakmp.keepalive = (
        None if args.no else Keepalive(args["interval"], args.get("retry", 2), "periodic" in args.keywords)
    )


def _local_address(load: Load, section: Keyring | IsakmpProfile, args: Args) -> None:
    """`local-address {INTERFACE | ADDRESS} [VRF]`."""
    section.local_address = None if args.no else args["value"]
    section.local_vrf = None if args.no else args.get("local_vrf")


def _nat_keepalive(load: Load, isakmp: IsakmpConfig, args: Args) -> None:
    isakmp.nat_keepalive = None if args.no else args["seconds"]
    load.mark(isakmp, "nat_keepalive")
    if not args.no and args["seconds"] >= _MAPPING_EXPIRY:
        load.warn(
            f"a NAT device may forget a mapping after {_MAPPING_EXPIRY} s: the keepalive comes too late",
            f"use less than {_MAPPING_EXPIRY}",
            column=args.column("seconds"),
        )


# --- profiles and peers


def _profile(load: Load, isakmp: IsakmpConfig, args: Args) -> IsakmpProfile | None:
    if args.no:
        isakmp.profiles.pop(args["name"], None)
        return None
    profile = isakmp.profiles.setdefault(args["name"], IsakmpProfile(args["name"]))
    profile.accounting = args.get("accounting", profile.accounting)
    return profile


def _self_identity(load: Load, profile: IsakmpProfile, args: Args) -> None:
    if args.no:
        profile.self_identity = None
    elif "user" in args:
        profile.self_identity = f"user-fqdn {args['user']}"
    elif "fqdn" in args.keywords:
        profile.self_identity = "fqdn"
    else:
        profile.self_identity = "address ipv6" if "ipv6" in args.keywords else "address"


def _match_identity(load: Load, profile: IsakmpProfile, args: Args) -> None:
    network = _network(args)
    if network is not None:
        identity = Identity("address", str(network), network, args.get("vrf"))
    else:
        kind = next(each for each in ("user", "host", "group") if each in args.keywords)
        identity = Identity(kind + (" domain" if "domain" in args.keywords else ""), args["value"])
    if args.no:
        load.retain(profile.matches, [each for each in profile.matches if each != identity])
    else:
        load.add_once(profile.matches, identity)


def _profile_keepalive(load: Load, profile: IsakmpProfile, args: Args) -> None:
    profile.keepalive = None if args.no else (args["interval"], args.get("retry", 2))


def _initiate(load: Load, profile: IsakmpProfile, args: Args) -> None:
    profile.initiate_aggressive = not args.no


def _peer(load: Load, isakmp: IsakmpConfig, args: Args) -> IsakmpPeer | None:
    peer = IsakmpPeer(_network(args), args.get("hostname"), args.get("vrf"))
    key = ("isakmp peer", peer.network, peer.hostname, peer.vrf)
    known: IsakmpPeer | None = load.index.pop(key, None) if args.no else load.index.setdefault(key, peer)
    if args.no:
        isakmp.peers[:] = [each for each in isakmp.peers if each is not known]
        return None
    if known is peer:
        isakmp.peers.append(peer)
    return known


def _endpoint(load: Load, peer: IsakmpPeer, args: Args) -> None:
    if args.no:
        peer.client_endpoint = None
        return
    if "aggressive" in args.keywords:
        load.warn("'set aggressive mode' is taken as set aggressive-mode", "write set aggressive-mode client-endpoint")
    kind = next((each for each in ("fqdn", "user-fqdn", "ipv4-address") if each in args.keywords), "")
    network = _network(args)
    if network is not None:
        peer.client_endpoint = f"ipv6 {network.network_address}"
        if network.prefixlen < network.max_prefixlen:
            place = "prefix" if "prefix" in args else "length"
            load.error("an endpoint is a single address", column=args.column(place))
    else:
        peer.client_endpoint = f"{kind} {args['value']}".strip()


def _password(load: Load, peer: IsakmpPeer, args: Args) -> None:
    peer.password = None if args.no else Secret(args["value"])


_LOCAL = "local-address {<value:interface> | <value:address>} [<local_vrf:@vrf>]"
_WHO6 = "{<prefix:prefix6> | <address6:ip6> [<length:0-128>]}"
_WHO4 = "{<address:ip4> [<mask:mask>] | <prefix4:prefix4>}"
_WHO = f"{{address {_WHO4} | address {_WHO6} | address ipv6 {_WHO6} | ipv6 {_WHO6} | hostname <hostname:word>}}"
_GLOBALS: list[tuple[str, Handler]] = [
    ("enable", flag("enabled")),
    (f"key [<type:0|6>] <key:secret> {_WHO} [no-xauth]", _section_key),
    ("keepalive <interval:10-3600> [<retry:2-60>] [{periodic | on-demand}]", _keepalive),
    ("nat keepalive <seconds:5-3600>", _nat_keepalive),
    ("invalid-spi-recovery", flag("invalid_spi_recovery")),
    ("identity <value:address|hostname|dn>", assign("identity")),
    ("aggressive-mode disable", flag("aggressive_mode", on=False)),
]
_POLICY: list[tuple[str, Handler]] = [
    ("{encryption | encr} {<value:des|3des> | <value:aes> [<bits:128|192|256>]}", _encryption),
    ("hash <value:sha|sha256|sha384|sha512|md5>", assign("hash")),
    ("authentication <value:rsa-sig|rsa-encr|pre-share>", assign("authentication")),
    (f"group <value:{_GROUPS}>", _group),
    ("lifetime <value:60-86400>", assign("lifetime")),
]
_PROFILE: list[tuple[str, Handler]] = [
    ("description [<value:text>]", describe),
    ("self-identity {address [ipv6] | fqdn | user-fqdn <user:word>}", _self_identity),
    ("match identity {group <value:word> | address <address:ip4> [<mask:mask>] [<vrf:@vrf>] "
     f"| address ipv6 {_WHO6} | host <value:word> | host domain <value:word> | user <value:word> "
     "| user domain <value:word>}", _match_identity),
    ("keyring <value:@keyring>", assign("keyring")),
    ("vrf <value:@vrf>", assign("vrf")),
    ("keepalive <interval:10-3600> [retry <retry:2-60>]", _profile_keepalive),
    ("initiate mode aggressive", _initiate),
    (_LOCAL, _local_address),
]  # fmt: skip

COMMANDS = [
    Command("global", "crypto isakmp policy <priority:1-10000>", below("isakmp", _policy), "isakmp-policy"),
    *(Command("global", f"crypto isakmp {pattern}", below("isakmp", handler)) for pattern, handler in _GLOBALS),
    *(Command("isakmp-policy", pattern, handler) for pattern, handler in _POLICY),
    Command("global", "crypto keyring <name:word> [vrf <vrf:@vrf>]", below("isakmp", _keyring), "keyring"),
    Command("keyring", f"pre-shared-key {_WHO} key [<type:0|6>] <key:secret>", _section_key),
    Command("keyring", "description [<value:text>]", describe),
    Command("keyring", _LOCAL, _local_address),
    Command("keyring", "rsa-pubkey *", keep_with_warning, "opaque", "kept"),
    Command("global", "crypto isakmp profile <name:word> [accounting <accounting:word>]", below("isakmp", _profile),
            "isakmp-profile"),
    *(Command("isakmp-profile", pattern, handler) for pattern, handler in _PROFILE),
    *(Command("isakmp-profile", f"{word} *", not_modelled)
      for word in ("ca", "client", "isakmp", "accounting", "virtual-template", "qos-group")),
    Command("global", "crypto isakmp peer {address <address:ip4> | ip-address <address:ip4> | address ipv6 "
            f"{_WHO6} | hostname <hostname:word>}} [vrf <vrf:@vrf>]", below("isakmp", _peer), "isakmp-peer"),
    Command("isakmp-peer", f"set {{aggressive-mode | aggressive mode}} client-endpoint {{ipv6 {_WHO6} "
            "| fqdn <value:word> | user-fqdn <value:word> | ipv4-address <value:word> | <value:word>}", _endpoint),
    Command("isakmp-peer", "set aggressive-mode password <value:secret>", _password),
    Command("isakmp-peer", "description [<value:text>]", describe),
    *(Command("global", f"crypto isakmp {word} *", keep_with_warning, verdict="kept")
      for word in ("client", "xauth", "fragmentation", "default", "diagnose", "disconnect-revoked-peers")),
    Command("global", "crypto isakmp client configuration *", keep_with_warning, "opaque", "kept"),
]  # fmt: skip
