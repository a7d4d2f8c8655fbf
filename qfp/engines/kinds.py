"""Kinds: which crypto stages an algorithm combination runs, by engine and direction.

A kind is up to four stages over the work list (see qfp_kernels.seal). `native` has kernels for AES-GCM, GMAC, CBC, CTR,
NULL with HMAC-SHA1 and HMAC-SHA-256, and AH of the same; what it lacks is done by `openssl`, packet by packet, as a
whole or for the MAC alone.
"""

from collections.abc import Callable
from typing import Any

from qfp_kernels import ah, cbc, gcm, hmac, seal
from qfp_kernels.seal import LOCKSTEP

MACS = {"hmac-sha1-96": hmac.sha1, "hmac-sha256-96": hmac.sha256, "hmac-sha256-128": hmac.sha256}
OPENSSL_ESP, OPENSSL_MAC = "openssl-esp", "openssl-mac"
Step = Callable[..., Any] | str


def _mac(integ: str) -> list[Step]:
    return [MACS.get(integ, OPENSSL_MAC)]


def steps(proto: str, encr: str, key_len: int, integ: str, outbound: bool, native: bool) -> list[Step]:
    """Stages of a combination, in order; a string stands for a step of the openssl engine."""
    finish: Step = hmac.icv_write if outbound else hmac.icv_check
    if proto == "ah":
        mac: list[Step] = [OPENSSL_MAC]
        if native:
            mac = [gcm.gmac] if integ == "aes-gmac" else _mac(integ)
        return [ah.ah_input, *mac, ah.ah_restore, finish]
    if not native or encr not in ("null", "aes-cbc", "aes-ctr", "aes-gcm", "aes-gmac"):
        return [OPENSSL_ESP]
    if encr == "aes-gcm":
        return [(gcm.SEAL if outbound else gcm.OPEN)[key_len]]
    if encr == "aes-gmac":
        return [hmac.gmac_input, gcm.gmac, hmac.gmac_restore, finish]
    table = cbc.CTR if encr == "aes-ctr" else cbc.SEAL if outbound else cbc.OPEN
    crypt: list[Step] = [] if encr == "null" else [table[key_len]]
    if integ == "none":
        return [*crypt, seal.finish]
    check = [hmac.mac_input, *_mac(integ), finish]
    return crypt + check if outbound else check + crypt


def lockstep(stages: list[Step]) -> int:
    """The LOCKSTEP bit where a stage takes packets side by side."""
    side_by_side = (hmac.sha1, hmac.sha256, *cbc.SEAL.values())
    return LOCKSTEP if any(s in side_by_side for s in stages) else 0
