"""Names of algorithms as other programs write them, and ours (qfp/algorithms.py): one table a program.

Lengths of ICVs are in bytes; where a program's name leaves it open, the table says what the program does.
"""

import re
from dataclasses import dataclass

from qfp.algorithms import CIPHERS


@dataclass(frozen=True)
class Named:
    """An encryption name of a program, and what it says."""

    name: str
    encr: str
    icv: int | None  # None = the authentication's name says
    newer: bool = False  # only known to releases after 4.0


# ------------------------------------------------------------------------------------------------- Wireshark
WIRESHARK_ENCRYPTION = (
    Named("NULL", "null", None),
    Named("TripleDES-CBC [RFC2451]", "3des-cbc", None),
    Named("AES-CBC [RFC3602]", "aes-cbc", None),
    Named("AES-CTR [RFC3686]", "aes-ctr", None),
    Named("DES-CBC [RFC2405]", "des-cbc", None),
    Named("AES-GCM with 8 octet ICV [RFC4106]", "aes-gcm", 8),
    Named("AES-GCM with 12 octet ICV [RFC4106]", "aes-gcm", 12),
    Named("AES-GCM with 16 octet ICV [RFC4106]", "aes-gcm", 16),
    Named("AES-GCM [RFC4106]", "aes-gcm", None),
    Named("ChaCha20 with Poly1305 [RFC7634]", "chacha20-poly1305", 16, newer=True),
)
WIRESHARK_AUTHENTICATION = {
    "NULL": "none",
    "HMAC-MD5-96 [RFC2403]": "hmac-md5-96",
    "HMAC-SHA-1-96 [RFC2404]": "hmac-sha1-96",
    "HMAC-SHA-256-96 [draft-ietf-ipsec-ciph-sha-256-00]": "hmac-sha256-96",
    "HMAC-SHA-256-128 [RFC4868]": "hmac-sha256-128",
    "HMAC-SHA-384-192 [RFC4868]": "hmac-sha384-192",
    "HMAC-SHA-512-256 [RFC4868]": "hmac-sha512-256",
}
# What tables of old releases, and hands, write besides
WIRESHARK_OLD = {"HMAC-SHA1-96 [RFC2404]": "hmac-sha1-96", "HMAC-SHA256-96": "hmac-sha256-96",
                 "AES-XCBC-MAC-96 [RFC3566]": "aes-xcbc-96"}  # fmt: skip
_REFERENCE = re.compile(r"\s*\[[^\]]*\]$")


def wireshark(name: str, known: list[str]) -> str | None:
    """The entry of `known` that a column names: as it is, in other case, or without the reference in brackets."""
    if name in known:
        return name
    low = name.strip().casefold()
    return next((k for k in known if low in (k.casefold(), _REFERENCE.sub("", k).casefold())), None)


# --------------------------------------------------------------------------------------------- Linux, ip xfrm
LINUX_CIPHERS = {
    "ecb(cipher_null)": "null",
    "cipher_null": "null",
    "cbc(des)": "des-cbc",
    "cbc(des3_ede)": "3des-cbc",
    "cbc(aes)": "aes-cbc",
    "rfc3686(ctr(aes))": "aes-ctr",
    "rfc4106(gcm(aes))": "aes-gcm",
    "rfc4543(gcm(aes))": "aes-gmac",
    "rfc4309(ccm(aes))": "aes-ccm",
    "rfc7539esp(chacha20,poly1305)": "chacha20-poly1305",
}
# (name, bits of the ICV) -> ours; Linux cuts hmac(sha256) to 96 bits where nothing is said
LINUX_INTEGRITIES = {
    ("hmac(md5)", 96): "hmac-md5-96",
    ("hmac(sha1)", 96): "hmac-sha1-96",
    ("hmac(sha256)", 96): "hmac-sha256-96",
    ("hmac(sha256)", 128): "hmac-sha256-128",
    ("hmac(sha384)", 192): "hmac-sha384-192",
    ("hmac(sha512)", 256): "hmac-sha512-256",
    ("xcbc(aes)", 96): "aes-xcbc-96",
    ("cmac(aes)", 96): "aes-cmac-96",
}
LINUX_BITS = {"hmac(sha384)": 192, "hmac(sha512)": 256}
_LINUX_SHORT = {"md5": "hmac(md5)", "sha1": "hmac(sha1)", "sha256": "hmac(sha256)", "sha384": "hmac(sha384)",
                "sha512": "hmac(sha512)", "aes": "cbc(aes)", "des": "cbc(des)",
                "des3_ede": "cbc(des3_ede)"}  # fmt: skip
_GENERATOR = re.compile(r"(?:seqiv|echainiv)\((.*)\)")


