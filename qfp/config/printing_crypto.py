"""IKE and IPsec settings as text."""

from __future__ import annotations

from collections.abc import Iterator

from .lex import MASK, mask_secrets
from .model import (
    Configuration,
    CryptoMap,
    CryptoMapEntry,
    Identity,
    IpsecGlobals,
    IpsecProfile,
    IsakmpConfig,
    IsakmpPeer,
    IsakmpPolicy,
    IsakmpProfile,
    Keyring,
    Network,
    PreSharedKey,
    SaPolicy,
    SessionKey,
)  # fmt: skip
from .transforms import TransformSet


def crypto_lines(cfg: Configuration, show_keys: bool) -> list[list[str]]:
    """Return blocks of lines in IOS's order: keyrings, IKE, IPsec globals, transform sets, profiles, maps."""
    isakmp = cfg.isakmp
    return [
        *(list(_keyring(each, show_keys)) for each in isakmp.keyrings.values()),
        *(list(_policy(each)) for each in isakmp.policies.values()),
        [f"crypto isakmp key {_key(key, show_keys)}" for key in isakmp.keys],
        list(_isakmp(isakmp)),
        *(list(_peer(each, show_keys)) for each in isakmp.peers),
        *(list(_isakmp_profile(each)) for each in isakmp.profiles.values()),
        list(_globals(cfg.ipsec)),
        *(list(_transform_set(each)) for each in cfg.transform_sets.values()),
        *(list(_profile(each)) for each in cfg.profiles.values()),
        *([group.text, *group.children] for group in cfg.gdoi_groups),
        *(list(_map(each, True, show_keys)) for each in cfg.dynamic_maps.values()),
        *(list(_map(each, False, show_keys)) for each in cfg.crypto_maps.values()),
    ]


# --- IKE


def _who(network: Network | None, hostname: str | None) -> str:
    if network is None:
        return f"hostname {hostname}"
    if network.version == 6:
        return f"address ipv6 {network}"
    mask = "" if network.prefixlen == 32 else f" {network.netmask}"
    return f"address {network.network_address}{mask}"


def _key_words(key: PreSharedKey, show_keys: bool) -> str:
    text = str(key.key) if show_keys else MASK
    return text if key.key_type is None else f"{key.key_type} {text}"


def _key(key: PreSharedKey, show_keys: bool) -> str:
    who = _who(key.network, key.hostname)
    return f"{_key_words(key, show_keys)} {who}{' no-xauth' if key.no_xauth else ''}"


def _keyring(ring: Keyring, show_keys: bool) -> Iterator[str]:
    yield f"crypto keyring {ring.name}{f' vrf {ring.vrf}' if ring.vrf else ''}"
    if ring.description:
        yield f" description {ring.description}"
    if ring.local_address:
        yield f" local-address {ring.local_address}{f' {ring.local_vrf}' if ring.local_vrf else ''}"
    for key in ring.keys:
        yield f" pre-shared-key {_who(key.network, key.hostname)} key {_key_words(key, show_keys)}"


def _policy(policy: IsakmpPolicy) -> Iterator[str]:
    default = IsakmpPolicy(policy.priority)
    yield f"crypto isakmp policy {policy.priority}"
    if policy.encryption != default.encryption:
        bits = f" {policy.key_bits}" if policy.encryption == "aes" and policy.key_bits != 128 else ""
        yield f" encryption {policy.encryption}{bits}"
    for attribute in ("hash", "authentication", "group", "lifetime"):
        if getattr(policy, attribute) != getattr(default, attribute):
            yield f" {attribute} {getattr(policy, attribute)}"


