"""What an author of an IPsec stack compares byte by byte: nonce, AAD, padding, the input of the ICV and the ICV itself.

All of it is taken from the packet's own row before and after the data plane worked on it; the input of an AH's ICV is
made by the kernel that makes it in a run. The ICV is computed a second time, by OpenSSL, from these values: so a reader
sees that they belong together, and of a packet that does not verify what the ICV would have to be. Keys and salts are
not among the values.
"""

from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM

from qfp.algorithms import integrity
from qfp.control.device import Device
from qfp.engines.openssl import OpensslContext, aead_of, mac_of
from qfp.explain.look import ICV_SPAN, Frame, Row
from qfp.explain.words import Facts
from qfp.sa import SecurityAssociation
from qfp_kernels import ah
from qfp_kernels.jit import compile_stage
from qfp_kernels.layout import ST_AH, ST_WORK

HEADER = 8  # bytes of the ESP header
AH_STAGES = ("seal_ah", "open")


def ah_inputs(stage: str, owner: Device, p: Any) -> dict[int, bytes]:
    """The input of the ICV of each AH that a stage has just made or checked, by row; the rows are left as they were."""
    if stage not in AH_STAGES:
        return {}
    rows = p.ah[: p.st[ST_AH]].tolist() if stage == "seal_ah" else [0]
    t, found = owner.tables.t, {}
    for r in rows:
        if t.sa["proto"][p.c_sa[r]] != 51:
            continue
        span = slice(int(p.l3[r]), int(p.l3[r]) + int(p.c_len[r]) + ICV_SPAN)
        before = p.arena[span].copy()
        p.work[0], p.st[ST_WORK] = r, 0
        compile_stage(ah.ah_input)(p, t, 1)
        found[r] = p.arena[int(p.m_off[r]) : int(p.m_off[r]) + int(p.m_len[r])].tobytes()
        p.arena[span] = before
    return found


def of_stage(stage: str, owner: Device, before: Frame, after: Frame, r: int, inputs: dict[int, bytes]) -> Facts | None:
    """The values of a step; None for one that works on no bytes of this kind."""
    row = after.rows[r]
    if r in inputs:
        return _ah(owner.sad.describe(row.c_sa), before.rows[r] if stage == "open" else row, inputs[r])
    if stage == "seal":
        return _esp(owner.sad.describe(row.c_sa), row, before.rows[r], row)
    if stage == "open":
        return _esp(owner.sad.describe(row.c_sa), row, row if row.c_ok else None, before.rows[r])
    return None


def _esp(sa: SecurityAssociation, row: Row, plain: Row | None, sealed: Row) -> Facts:
    """plain, sealed: the row without and with encryption; plain None: nobody has decrypted it."""
    first, last = HEADER + sa.iv_len, HEADER + sa.iv_len + row.c_len
    header, iv, body = sealed.job[:HEADER], sealed.job[HEADER:first], sealed.job[first:last]
    icv = sealed.job[row.c_icv - row.c_off :][: sa.icv_len]
    high = row.c_hi.to_bytes(4) if sa.esn else b""
    facts: Facts = {"esp_header": header.hex(), "iv": iv.hex()}
    clear = None if plain is None else plain.job[first:last]
    if sa.is_aead:
        gmac = sa.encr == "aes-gmac"
        aad = header[:4] + high + header[4:] + (iv + body if gmac else b"")
        facts |= {"nonce": {"salt_bytes": len(sa.salt), "iv": iv.hex()}, "aad": aad.hex()}
        computed = _aead_icv(sa, sa.salt + iv, aad, b"" if gmac else body, b"" if gmac else clear)
    else:
        if sa.encr == "aes-ctr":
            facts["counter_block"] = {"nonce_bytes": len(sa.salt), "iv": iv.hex(), "counter": "00000001"}
        given = header + iv + body + high
        computed = mac_of(sa.integ.rpartition("-")[0], sa.integ_key)(given) if sa.integ != "none" else None
        if sa.integ != "none":
            facts["icv_input"] = given.hex()
    if clear is not None and len(clear) >= 2:
        pad = min(clear[-2], len(clear) - 2)
        facts |= {"payload": clear[: len(clear) - 2 - pad].hex(), "padding": clear[len(clear) - 2 - pad : -2].hex(),
                  "pad_length": clear[-2], "next_header": clear[-1]}  # fmt: skip
    if sa.encr not in ("null", "aes-gmac"):
        facts["ciphertext"] = body.hex()
    return facts | _icvs(icv, computed)


def _aead_icv(sa: SecurityAssociation, nonce: bytes, aad: bytes, body: bytes, clear: bytes | None) -> bytes | None:
    """The ICV of a combined mode. Of a packet that did not verify GCM can tell it, the others cannot: None."""
    if clear is None and sa.encr in ("aes-gcm", "aes-gmac"):
        clear = Cipher(AES(sa.encr_key), GCM(nonce)).decryptor().update(body)
    if clear is None:
        return None
    return aead_of(sa.encr, sa.encr_key, sa.icv_len).encrypt(nonce, clear, aad)[len(clear) :]


def _ah(sa: SecurityAssociation, row: Row, given: bytes) -> Facts:
    """row: with the ICV, which checking it takes away. given: the packet with what may change on its way, and the ICV,
    as zeros, and the high half of its number."""
    at = row.c_icv - row.c_off
    size = integrity(sa.integ).iv
    iv = row.job[at - size : at]
    facts: Facts = {"icv_input": given.hex()}
    if size:
        facts |= {"iv": iv.hex(), "nonce": {"salt_bytes": len(sa.salt), "iv": iv.hex()}}
    return facts | _icvs(row.job[at:][: sa.icv_len], OpensslContext(sa).tag(given, iv))


def _icvs(icv: bytes, computed: bytes | None) -> Facts:
    if not icv:
        return {}
    if computed is None:
        return {"icv": icv.hex(), "icv_computed": None}
    return {"icv": icv.hex(), "icv_computed": computed[: len(icv)].hex()}


def lines(facts: Facts) -> list[str]:
    """As text: a name and its bytes."""
    found = []
    for name, value in facts.items():
        if isinstance(value, dict):
            salt = next((f"salt of {n} bytes (secret)" for key, n in value.items() if key.endswith("_bytes") and n), "")
            parts = [salt, *(str(part) for key, part in value.items() if not key.endswith("_bytes"))]
            shown = " | ".join(filter(None, parts))
        else:
            shown = (
                "not computed: this mode tells none for a packet that does not verify" if value is None else str(value)
            )
        found.append(f"{name.replace('_', ' ')}: {shown or '-'}")
    return found