def linux(name: str) -> str:
    """A name without the kernel's IV generator around it, short names in full."""
    inner = _GENERATOR.fullmatch(name)
    name = inner[1] if inner else name
    return _LINUX_SHORT.get(name, name)


# ---------------------------------------------------------------------------------------- setkey (KAME, racoon)
SETKEY_CIPHERS = {
    "null": Named("null", "null", None),
    "des-cbc": Named("des-cbc", "des-cbc", None),
    "3des-cbc": Named("3des-cbc", "3des-cbc", None),
    "aes-cbc": Named("aes-cbc", "aes-cbc", None),
    "rijndael-cbc": Named("rijndael-cbc", "aes-cbc", None),
    "aes-ctr": Named("aes-ctr", "aes-ctr", None),
    "aes-gcm-8": Named("aes-gcm-8", "aes-gcm", 8),
    "aes-gcm-12": Named("aes-gcm-12", "aes-gcm", 12),
    "aes-gcm-16": Named("aes-gcm-16", "aes-gcm", 16),
    "aes-gmac": Named("aes-gmac", "aes-gmac", 16),
    "chacha20-poly1305": Named("chacha20-poly1305", "chacha20-poly1305", 16),
}
# HMAC-SHA-256 with 128 bits, as every BSD since 2011 sends it; ipsec-tools on Linux leaves the kernel's 96
SETKEY_INTEGRITIES = {
    "null": "none", "hmac-md5": "hmac-md5-96", "hmac-sha1": "hmac-sha1-96",
    "hmac-sha256": "hmac-sha256-128", "hmac-sha2-256": "hmac-sha256-128",
    "hmac-sha384": "hmac-sha384-192", "hmac-sha2-384": "hmac-sha384-192",
    "hmac-sha512": "hmac-sha512-256", "hmac-sha2-512": "hmac-sha512-256",
    "aes-xcbc-mac": "aes-xcbc-96",
}  # fmt: skip

# ---------------------------------------------------------------------------------------------------- OpenBSD
IPSECCTL_CIPHERS = {
    "null": Named("null", "null", None), "des": Named("des", "des-cbc", None), "3des": Named("3des", "3des-cbc", None),
    "aes": Named("aes", "aes-cbc", None), "aes-128": Named("aes-128", "aes-cbc", None),
    "aes-192": Named("aes-192", "aes-cbc", None), "aes-256": Named("aes-256", "aes-cbc", None),
    "aesctr": Named("aesctr", "aes-ctr", None), "aes-128-ctr": Named("aes-128-ctr", "aes-ctr", None),
    "aes-192-ctr": Named("aes-192-ctr", "aes-ctr", None), "aes-256-ctr": Named("aes-256-ctr", "aes-ctr", None),
    "aes-128-gcm": Named("aes-128-gcm", "aes-gcm", 16), "aes-192-gcm": Named("aes-192-gcm", "aes-gcm", 16),
    "aes-256-gcm": Named("aes-256-gcm", "aes-gcm", 16), "aes-128-gmac": Named("aes-128-gmac", "aes-gmac", 16),
    "aes-256-gmac": Named("aes-256-gmac", "aes-gmac", 16),
    "chacha20-poly1305": Named("chacha20-poly1305", "chacha20-poly1305", 16),
}  # fmt: skip
IPSECCTL_INTEGRITIES = {"hmac-md5": "hmac-md5-96", "hmac-sha1": "hmac-sha1-96", "hmac-sha2-256": "hmac-sha256-128",
                        "hmac-sha2-384": "hmac-sha384-192", "hmac-sha2-512": "hmac-sha512-256"}  # fmt: skip

# ---------------------------------------------------------------------------------------- tcpdump -E (OpenSSL)
_TCPDUMP = {"none": "null", "null": "null", "des": "des-cbc", "3des": "3des-cbc", "des3": "3des-cbc",
            "des-ede3": "3des-cbc", "des-ede3-cbc": "3des-cbc", "aes": "aes-cbc"}  # fmt: skip


def tcpdump(name: str) -> tuple[str | None, int]:
    """(cipher, or None for one that is not known; bytes of ICV that are cut off and not checked)."""
    name = name.strip().casefold()
    plain = name.removesuffix("-hmac96")
    icv = 12 if plain != name else 0
    plain = plain.removesuffix("-cbc")
    if re.fullmatch(r"aes-?(128|192|256)", plain):
        return "aes-cbc", icv
    return _TCPDUMP.get(plain), icv


