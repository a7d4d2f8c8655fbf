"""Where SAs come from: derived from configuration and seed (auto), typed in (manual), or read from a key file.

Auto keying replaces a negotiation: both ends derive the same SAs, because everything that goes into the derivation (the
two addresses in the packets' direction, the proxy identities, the transform, the seed) reads the same at both ends.
Nothing else about it is secret: it is for simulation.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from ipaddress import ip_address
from typing import Literal

from qfp.algorithms import cipher, integrity
from qfp.config import Configuration, TransformSet
from qfp.config.model import CryptoMapEntry
from qfp.config.quads import written
from qfp.control.policy import Selector, Want
from qfp.sa import SaError, SecurityAssociation, Selectors

SPI_MIN = 256  # RFC 4303 section 2.1: smaller ones are reserved
MAC_KEYS = {"hmac-md5-96": 16, "hmac-sha1-96": 20, "hmac-sha256-128": 32, "hmac-sha384-192": 48, "hmac-sha512-256": 64}


class IncompleteError(SaError):
    """An entry that lacks what its SAs are made from; the checks of the configuration have said so."""


class Stream:
    """Bytes derived from a seed and a label: SHAKE-256, read from the front."""

    def __init__(self, seed: int, label: str):
        self._bytes = hashlib.shake_256(f"qfp auto keying|{seed}|{label}".encode()).digest(512)
        self._at = 0

    def take(self, n: int) -> bytes:
        self._at += n
        return self._bytes[self._at - n : self._at]

    def spi(self) -> int:
        return SPI_MIN + int.from_bytes(self.take(8)) % (2**32 - SPI_MIN)


def _text(selector: Selector) -> str:
    return f"{selector.family} {selector.src} {selector.dst} {selector.protocol} {selector.sport} {selector.dport}"


def transport_applies(want: Want, config: Configuration) -> bool:
    """Transport mode only protects traffic between the two peers themselves; IOS falls back to tunnel mode. Some
    devices have none over IPv6."""
    if want.peer.version == 6 and not config.platform.transport6:
        return False
    hosts = want.selector.hosts()
    same_family = want.local.version == want.selector.family
    return not want.vti and same_family and hosts == (int(want.local), int(want.peer))


def window_of(want: Want, config: Configuration) -> int:
    """Replay window of an SA: the entry's setting, else the global one (AR-3)."""
    own = want.settings.replay_window
    return config.ipsec.replay_window if own is None else int(own)


def sets_of(want: Want, config: Configuration) -> list[TransformSet]:
    """The transform sets of an entry that are defined, in their order. Auto keying takes the first one."""
    return [config.transform_sets[name] for name in want.settings.transform_sets if name in config.transform_sets]


def first_set(want: Want, config: Configuration) -> TransformSet:
    """The transform set that an entry's SAs are made by. Raises IncompleteError."""
    found = sets_of(want, config)
    if not found:
        problem = f"{want.where} names none that is defined"
        raise IncompleteError("transform set", problem, "add `set transform-set NAME`")
    return found[0]


def _mode(want: Want, config: Configuration, transform: TransformSet) -> Literal["tunnel", "transport"]:
    return "transport" if transform.mode == "transport" and transport_applies(want, config) else "tunnel"


def _protocols(transform: TransformSet) -> list[Literal["esp", "ah"]]:
    """ESP, or AH, or ESP and then the AH over it."""
    found: list[Literal["esp", "ah"]] = []
    if transform.cipher or transform.esp_auth:
        found.append("esp")
    return [*found, "ah"] if transform.ah else found


def _label(
    want: Want, config: Configuration, transform: TransformSet, proto: str, outbound: bool, generation: int
) -> str:
    """What the keys of an SA are derived from, besides the seed: both ends come to the same words."""
    ends = (want.local, want.peer) if outbound else (want.peer, want.local)
    selector = want.selector if outbound else want.selector.reversed()
    mode, words = _mode(want, config, transform), " ".join(transform.transforms)
    label = f"{proto}|{written(ends[0])}|{written(ends[1])}|{_text(selector)}|{mode}|{words}"
    return f"{label}|{generation}" if generation else label


