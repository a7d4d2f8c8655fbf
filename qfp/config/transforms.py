"""Transforms and transform sets of release 16.6.1 (guide chapter 10): which there are, and what they mean."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple


class Transform(NamedTuple):
    """One transform: the part that it plays in a set, its algorithm, and key bits unless it names them itself."""

    role: str  # ah, cipher, auth, comp
    algorithm: str
    key_bits: int = 0
    sizes: tuple[int, ...] = ()  # key sizes that may follow the word


_AES = (128, 192, 256)
_HMACS = {
    "md5": ("hmac-md5-96", 128),
    "sha": ("hmac-sha1-96", 160),
    "sha256": ("hmac-sha256-128", 256),
    "sha384": ("hmac-sha384-192", 384),
    "sha512": ("hmac-sha512-256", 512),
}

TRANSFORMS: dict[str, Transform] = {
    "esp-null": Transform("cipher", "null"),
    "esp-des": Transform("cipher", "des-cbc", 64),
    "esp-3des": Transform("cipher", "3des-cbc", 192),
    "esp-aes": Transform("cipher", "aes-cbc", 128, _AES),
    "esp-192-aes": Transform("cipher", "aes-cbc", 192),
    "esp-256-aes": Transform("cipher", "aes-cbc", 256),
    "esp-gcm": Transform("cipher", "aes-gcm", 128, _AES),
    "esp-gmac": Transform("cipher", "aes-gmac", 128, _AES),
    **{f"esp-{name}-hmac": Transform("auth", *hmac) for name, hmac in _HMACS.items()},
    **{f"ah-{name}-hmac": Transform("ah", *hmac) for name, hmac in _HMACS.items()},
    "comp-lzs": Transform("comp", "lzs"),
}

# Other spellings of the same transform.
CANONICAL = {"esp-192-aes": "esp-aes 192", "esp-256-aes": "esp-aes 256"}
AEAD = ("aes-gcm", "aes-gmac")
WEAK = {"des-cbc": "DES", "3des-cbc": "3DES", "hmac-md5-96": "MD5"}
KEY_BITS = dict(_HMACS.values())  # of the authentication algorithms


@cache
def _algorithm(transforms: tuple[str, ...], role: str) -> tuple[str, int] | None:
    """(algorithm, key bits) that plays a role among transforms; asked again for every SA."""
    for text in transforms:
        word, _, size = text.partition(" ")
        found = TRANSFORMS[word]
        if found.role == role:
            return found.algorithm, int(size) if size else found.key_bits
    return None


@dataclass
class TransformSet:
    """A transform set: up to four transforms, of AH and ESP alone or nested, and a mode.

    `transforms` holds canonical spellings, each with its key size unless that is 128 (`esp-aes 256`).
    """

    name: str
    transforms: list[str] = field(default_factory=list)
    mode: str = "tunnel"  # tunnel, transport
    mode_require: bool = False
    esn: bool = False
    line: int = field(default=0, compare=False)

    def _algorithm(self, role: str) -> tuple[str, int] | None:
        return _algorithm(tuple(self.transforms), role)

    @property
    def ah(self) -> str | None:
        """AH's algorithm, such as "hmac-sha1-96"."""
        found = self._algorithm("ah")
        return found[0] if found else None

    @property
    def cipher(self) -> str | None:
        """ESP's cipher; "null" when only an ESP authentication is given, None without ESP."""
        found = self._algorithm("cipher")
        return found[0] if found else ("null" if self.esp_auth else None)

    @property
    def key_bits(self) -> int:
        """Key size of the cipher in bits, parity bits counted (DES: 64); 0 for none."""
        found = self._algorithm("cipher")
        return found[1] if found else 0

    @property
    def esp_auth(self) -> str | None:
        """ESP's authentication algorithm; None for none or for a combined mode."""
        found = self._algorithm("auth")
        return found[0] if found else None

    @property
    def comp_lzs(self) -> bool:
        """Whether IPComp with LZS comes first."""
        return self._algorithm("comp") is not None

    @property
    def weak(self) -> list[str]:
        """Names of weak algorithms in the set."""
        return [WEAK[name] for name in (self.cipher, self.ah, self.esp_auth) if name in WEAK]