def _isakmp(isakmp: IsakmpConfig) -> Iterator[str]:
    if not isakmp.enabled:
        yield "no crypto isakmp enable"
    if isakmp.identity != "address":
        yield f"crypto isakmp identity {isakmp.identity}"
    if isakmp.invalid_spi_recovery:
        yield "crypto isakmp invalid-spi-recovery"
    if isakmp.keepalive is not None:
        alive = isakmp.keepalive
        retry = f" {alive.retry}" if alive.retry != 2 else ""
        yield f"crypto isakmp keepalive {alive.interval}{retry}{' periodic' if alive.periodic else ''}"
    if isakmp.nat_keepalive is not None:
        yield f"crypto isakmp nat keepalive {isakmp.nat_keepalive}"
    if not isakmp.aggressive_mode:
        yield "crypto isakmp aggressive-mode disable"


def _peer(peer: IsakmpPeer, show_keys: bool) -> Iterator[str]:
    yield f"crypto isakmp peer {_who(peer.network, peer.hostname)}{f' vrf {peer.vrf}' if peer.vrf else ''}"
    if peer.description:
        yield f" description {peer.description}"
    if peer.password is not None:
        yield f" set aggressive-mode password {peer.password if show_keys else MASK}"
    if peer.client_endpoint:
        yield f" set aggressive-mode client-endpoint {peer.client_endpoint}"


def _isakmp_profile(profile: IsakmpProfile) -> Iterator[str]:
    yield f"crypto isakmp profile {profile.name}{f' accounting {profile.accounting}' if profile.accounting else ''}"
    for attribute in ("description", "vrf", "keyring"):
        if getattr(profile, attribute):
            yield f" {attribute} {getattr(profile, attribute)}"
    if profile.self_identity:
        yield f" self-identity {profile.self_identity}"
    yield from (f" match identity {_identity(each)}" for each in profile.matches)
    if profile.keepalive is not None:
        yield f" keepalive {profile.keepalive[0]} retry {profile.keepalive[1]}"
    if profile.initiate_aggressive:
        yield " initiate mode aggressive"
    if profile.local_address:
        yield f" local-address {profile.local_address}{f' {profile.local_vrf}' if profile.local_vrf else ''}"


def _identity(identity: Identity) -> str:
    if identity.network is None:
        return f"{identity.kind} {identity.value}"
    vrf = f" {identity.vrf}" if identity.vrf else ""
    if identity.network.version == 6:
        return f"address ipv6 {identity.network}"
    return f"address {identity.network.network_address} {identity.network.netmask}{vrf}"


# --- IPsec


def _globals(ipsec: IpsecGlobals) -> Iterator[str]:
    sa = "crypto ipsec security-association"
    if ipsec.lifetime_seconds != 3600:
        yield f"{sa} lifetime seconds {ipsec.lifetime_seconds}"
    if ipsec.lifetime_kilobytes != 4608000:
        yield f"{sa} lifetime kilobytes {ipsec.lifetime_kilobytes}"
    if ipsec.replay_window != 64:
        yield f"{sa} {_replay(ipsec.replay_window)}"
    if ipsec.idle_time is not None:
        yield f"{sa} idle-time {ipsec.idle_time}"
    if ipsec.multi_sn:
        yield f"{sa} multi-sn"
    if ipsec.dummy_pps is not None:
        yield f"{sa} dummy pps {ipsec.dummy_pps}"
    if ipsec.dummy_seconds is not None:
        yield f"{sa} dummy seconds {ipsec.dummy_seconds}"
    if ipsec.ecn is not None:
        yield f"{sa} ecn {ipsec.ecn}"
    if ipsec.df_bit != "copy":
        yield f"crypto ipsec df-bit {ipsec.df_bit}"
    if ipsec.fragmentation is not None:
        yield f"crypto ipsec fragmentation {ipsec.fragmentation}-encryption"
    if ipsec.ipv4_deny != "jump":
        yield f"crypto ipsec ipv4-deny {ipsec.ipv4_deny}"
    if not ipsec.nat_udp_encapsulation:
        yield "no crypto ipsec nat-transparency udp-encapsulation"
    if ipsec.nat_spi_matching:
        yield "crypto ipsec nat-transparency spi-matching"


