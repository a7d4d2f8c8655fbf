"""Loaders of the published vectors, for the tests of every engine.

The vectors are kept beside the project, in `shared/vectors`; what is not there skips the test that asks for it, with
the path as reason. Numbers printed in RFCs are also in `tests/vectors/`, so that those always run.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from qfp.sa import SecurityAssociation

SHARED = Path(__file__).parents[2] / "shared" / "vectors"
OWN = Path(__file__).parent / "vectors"


@dataclass(frozen=True)
class Primitive:
    """One vector of a cipher, combined mode or MAC. `valid` False: opening or verifying must fail."""

    id: str
    alg: str  # aes-gcm, aes-gmac, chacha20-poly1305, aes-cbc, des-cbc, 3des-cbc, hmac-…, aes-cmac, aes-xcbc
    key: bytes
    iv: bytes
    aad: bytes  # for aes-gmac: the message
    text: bytes  # plaintext, or the message of a MAC
    ct: bytes
    tag: bytes  # truncated as the vector has it
    valid: bool


@dataclass(frozen=True)
class EspVector:
    """One protected packet and the SA that opens it. `wire` runs from the SPI to the ICV for ESP; AH: the IP packet."""

    id: str
    sa: SecurityAssociation
    seq: int  # 64 bits
    iv: bytes
    wire: bytes
    body: bytes  # ESP: payload, padding, pad length, next header; AH: what follows the header
    next_header: int
    ip_in: bytes  # the packet before protection; empty where the source prints none
    ip_out: bytes  # the packet on the wire; empty where the source prints none

    @property
    def seq_hi(self) -> int:
        """The high half of the sequence number."""
        return self.seq >> 32


@cache
def load_json(name: str) -> Any:
    """A file of the shared vectors; skips the test where it is absent."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is absent")
    return json.loads(path.read_text())


def load_primitives() -> list[Primitive]:
    """All vectors of primitives.json."""
    return [primitive(row) for row in load_json("primitives.json")["vectors"]]


def primitive(row: dict[str, Any]) -> Primitive:
    """One row of the file."""
    raw = {name: bytes.fromhex(row.get(name, "")) for name in ("key", "iv", "aad", "ct", "tag")}
    text = bytes.fromhex(row.get("pt", row.get("msg", "")))
    # a GMAC vector may give its message as aad or as msg: GMAC is GCM with associated data alone
    if row["alg"] == "aes-gmac":
        raw["aad"], text = raw["aad"] + text, b""
    return Primitive(row["id"], row["alg"], text=text, valid=row["result"] == "valid", **raw)


def load_esp_vectors() -> Iterator[EspVector]:
    """Every packet of esp_rfc.json and esp_ah_dpdk.json."""
    for name in ("esp_rfc.json", "esp_ah_dpdk.json"):
        for row in load_json(name)["vectors"]:
            yield esp_vector(row)


def load_rfc_vectors() -> Iterator[EspVector]:
    """The packets that RFCs print, from the project's own file."""
    for row in json.loads((OWN / "esp_rfc.json").read_text())["vectors"]:
        yield esp_vector(row)


def association(row: dict[str, Any], **more: Any) -> SecurityAssociation:
    """The SA of a vector or of a capture's manifest, NULL without authentication too. SPI 0, which draft-mcgrew uses
    once, stands as 1."""
    fields = {name: bytes.fromhex(row[name]) for name in ("encr_key", "salt", "integ_key") if name in row}
    fields |= {name: ip_address(row[name]) for name in ("src", "dst") if name in row}
    fields |= {name: row[name] for name in ("proto", "encr", "integ", "icv_len", "esn") if name in row}
    return SecurityAssociation(spi=row["spi"] or 1, allow_null=True, **fields, **more)


def esp_vector(row: dict[str, Any]) -> EspVector:
    """One row of the ESP and AH files."""
    raw = {name: bytes.fromhex(row.get(name, "")) for name in ("esp", "ip_in", "ip_out", "payload", "pad", "iv")}
    out = raw["ip_out"]
    body = raw["payload"]
    if row["kind"] == "esp":
        body += raw["pad"] + bytes([len(raw["pad"]), row["next_header"]])
    wire = raw["esp"] or (out if row["kind"] == "ah" else out[ip_header(out) :])
    sa = association(row["sa"], mode=row["mode"] if row["mode"] in ("tunnel", "transport") else None)
    seq = int(row["seq"], 16)
    return EspVector(row["id"], sa, seq, raw["iv"], wire, body, row["next_header"], raw["ip_in"], out)


def ip_header(packet: bytes) -> int:
    """Bytes of the IP header at the start of a packet without IPv6 extension headers."""
    return (packet[0] & 15) * 4 if packet[0] >> 4 == 4 else 40


def zeroed(packet: bytes, icv_length: int) -> tuple[bytearray, int, bytes]:
    """An IPv4 AH packet without options, prepared for its ICV (RFC 4302 3.3.3.1.1): packet, ICV's place, ICV field."""
    msg = bytearray(packet)
    at = ip_header(packet) + 12
    field = bytes(msg[at : at + icv_length])
    for zero in (1, 6, 7, 8, 10, 11, *range(at, at + icv_length)):  # TOS, flags and offset, TTL, checksum, ICV
        msg[zero] = 0
    return msg, at, field