def outermost(want: Want, config: Configuration, seed: int, generation: int) -> tuple[str, int]:
    """(protocol, SPI) that the peer's packets of a generation carry outermost; as `auto` derives them, without keys."""
    transform = first_set(want, config)
    proto = _protocols(transform)[-1]
    return proto, Stream(seed, _label(want, config, transform, proto, False, generation)).spi()


@cache
def _kind(
    proto: Literal["esp", "ah"], transforms: tuple[str, ...], mode: Literal["tunnel", "transport"], window: int,
    esn: bool, allow_null: bool, outbound: bool, src_version: int, dst_version: int,
) -> SecurityAssociation:  # fmt: skip
    """What the SAs that are derived by the same words have in common, with keys of zeros. Raises SaError."""
    transform = TransformSet("", list(transforms))
    ends = [ip_address(1 << 24) if version == 4 else ip_address(1 << 64) for version in (src_version, dst_version)]
    made = partial(
        SecurityAssociation, proto=proto, spi=SPI_MIN, src=ends[0], dst=ends[1], mode=mode, replay_window=window,
        esn=esn, allow_null=allow_null, direction="out" if outbound else "in",
    )  # fmt: skip
    if proto == "ah" and transform.ah:
        return made(integ=transform.ah, integ_key=bytes(MAC_KEYS[transform.ah]))
    encr, integ = transform.cipher or "null", transform.esp_auth or "none"
    size = (transform.key_bits or 0) // 8 if encr.startswith("aes") else cipher(encr).key_lengths[0]
    return made(
        encr=encr, encr_key=bytes(size), salt=bytes(cipher(encr).salt), integ=integ,
        integ_key=bytes(MAC_KEYS.get(integ, 0)), comp="lzs" if transform.comp_lzs else None,
    )  # fmt: skip


def auto(
    want: Want, config: Configuration, seed: int, outbound: bool, generation: int = 0,
    transform: TransformSet | None = None,
) -> list[SecurityAssociation]:  # fmt: skip
    """The SAs of one direction: ESP, or AH, or ESP and then the AH over it. `generation`: how often the pair was
    rekeyed; both ends come to the same SAs. `transform`: another set than the entry's first.

    Raises SaError when the entry names no usable transform set.
    """
    transform = transform or first_set(want, config)
    ends = (want.local, want.peer) if outbound else (want.peer, want.local)
    mode = _mode(want, config, transform)
    window = window_of(want, config)
    out = []
    for proto in _protocols(transform):
        stream = Stream(seed, _label(want, config, transform, proto, outbound, generation))
        kind = _kind(proto, tuple(transform.transforms), mode, window, transform.esn, config.allow_null, outbound,
                     ends[0].version, ends[1].version)  # fmt: skip
        spi = stream.spi()
        keys = [stream.take(len(part)) for part in (kind.encr_key, kind.salt, kind.integ_key)]
        out.append(kind.keyed(spi, *ends, *keys))
    if len(out) == 2:
        name = f"{want.where} {'out' if outbound else 'in'}"
        out = [replace(sa, bundle=name) for sa in out]
    return out