def _replay(window: int) -> str:
    return "replay disable" if window == 0 else f"replay window-size {window}"


def _transform_set(found: TransformSet) -> Iterator[str]:
    yield f"crypto ipsec transform-set {found.name} {' '.join(found.transforms)}"
    if found.mode != "tunnel":
        yield f" mode {found.mode}{' require' if found.mode_require else ''}"
    if found.esn:
        yield " esn"


def _policy_lines(section: SaPolicy) -> Iterator[str]:
    """Render what entries and profiles share, but for the transform sets."""
    sa = " set security-association"
    if section.lifetime_seconds is not None:
        yield f"{sa} lifetime seconds {section.lifetime_seconds}"
    if section.lifetime_kilobytes is not None:
        yield f"{sa} lifetime kilobytes {section.lifetime_kilobytes}"
    if section.idle_time is not None:
        yield f"{sa} idle-time {section.idle_time}{' default' if section.idle_default else ''}"
    if section.replay_window is not None:
        yield f"{sa} {_replay(section.replay_window)}"
    if section.df_bit is not None:
        yield f"{sa} dfbit {section.df_bit}"
    if section.transform_sets:
        yield f" set transform-set {' '.join(section.transform_sets)}"
    if section.pfs is not None:
        yield f" set pfs group{section.pfs}"
    if section.isakmp_profile is not None:
        yield f" set isakmp-profile {section.isakmp_profile}"
    if section.reverse_route:
        yield f" reverse-route {section.reverse_route_how}".rstrip()
    yield from (f" set reverse-route {each}" for each in section.reverse_route_sets)
    for kept in section.kept:
        yield from (f" {mask_secrets(line)}" for line in (kept.text, *kept.children))


def _profile(profile: IpsecProfile) -> Iterator[str]:
    yield f"crypto ipsec profile {profile.name}"
    if profile.description:
        yield f" description {profile.description}"
    yield from _policy_lines(profile)
    if profile.responder_only:
        yield " responder-only"


def _map(found: CryptoMap, dynamic: bool, show_keys: bool) -> Iterator[str]:
    if dynamic:
        head = f"crypto {'ipv6 ' if found.family == 6 else ''}dynamic-map {found.name}"
    else:
        head = f"crypto map {'ipv6 ' if found.family == 6 else ''}{found.name}"
    if found.local_address:
        yield f"{head} local-address {found.local_address}"
    if found.isakmp_profile:
        yield f"{head} isakmp-profile {found.isakmp_profile}"
    for entry in found.entries:
        kind = "" if dynamic else f" {entry.kind}"
        yield f"{head} {entry.seq}{kind}{f' dynamic {entry.dynamic_map}' if entry.dynamic_map else ''}"
        yield from _entry(entry, show_keys)


def _entry(entry: CryptoMapEntry, show_keys: bool) -> Iterator[str]:
    if entry.description:
        yield f" description {entry.description}"
    if entry.group:
        yield f" set group {entry.group}"
    for peer in entry.peers:
        yield f" set peer {peer.label}{' dynamic' if peer.dynamic else ''}{' default' if peer.default else ''}"
    for key in entry.session_keys:
        yield f" set session-key {_session_key(key, show_keys)}"
    yield from _policy_lines(entry)
    if entry.acl is not None:
        yield f" match address {entry.acl}"
    if entry.qos_pre_classify:
        yield " qos pre-classify"


def _session_key(key: SessionKey, show_keys: bool) -> str:
    hidden = not show_keys or key.masked
    head = f"{key.direction} {key.proto} {key.spi}"
    if key.proto == "ah":
        return f"{head} {MASK if hidden else key.auth_key.hex()}"
    for word, value in (("cipher", key.cipher_key), ("authenticator", key.auth_key)):
        if value or key.masked:
            head += f" {word} {MASK if hidden else value.hex()}"
    return head
