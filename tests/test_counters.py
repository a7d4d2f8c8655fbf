"""Counters name what they count (BASE-8, BASE-12)."""

import struct
from ipaddress import ip_address

import pytest
from test_handles import association

from qfp.batch import Batch
from qfp.decrypt import Decryptor
from qfp.engines.openssl import OpensslContext
from qfp_kernels.layout import STAT_DUMMY


def ipv4(protocol: int, payload: bytes) -> bytes:
    """A packet between the ends of `association`."""
    ends = ip_address("203.0.113.1").packed + ip_address("203.0.113.2").packed
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0) + ends
    total = sum(struct.unpack(">10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    return head[:10] + struct.pack(">H", 0xFFFF ^ (total & 0xFFFF) + (total >> 16)) + head[12:] + payload


@pytest.mark.req("BASE-8", "BASE-12")
def test_a_keepalive_is_no_dummy() -> None:
    """Both are consumed; only next header 59 counts as a dummy (RFC 4303 section 2.6)."""
    sa = association(0x1000)
    esp = bytearray(struct.pack(">II", sa.spi, 1) + bytes(8) + b"\x01\x02\x02\x3b" + bytes(16))
    OpensslContext(sa).esp_seal(esp, None)
    keepalive = struct.pack(">HHHH", 4500, 4500, 9, 0) + b"\xff"
    device = Decryptor([sa])
    result = device.open(Batch.from_frames([ipv4(50, bytes(esp)), ipv4(17, keepalive), ipv4(17, keepalive)]))
    assert result.counters["verdicts"] == {"consumed": 3}
    assert result.counters["dummies"] == int(device.tables.t.stats[STAT_DUMMY]) == 1