# --------------------------------------------------------------------------------- strongSwan's names in its log
CHARON_CIPHERS = {
    "NULL": Named("NULL", "null", None), "DES_CBC": Named("DES_CBC", "des-cbc", None),
    "3DES_CBC": Named("3DES_CBC", "3des-cbc", None), "AES_CBC": Named("AES_CBC", "aes-cbc", None),
    "AES_CTR": Named("AES_CTR", "aes-ctr", None),
    "AES_GCM_8": Named("AES_GCM_8", "aes-gcm", 8), "AES_GCM_12": Named("AES_GCM_12", "aes-gcm", 12),
    "AES_GCM_16": Named("AES_GCM_16", "aes-gcm", 16),
    "AES_CCM_8": Named("AES_CCM_8", "aes-ccm", 8), "AES_CCM_12": Named("AES_CCM_12", "aes-ccm", 12),
    "AES_CCM_16": Named("AES_CCM_16", "aes-ccm", 16),
    "NULL_AES_GMAC": Named("NULL_AES_GMAC", "aes-gmac", 16),
    "CHACHA20_POLY1305": Named("CHACHA20_POLY1305", "chacha20-poly1305", 16),
}  # fmt: skip
CHARON_INTEGRITIES = {
    "HMAC_MD5_96": "hmac-md5-96", "HMAC_SHA1_96": "hmac-sha1-96", "HMAC_SHA2_256_96": "hmac-sha256-96",
    "HMAC_SHA2_256_128": "hmac-sha256-128", "HMAC_SHA2_384_192": "hmac-sha384-192",
    "HMAC_SHA2_512_256": "hmac-sha512-256", "AES_XCBC_96": "aes-xcbc-96", "AES_CMAC_96": "aes-cmac-96",
}  # fmt: skip

# ------------------------------------------------------------------------- libreswan's `xfrm=CIPHER_BITS-INTEGRITY`
_PLUTO_CIPHERS = {
    "NULL": "null", "DES": "des-cbc", "3DES": "3des-cbc", "3DES_CBC": "3des-cbc", "AES": "aes-cbc",
    "AES_CBC": "aes-cbc", "AES_CTR": "aes-ctr", "AES_GCM": "aes-gcm", "AES_GCM_C": "aes-gcm", "AES_GCM_16": "aes-gcm",
    "AES_GCM_B": "aes-gcm", "AES_GCM_12": "aes-gcm", "AES_GCM_A": "aes-gcm", "AES_GCM_8": "aes-gcm",
    "AES_CCM": "aes-ccm", "AES_CCM_C": "aes-ccm", "AES_CCM_16": "aes-ccm", "AES_CCM_12": "aes-ccm",
    "AES_CCM_8": "aes-ccm", "CHACHA20_POLY1305": "chacha20-poly1305", "NULL_AUTH_AES_GMAC": "aes-gmac",
}  # fmt: skip
_PLUTO_ICVS = {"_A": 8, "_8": 8, "_B": 12, "_12": 12, "_C": 16, "_16": 16}
PLUTO_INTEGRITIES = {
    "NONE": "none", "HMAC_MD5": "hmac-md5-96", "HMAC_MD5_96": "hmac-md5-96", "HMAC_SHA1": "hmac-sha1-96",
    "HMAC_SHA1_96": "hmac-sha1-96", "HMAC_SHA2_256": "hmac-sha256-128", "HMAC_SHA2_256_128": "hmac-sha256-128",
    "HMAC_SHA2_256_TRUNCBUG": "hmac-sha256-96", "HMAC_SHA2_384": "hmac-sha384-192",
    "HMAC_SHA2_384_192": "hmac-sha384-192", "HMAC_SHA2_512": "hmac-sha512-256",
    "HMAC_SHA2_512_256": "hmac-sha512-256", "AES_XCBC": "aes-xcbc-96", "AES_XCBC_96": "aes-xcbc-96",
    "AES_CMAC_96": "aes-cmac-96",
}  # fmt: skip


def pluto(text: str) -> tuple[Named | None, int, str]:
    """`AES_GCM_16_256` as (name, bytes of key or 0 where it does not say, the name without the bits)."""
    found = re.fullmatch(r"(.+?)_(0|56|64|128|160|192|256)", text)
    name, bits = (found[1], int(found[2])) if found and found[1] in _PLUTO_CIPHERS else (text, 0)
    encr = _PLUTO_CIPHERS.get(name)
    if encr is None:
        return None, 0, name
    icv = next((size for end, size in _PLUTO_ICVS.items() if name.endswith(end)), CIPHERS[encr].icv or None)
    size = 32 if encr == "chacha20-poly1305" else 24 if encr == "3des-cbc" else 8 if encr == "des-cbc" else bits // 8
    return Named(name, encr, icv if CIPHERS[encr].aead else None), size, name
