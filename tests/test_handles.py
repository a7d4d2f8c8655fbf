"""BASE-10: handles, their generations, and that a freed one is never served."""

from ipaddress import ip_address

import pytest

from qfp.batch import Batch
from qfp.control.handles import CONTEXT_BASE, handles
from qfp.decrypt import Decryptor
from qfp.router import Router
from qfp.sa import SecurityAssociation
from qfp_kernels.layout import CTL_GEN

OFFICE = """
crypto ipsec transform-set T esp-gcm 128
crypto map M 10 ipsec-isakmp
 set peer 203.0.113.2
 set transform-set T
 match address 101
interface GigabitEthernet0/0/0
 ip address 203.0.113.1 255.255.255.0
 crypto map M
interface GigabitEthernet0/0/1
 ip address 10.1.0.1 255.255.0.0
ip route 0.0.0.0 0.0.0.0 203.0.113.2
access-list 101 permit ip 10.1.0.0 0.0.255.255 10.2.0.0 0.0.255.255
"""


def association(spi: int) -> SecurityAssociation:
    return SecurityAssociation(
        proto="esp", spi=spi, src=ip_address("203.0.113.1"), dst=ip_address("203.0.113.2"), encr="aes-gcm",
        encr_key=bytes(range(16)), salt=b"salt",
    )  # fmt: skip


def packet() -> bytes:
    """UDP from 10.1.0.7 to 10.2.0.5, header checksum right."""
    head = bytearray.fromhex("4500001c000000004011000000000000000000000035003500080000")
    head[12:20] = ip_address("10.1.0.7").packed + ip_address("10.2.0.5").packed
    total = sum(int.from_bytes(head[k : k + 2]) for k in range(0, 20, 2))
    total = (total & 0xFFFF) + (total >> 16)
    head[10:12] = (0xFFFF ^ total).to_bytes(2)
    return bytes(head)


@pytest.mark.req("BASE-10")
def test_chain_of_one_sa() -> None:
    router = Router.loads(OFFICE)
    out = router.sadb.pairs[0].outbound[0]
    chain = handles(router.sad, out)
    assert chain.flow == f"CSR:{chain.flow_id}" and chain.connection_id == 2000 + chain.flow_id
    assert chain.qfp_sa == out and chain.state == "active" and chain.spd_entry == router.sadb.pairs[0].want.sp
    assert chain.context_text.startswith("0x00000000e8b") and chain.crypto_context >= CONTEXT_BASE
    everything = [handles(router.sad, h) for p in router.sadb.pairs for h in (*p.outbound, *p.inbound)]
    for name in ("flow_id", "qfp_sa", "crypto_context", "aom_cpp", "aom_engine"):
        assert len({getattr(c, name) for c in everything}) == len(everything), name
    with pytest.raises(IndexError, match="no SA handle"):
        handles(router.sad, router.sad.rows)


@pytest.mark.req("BASE-10")
def test_freed_handle_is_not_served() -> None:
    wire = Router.loads(OFFICE).forward(Batch.from_frames([packet()] * 3), "Gi0/0/1").packets
    sent = Router.loads(OFFICE)
    sa = sent.sad.describe(sent.sadb.pairs[0].outbound[0])
    receiver = Decryptor([sa])
    handle = receiver.handles[0]
    generation = handles(receiver.sad, handle).generation
    assert receiver.open(Batch.from_frames([wire.frame(0)])).counters["verdicts"] == {"forwarded": 1}
    receiver.sad.free(handle, generation)
    from qfp.engine import zero_counters

    zero_counters(receiver.tables)
    assert receiver.open(Batch.from_frames([wire.frame(1)])).counters["drops"] == {"NO_SA": 1}
    assert handles(receiver.sad, handle).state == "deleted"
    with pytest.raises(KeyError, match="not in use"):
        receiver.sad.free(handle, generation)
    reused = receiver.sad.add(association(0x2000), inbound=True)
    assert reused == handle and handles(receiver.sad, reused).generation > generation
    with pytest.raises(KeyError, match="not in use"):
        receiver.sad.free(handle, generation)  # the stale handle does not reach the row's new owner


@pytest.mark.req("BASE-10")
def test_flow_cache_forgets_when_tables_change() -> None:
    router = Router.loads(OFFICE)
    frames = Batch.from_frames([packet()])
    assert router.forward(frames, "Gi0/0/1").counters["verdicts"] == {"forwarded": 1}
    pair = router.sadb.pairs[0]
    before = int(router.tables.t.ctl[CTL_GEN])
    router.sad.free(pair.outbound[0], handles(router.sad, pair.outbound[0]).generation)
    router.tables.t.sp["sa_out"][pair.want.sp] = -1
    assert router.tables.t.ctl[CTL_GEN] > before
    from qfp.engine import zero_counters

    zero_counters(router.tables)
    assert router.forward(frames, "Gi0/0/1").counters["drops"] == {"NO_SA_OUT": 1}


@pytest.mark.req("BASE-10")
def test_freed_rows_hold_no_key() -> None:
    receiver = Decryptor([association(0x1000)])
    handle = receiver.handles[0]
    assert receiver.tables.t.keys[:36].any()
    receiver.sad.free(handle, handles(receiver.sad, handle).generation)
    assert not receiver.tables.t.keys.any() and not receiver.tables.t.ctx.any()
