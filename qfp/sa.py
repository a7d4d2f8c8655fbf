"""A security association as configuration: what a key file, a manual session key or IKE hands to the tables.

Everything is checked once, here, so that the tables and the engines may assume it. Run-time state (windows, counters,
lifetimes) is elsewhere. Key bytes never appear in a repr or an error.
"""

import dataclasses
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network, summarize_address_range
from typing import Any, Literal

from qfp.algorithms import AlgorithmError, Cipher, Integrity, cipher, integrity

Address = IPv4Address | IPv6Address
PortRange = tuple[int, int]

ESP_HEADER = 8  # SPI and sequence number
AH_HEADER = 12  # next header, length, reserved, SPI, sequence number
TRAILER = 2  # pad length and next header
WINDOW_MAX = 4096  # the largest that Linux takes; IOS goes to 1024
ALGORITHM_DEFAULT = -1
UNCHECKED_ICVS = (0, 8, 12, 16, 24, 32)  # bytes at the end of ESP without a known integrity algorithm
AS_CAPTURED = 1 << 31  # numbers that a capture may lie behind its key file
IKE_PORT = 500
NATT_ANY = (0, 0)  # the key file does not say: plain and UDP-encapsulated packets are both this SA's


class SaError(ValueError):
    """An SA that cannot work: `field` is the one to change, `problem` what is wrong, `remedy` what would be right."""

    def __init__(self, field: str, problem: str, remedy: str) -> None:
        super().__init__(f"{field}: {problem} ({remedy})")
        self.field = field
        self.problem = problem
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class AddressRange:
    """Addresses `first` to `last`, both included: a selector of RFC 4301 4.4.1.1. A prefix is the usual case."""

    first: Address
    last: Address

    def __post_init__(self) -> None:
        if self.first.version != self.last.version or int(self.first) > int(self.last):
            raise SaError("selectors", "an address range must rise within one family", "write FIRST-LAST or a prefix")

    @classmethod
    def parse(cls, text: str) -> "AddressRange":
        """From `10.1.0.0/16`, `10.1.0.7` or `10.1.0.7-10.1.0.9`. Raises SaError."""
        first, dash, last = text.partition("-")
        try:
            if dash:
                return cls(ip_address(first.strip()), ip_address(last.strip()))
            network = ip_network(text.strip(), strict=False)
        except (ValueError, TypeError):
            remedy = "write a prefix, an address, or FIRST-LAST"
            raise SaError("selectors", "not an address, prefix or range", remedy) from None
        return cls(network[0], network[-1])

    def __str__(self) -> str:
        networks = list(summarize_address_range(self.first, self.last))
        return str(networks[0]) if len(networks) == 1 else f"{self.first}-{self.last}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selectors:
    """The traffic that an SA may carry; None = any. Ports are inclusive ranges (ICMP: type and code)."""

    src: AddressRange | None = None
    dst: AddressRange | None = None
    protocol: int | None = None
    sport: PortRange | None = None
    dport: PortRange | None = None

    def __post_init__(self) -> None:
        if self.src and self.dst and self.src.first.version != self.dst.first.version:
            raise SaError("selectors", "source and destination are of different families", "give both in one family")
        if self.protocol is not None and not 0 <= self.protocol <= 255:
            raise SaError("selectors", "protocol is out of range", "use 0 to 255, or null for any")
        for name, ports in (("sport", self.sport), ("dport", self.dport)):
            if ports is not None and not 0 <= ports[0] <= ports[1] <= 65535:
                raise SaError("selectors", f"{name} is not a rising range of ports", "use 0 to 65535, or null for any")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SecurityAssociation:
    """One unidirectional SA, with the fields of the SA file.

    `src`, `dst`: outer addresses, None = any. `mode`: None = not stated, the next header decides. `encr_key`,
    `integ_key`, `salt`: raw bytes, the salt apart from the key. `icv_len`: bytes of the tag; the default stands for
    the algorithm's own, and the field holds the real length afterwards. `replay_window`: packets, 0 = no check.
    With `integ` none a cipher that makes no ICV may have an `icv_len`: that ICV is cut off unchecked, so such an SA
    opens packets of captures only (see `unchecked`). `natt`: UDP source and destination port, None = not encapsulated.
    `comp`: IPComp before ESP; None = not stated.
    `seq`: 64 bits, the next number to send or the highest seen; 0 = fresh. `bundle`: SAs of one bundle (AH over ESP)
    carry the same name. `allow_null`: take ESP that neither encrypts nor authenticates, which is refused otherwise.
    Raises SaError.
    """

    proto: Literal["esp", "ah"]
    spi: int
    src: Address | None = None
    dst: Address | None = None
    mode: Literal["tunnel", "transport"] | None = "tunnel"
    encr: str = "null"
    encr_key: bytes = b""
    salt: bytes = b""
    integ: str = "none"
    integ_key: bytes = b""
    icv_len: int = ALGORITHM_DEFAULT
    esn: bool = False
    replay_window: int = 64
    natt: tuple[int, int] | None = None
    comp: Literal["lzs"] | None = None
    seq: int = 0
    selectors: Selectors | None = None
    bundle: str | None = None
    direction: Literal["in", "out"] | None = None
    allow_null: bool = dataclasses.field(default=False, compare=False)

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Check every field, and fill in the ICV length where the default was asked for. Raises SaError."""
        _check_words(self)
        _check_addresses(self)
        _check_numbers(self)
        _check_algorithms(self)
        allowed = self.cipher.icvs or (self.integrity.icv,)
        if self.proto == "esp" and self.integ == "none" and not self.is_aead:
            allowed = UNCHECKED_ICVS
        default = self.cipher.icv or self.integrity.icv
        if self.icv_len == ALGORITHM_DEFAULT:
            object.__setattr__(self, "icv_len", default)
        elif self.icv_len not in allowed:
            algorithm = self.encr if self.is_aead else self.integ
            raise SaError("icv_len", f"{algorithm} has no ICV of {self.icv_len} bytes", f"use {_either(allowed)}")

    def keyed(
        self, spi: int, src: Address, dst: Address, encr_key: bytes, salt: bytes, integ_key: bytes
    ) -> "SecurityAssociation":
        """An SA like this one between other ends, with another SPI and other keys. They must be of the kinds and
        lengths of this one's, because nothing is checked again: of SAs that are derived there are ten thousands."""
        made = object.__new__(SecurityAssociation)
        for get, put in _SLOTS:
            put(made, get(self))
        for (_, put), value in zip(_KEYED, (spi, src, dst, encr_key, salt, integ_key), strict=True):
            put(made, value)
        return made

    @property
    def cipher(self) -> Cipher:
        """The registry's entry of `encr`."""
        return cipher(self.encr)

    @property
    def integrity(self) -> Integrity:
        """The registry's entry of `integ`."""
        return integrity(self.integ)

    @property
    def is_aead(self) -> bool:
        """True where the cipher makes the ICV."""
        return self.cipher.aead

    @property
    def unchecked(self) -> bool:
        """Whether its packets carry an ICV that nothing here can compute or check."""
        return self.integ == "none" and self.icv_len > 0 and not self.is_aead

    @property
    def iv_len(self) -> int:
        """Bytes of IV in front of the ESP payload; 0 for AH, whose GMAC IV counts to the ICV field."""
        return self.cipher.iv

    @property
    def icv_length(self) -> int:
        """Bytes of the ICV field on the wire: the tag, and for GMAC in AH the IV before it (RFC 4543 4)."""
        return self.icv_len + self.integrity.iv

    @property
    def seq_limit(self) -> int:
        """`seq` of an SA by which nothing can be sent any more: its last number was given."""
        return 2**64 - 1 if self.esn else 2**32

    def as_captured(self) -> "SecurityAssociation":
        """The SA for a reader of packets that it protected before its file was written.

        Files that state a direction state numbers of an end: the next to send, or the highest that it received. To a
        reader's window these say nothing, but for the high half of an ESN: the packets are taken to be at most 2^31
        behind. Where no direction is stated `seq` is the highest number seen, and stays.
        """
        if self.direction is None:
            return self
        behind = max(self.seq - AS_CAPTURED, 0) if self.esn and self.seq < self.seq_limit else 0
        return replace(self, seq=behind)

    @property
    def block(self) -> int:
        """What payload, padding and trailer together are a multiple of, in bytes."""
        return self.cipher.block

    @property
    def esp_overhead(self) -> int:
        """Bytes that ESP adds to any payload, padding left out: header, IV, trailer, ICV. 0 for AH."""
        return ESP_HEADER + self.iv_len + TRAILER + self.icv_len if self.proto == "esp" else 0

    def ah_header(self, version: int) -> int:
        """Bytes of the AH header over IP `version`: the ICV field is padded to 4 bytes for IPv4, 8 for IPv6."""
        unit = 8 if version == 6 else 4
        return -(-(AH_HEADER + self.icv_length) // unit) * unit if self.proto == "ah" else 0

    def __repr__(self) -> str:
        ends = f"{self.src or '*'} -> {self.dst or '*'}"
        more = (" esn" if self.esn else "") + (f" comp-{self.comp}" if self.comp else "")
        what = f"{self.encr}/{self.integ} icv {self.icv_len}{more}"
        return f"<SecurityAssociation {self.proto} 0x{self.spi:08x} {ends} {self.mode} {what}>"


def _slots(*names: str) -> list[tuple[Any, Any]]:
    """How the slots of an SA are read and written past its being frozen."""
    slots = [vars(SecurityAssociation)[name] for name in names]
    return [(slot.__get__, slot.__set__) for slot in slots]


_SLOTS = _slots(*(each.name for each in dataclasses.fields(SecurityAssociation)))
_KEYED = _slots("spi", "src", "dst", "encr_key", "salt", "integ_key")


def _either(values: "tuple[int, ...] | range") -> str:
    """`16, 24 or 32`."""
    if isinstance(values, range):
        return f"{values[0]} to {values[-1]}"
    *head, last = (str(v) for v in values)
    return f"{', '.join(head)} or {last}" if head else last


def _check_words(sa: SecurityAssociation) -> None:
    """Fields with a closed set of values, and the types that the rest of the checks rely on."""
    for field, value, allowed in (
        ("proto", sa.proto, ("esp", "ah")),
        ("mode", sa.mode, ("tunnel", "transport", None)),
        ("direction", sa.direction, ("in", "out", None)),
        ("esn", sa.esn, (True, False)),
        ("comp", sa.comp, ("lzs", None)),
    ):
        if not isinstance(value, (str, bool, type(None))) or value not in allowed:
            words = " or ".join("null" if w is None else str(w).lower() for w in allowed)
            raise SaError(field, "not a value that this field takes", f"use {words}")
    for field in ("encr_key", "salt", "integ_key"):
        if not isinstance(getattr(sa, field), bytes):
            raise SaError(field, "not bytes", "give the raw key as bytes")
    if not isinstance(sa.bundle, (str, type(None))):
        raise SaError("bundle", "not a name", "use one name for all SAs of the bundle, or null")
    if not isinstance(sa.selectors, (Selectors, type(None))):
        raise SaError("selectors", "not selectors", "give src, dst, protocol, sport and dport, or null")


def _check_addresses(sa: SecurityAssociation) -> None:
    for field, value in (("src", sa.src), ("dst", sa.dst)):
        if not isinstance(value, (IPv4Address, IPv6Address, type(None))):
            raise SaError(field, "not an IP address", "use an IPv4 or IPv6 address, or * for any")
    if sa.src is not None and sa.dst is not None and sa.src.version != sa.dst.version:
        raise SaError("dst", "of another family than src", "give both outer addresses in one family")


def _is_number(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _check_numbers(sa: SecurityAssociation) -> None:
    if not _is_number(sa.spi, 1, 2**32 - 1):
        # RFC 4303 2.1: 0 is for local use and never sent. 1 to 255 are reserved, but real manual SAs use them.
        raise SaError("spi", "out of range", "use 1 to 4294967295; 0 is never sent")
    if not _is_number(sa.replay_window, 0, WINDOW_MAX):
        raise SaError("replay_window", "out of range", f"use 0 (no check) to {WINDOW_MAX} packets")
    top = sa.seq_limit
    if not _is_number(sa.seq, 0, top):
        raise SaError("seq", "out of range", f"use 0 to {top}" + ("" if sa.esn else ", or set esn"))
    if not _is_number(sa.icv_len, ALGORITHM_DEFAULT, 64):
        raise SaError("icv_len", "out of range", "give the ICV's length in bytes, 12 for the -96 algorithms")
    if sa.natt is not None:
        good = isinstance(sa.natt, tuple) and len(sa.natt) == 2 and all(_is_number(p, 1, 65535) for p in sa.natt)
        if not good and sa.natt != NATT_ANY:
            raise SaError("natt", "not a pair of UDP ports", "give sport and dport from 1 to 65535, usually 4500")
        if IKE_PORT in sa.natt:
            # there ESP has eight zero bytes before it (draft-ietf-ipsec-udp-encaps-02), else it would be taken for IKE
            raise SaError("natt", "ESP on IKE's port 500 is a draft's form, which is not supported",
                          "use port 4500 (RFC 3948)")  # fmt: skip


def _named(field: str, sa: SecurityAssociation) -> Cipher | Integrity:
    name = getattr(sa, field)
    if not isinstance(name, str):
        raise SaError(field, "not the name of an algorithm", "give its name as text")
    try:
        return cipher(name) if field == "encr" else integrity(name)
    except AlgorithmError as error:
        raise SaError(field, str(error), "choose a supported algorithm") from None


def _check_algorithms(sa: SecurityAssociation) -> None:
    """The pair of algorithms makes sense for the protocol, and keys and salt have the lengths that they need."""
    encr, integ = _named("encr", sa), _named("integ", sa)
    assert isinstance(encr, Cipher) and isinstance(integ, Integrity)
    if sa.proto == "ah" and sa.comp is not None:
        raise SaError("comp", "IPComp stands before ESP", "use null, or proto esp")
    if sa.proto == "ah" and encr.name != "null":
        raise SaError("encr", "AH does not encrypt", "use null, or proto esp")
    if sa.proto == "ah" and integ.name == "none":
        raise SaError("integ", "AH without an integrity algorithm protects nothing", "name one, e.g. hmac-sha256-128")
    if sa.proto == "esp" and integ.ah_only:
        raise SaError("integ", f"{integ.name} is an integrity algorithm of AH only", "for ESP use encr aes-gmac")
    if sa.proto == "esp" and encr.name == "null" and integ.name == "none" and not sa.allow_null:
        # RFC 4303 3.2: "both algorithms MUST NOT be simultaneously NULL"
        raise SaError("integ", "ESP that neither encrypts nor authenticates protects nothing (RFC 4303 3.2)",
                      "name an integrity algorithm, e.g. hmac-sha256-128, or allow it with --allow-null")  # fmt: skip
    if encr.aead and integ.name != "none":
        raise SaError("integ", f"{encr.name} makes the ICV itself", "use none")
    _check_length("encr_key", encr.name, sa.encr_key, encr.key_lengths)
    _check_length("integ_key", integ.name, sa.integ_key, integ.key_lengths)
    _check_length("salt", encr.name if encr.salt else integ.name, sa.salt, (encr.salt or integ.salt,))


def _check_length(field: str, algorithm: str, value: bytes, lengths: tuple[int, ...] | range) -> None:
    if len(value) not in lengths:
        remedy = f"it takes {_either(lengths)} bytes" if any(lengths) else "it takes none: leave it empty"
        raise SaError(field, f"{len(value)} bytes for {algorithm}", remedy)
