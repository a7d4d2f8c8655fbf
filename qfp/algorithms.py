"""The one registry of ciphers and integrity algorithms: names, key and field lengths, and the RFC of each.

The names are those of the SA file. Every length is in bytes. `number` is stable: it may be stored in tables and
files, so new algorithms take new numbers. A name that qfp does not know, or knows and does not do, is refused with
an `AlgorithmError` that says which of the two it is.
"""

from dataclasses import dataclass
from difflib import get_close_matches

AES_KEYS = (16, 24, 32)
HMAC_KEYS = range(1, 65)  # RFC 2104 takes any; 64 is what an SA's table row holds
NO_KEY = (0,)
GMAC_IV = 8  # RFC 4543 4: in AH the IV opens the ICV field


class AlgorithmError(ValueError):
    """An algorithm name that qfp does not know or does not support."""


@dataclass(frozen=True, slots=True)
class Cipher:
    """An encryption algorithm of ESP."""

    name: str
    number: int
    key_lengths: tuple[int, ...]
    salt: int  # bytes of nonce that come with the key and are never sent
    iv: int  # bytes of IV on the wire
    block: int  # payload, padding and trailer fill a multiple of this (RFC 4303 2.4: at least 4)
    icvs: tuple[int, ...]  # ICV lengths that the combined mode allows; empty for a cipher that makes no ICV
    icv: int  # the ICV length taken where none is asked for
    rfc: str
    weak: bool = False  # printed as a warning: broken or too short for today

    @property
    def aead(self) -> bool:
        """True where the cipher computes the ICV itself (GMAC included, which encrypts nothing)."""
        return bool(self.icvs)


@dataclass(frozen=True, slots=True)
class Integrity:
    """An integrity algorithm of ESP or AH."""

    name: str
    number: int
    key_lengths: tuple[int, ...] | range
    key: int  # the length that the RFC fixes, and that key exchange gives
    icv: int  # bytes of the truncated tag
    rfc: str
    salt: int = 0
    iv: int = 0  # bytes of IV at the start of AH's ICV field
    ah_only: bool = False
    weak: bool = False


_CIPHERS = (
    #      name                 id key lengths  salt iv block ICVs       default RFC
    Cipher("null", 0, NO_KEY, 0, 0, 4, (), 0, "RFC 2410"),
    Cipher("des-cbc", 1, (8,), 0, 8, 8, (), 0, "RFC 2405", weak=True),
    Cipher("3des-cbc", 2, (24,), 0, 8, 8, (), 0, "RFC 2451", weak=True),
    Cipher("aes-cbc", 3, AES_KEYS, 0, 16, 16, (), 0, "RFC 3602"),
    Cipher("aes-ctr", 4, AES_KEYS, 4, 8, 4, (), 0, "RFC 3686"),
    Cipher("aes-gcm", 5, AES_KEYS, 4, 8, 4, (8, 12, 16), 16, "RFC 4106"),
    Cipher("aes-gmac", 6, AES_KEYS, 4, 8, 4, (16,), 16, "RFC 4543"),
    Cipher("aes-ccm", 7, AES_KEYS, 3, 8, 4, (8, 12, 16), 16, "RFC 4309"),
    Cipher("chacha20-poly1305", 8, (32,), 4, 8, 4, (16,), 16, "RFC 7634"),
)

_INTEGRITIES = (
    Integrity("none", 0, NO_KEY, 0, 0, "RFC 4303"),
    Integrity("hmac-md5-96", 1, HMAC_KEYS, 16, 12, "RFC 2403", weak=True),
    Integrity("hmac-sha1-96", 2, HMAC_KEYS, 20, 12, "RFC 2404"),
    Integrity("hmac-sha256-96", 3, HMAC_KEYS, 32, 12, "draft-ietf-ipsec-ciph-sha-256-00"),
    Integrity("hmac-sha256-128", 4, HMAC_KEYS, 32, 16, "RFC 4868"),
    Integrity("hmac-sha384-192", 5, HMAC_KEYS, 48, 24, "RFC 4868"),
    Integrity("hmac-sha512-256", 6, HMAC_KEYS, 64, 32, "RFC 4868"),
    Integrity("aes-xcbc-96", 7, (16,), 16, 12, "RFC 3566"),
    Integrity("aes-cmac-96", 8, (16,), 16, 12, "RFC 4494"),
    Integrity("aes-gmac", 9, AES_KEYS, 16, 16, "RFC 4543", salt=4, iv=GMAC_IV, ah_only=True),
)

CIPHERS = {c.name: c for c in _CIPHERS}
INTEGRITIES = {i.name: i for i in _INTEGRITIES}

# Families that other IPsec stacks offer and qfp does not: refused by name, so that nobody searches for a typing error.
UNSUPPORTED = ("blowfish", "twofish", "serpent", "cast5", "cast128", "cast", "camellia", "aria", "seed", "idea", "rc5",
               "rc4", "sm4", "kuznyechik", "magma", "ripemd", "rmd160", "streebog", "sm3", "kpdk", "des-mac",
               "umac", "seal")  # fmt: skip


def unsupported(text: str) -> str | None:
    """The family that `text` names, where it is one that qfp knows of and does not support."""
    low = text.casefold()
    return next((family for family in UNSUPPORTED if family in low), None)


def unknown(kind: str, name: str, known: list[str]) -> AlgorithmError:
    """The error for a name that is in no table.

    The name itself is printed only where it resembles a known one: a key that slipped into the wrong field of a
    key file must not reach a log.
    """
    family = unsupported(name)
    if family is not None:
        return AlgorithmError(f"{family} is not supported as {kind} (supported: {', '.join(known)})")
    near = get_close_matches(name, known, n=1)
    if near:
        return AlgorithmError(f"{kind} {name!r} is not known (did you mean {near[0]!r}?)")
    return AlgorithmError(f"the name given as {kind} is not known (known: {', '.join(known)})")


def cipher(name: str) -> Cipher:
    """The cipher called `name` in the SA file.

    Raises `AlgorithmError`, with the nearest known name, or naming a family that is not supported.
    """
    found = CIPHERS.get(name)
    if found is None:
        raise unknown("encryption algorithm", name, list(CIPHERS))
    return found


def integrity(name: str) -> Integrity:
    """The integrity algorithm called `name` in the SA file.

    Raises `AlgorithmError`, with the nearest known name, or naming a family that is not supported.
    """
    found = INTEGRITIES.get(name)
    if found is None:
        raise unknown("integrity algorithm", name, list(INTEGRITIES))
    return found