def manual(want: Want, config: Configuration, outbound: bool) -> list[SecurityAssociation]:
    """SAs of an ipsec-manual entry, from its `set session-key` lines; no replay check, as IOS has none there.

    Raises SaError with what is missing.
    """
    entry = want.settings
    assert isinstance(entry, CryptoMapEntry)  # profiles have no session keys
    transform = first_set(want, config)
    ends = (want.local, want.peer) if outbound else (want.peer, want.local)
    word = "outbound" if outbound else "inbound"
    mode = _mode(want, config, transform)
    out = []
    for proto in _protocols(transform):
        keys = next((k for k in entry.session_keys if k.direction == word and k.proto == proto), None)
        if keys is None or keys.masked:
            remedy = f"add `set session-key {word} {proto} SPI …` with its keys"
            raise IncompleteError("session-key", f"{want.where} has no {word} {proto} key", remedy)
        encr = (transform.cipher or "null") if proto == "esp" else "null"
        integ = (transform.esp_auth if proto == "esp" else transform.ah) or "none"
        width = (transform.key_bits or 0) // 8 if encr.startswith("aes") else cipher(encr).key_lengths[0]
        salt = cipher(encr).salt
        mac = integrity(integ).key
        mac_key = keys.auth_key or (keys.cipher_key if proto == "ah" else b"")
        out.append(
            SecurityAssociation(
                proto=proto, spi=keys.spi, src=ends[0], dst=ends[1], mode=mode, encr=encr,
                encr_key=keys.cipher_key[:width] if encr != "null" else b"",
                salt=keys.cipher_key[width : width + salt] if salt else b"", integ=integ, integ_key=mac_key[:mac],
                replay_window=0, direction="out" if outbound else "in", allow_null=config.allow_null,
                comp="lzs" if transform.comp_lzs and proto == "esp" else None,
            )
        )  # fmt: skip
    return out


def from_file(want: Want, sas: Sequence[SecurityAssociation], outbound: bool) -> list[list[SecurityAssociation]]:
    """The SAs of a key file that serve an entry in one direction, the best first: equal ends, and selectors that cover
    the entry's; each ESP SA with the AH SA over it, which is that of the same `bundle` name.

    The narrowest selectors win, the first of equals. Others of the same selectors (a file from a run with rekeys holds
    several generations) follow in the file's order. An SA whose ICV nothing checks serves nobody.
    """
    ends = (want.local, want.peer) if outbound else (want.peer, want.local)
    selector = want.selector if outbound else want.selector.reversed()
    fits = [sa for sa in sas if (sa.src, sa.dst) == ends and covers(sa.selectors, selector) and not sa.unchecked]
    fits.sort(key=lambda sa: breadth(sa.selectors))
    first = next((sa for sa in fits if sa.proto == "esp"), next(iter(fits), None))
    if first is None:
        return []
    alike = [sa for sa in fits if sa.proto == first.proto and sa.selectors == first.selectors]
    found = []
    for sa in alike:
        over = [ah for ah in fits if sa.bundle is not None and ah.bundle == sa.bundle and ah.proto == "ah"]
        found.append([sa, *(over[:1] if sa.proto == "esp" else [])])
    return found


def breadth(selectors: Selectors | None) -> tuple[int, int]:
    """How much traffic selectors let through: pairs of addresses, then how many of protocol and ports are open."""
    if selectors is None:
        return (1 << 256, 3)
    pairs = 1
    for side in (selectors.src, selectors.dst):
        pairs *= 1 << 128 if side is None else int(side.last) - int(side.first) + 1
    return (pairs, sum(x is None for x in (selectors.protocol, selectors.sport, selectors.dport)))


def covers(selectors: Selectors | None, wanted: Selector) -> bool:
    """Whether all traffic of an entry lies within an SA's selectors."""
    if selectors is None:
        return True
    bits = 32 if wanted.family == 4 else 128
    for own, (value, mask) in ((selectors.src, wanted.src), (selectors.dst, wanted.dst)):
        last = value | (~mask & ((1 << bits) - 1))
        if own is not None and not (int(own.first) <= value and last <= int(own.last)):
            return False
    if selectors.protocol is not None and selectors.protocol != wanted.protocol:
        return False
    pairs = ((selectors.sport, wanted.sport), (selectors.dport, wanted.dport))
    return all(own is None or (own[0] <= ports[0] and ports[1] <= own[1]) for own, ports in pairs)
