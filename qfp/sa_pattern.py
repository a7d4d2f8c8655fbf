"""SAs whose SPI or addresses have wildcards, as Wireshark's table may: each stands for every SA that it matches."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network

from qfp.sa import Address, SecurityAssociation

SPI_DIGITS = 8
_OCTET = re.compile(r"[0-9*?]{1,3}")


class PatternError(ValueError):
    """Text that is no pattern."""


@dataclass(frozen=True, slots=True)
class SpiPattern:
    """SPIs whose bits under `mask` are those of `value`."""

    value: int
    mask: int

    @classmethod
    def parse(cls, text: str) -> "SpiPattern":
        """`*`, `0x*`, or hex digits of which some are `*` or `?` (any digit): `0x12******`. Of fewer than eight
        digits a `*` at the end stands for all the others. Raises PatternError."""
        if text == "*":
            return cls(0, 0)
        digits = text[2:] if text[:2] in ("0x", "0X") else ""
        if re.fullmatch(r"[0-9A-Fa-f*?]{1,8}", digits) is None:
            raise PatternError("not an SPI")
        if len(digits) < SPI_DIGITS:
            if not digits.endswith("*"):
                raise PatternError("an SPI with wildcards of fewer than eight digits")
            digits = digits[:-1].ljust(SPI_DIGITS, "?")
        value = int(re.sub(r"[*?]", "0", digits), 16)
        return cls(value, int("".join("0" if d in "*?" else "f" for d in digits), 16))

    def matches(self, spi: int) -> bool:
        return spi & self.mask == self.value


@dataclass(frozen=True, slots=True)
class AddressPattern:
    """Addresses of a prefix, or whose text matches."""

    text: str
    _test: Callable[[Address], bool] = field(compare=False, repr=False)

    @classmethod
    def parse(cls, text: str) -> "AddressPattern":
        """`192.168.0.0/24`, `192.168.*`, `10.*.*.1`, `2001:db8:*`. Raises PatternError."""
        if "/" in text:
            try:
                network = ip_network(text, strict=False)
            except ValueError:
                raise PatternError("not a prefix") from None
            return cls(text, lambda address: address.version == network.version and address in network)
        if ":" in text:
            return cls(text, _ipv6(text))
        return cls(text, _ipv4(text))

    def matches(self, address: Address) -> bool:
        return self._test(address)


def _regex(text: str, one: str) -> str:
    return "".join(f"{one}*" if c == "*" else one if c == "?" else re.escape(c) for c in text)


def _ipv4(text: str) -> Callable[[Address], bool]:
    octets = text.split(".")
    if not 1 <= len(octets) <= 4 or not all(_OCTET.fullmatch(octet) for octet in octets):
        raise PatternError("not an address with wildcards")
    if len(octets) < 4 and octets[-1] != "*":
        raise PatternError("an address with wildcards and fewer than four numbers")
    octets += ["*"] * (4 - len(octets))
    pattern = re.compile(r"\.".join(_regex(octet, "[0-9]") for octet in octets))
    return lambda address: address.version == 4 and pattern.fullmatch(str(address)) is not None


def _ipv6(text: str) -> Callable[[Address], bool]:
    if re.fullmatch(r"[0-9A-Fa-f:*?.]{2,45}", text) is None:
        raise PatternError("not an address with wildcards")
    pattern = re.compile(_regex(text.lower(), "[0-9a-f:]"))

    def test(address: Address) -> bool:
        forms = (str(address), address.exploded, ":".join(f"{int(g, 16):x}" for g in address.exploded.split(":")))
        return address.version == 6 and any(pattern.fullmatch(form) for form in forms)

    return test


@dataclass(frozen=True, slots=True)
class SaPattern:
    """An SA with wildcards. `sa`: its algorithms and keys, with an SPI and addresses that mean nothing. `src`, `dst`:
    None = any. `family`: 4 or 6, 0 = both. `line`: of its file."""

    sa: SecurityAssociation
    spi: SpiPattern
    src: AddressPattern | None
    dst: AddressPattern | None
    family: int
    line: int

    def matches_ends(self, src: Address, dst: Address) -> bool:
        """Whether packets from `src` to `dst` may be of one of its SAs."""
        if self.family and self.family != src.version:
            return False
        return (self.src is None or self.src.matches(src)) and (self.dst is None or self.dst.matches(dst))

    def made(self, src: Address, dst: Address, spi: int) -> SecurityAssociation:
        """Its SA of an SPI between two addresses."""
        return replace(self.sa, src=src, dst=dst, spi=spi)


def exactly(text: str) -> AddressPattern:
    """The one address, for patterns whose SPI has the wildcards. Raises ValueError."""
    wanted = ip_address(text)
    return AddressPattern(text, lambda address: address == wanted)
