"""What is not compared is skipped for a reason that still holds; and what is wrong is found and made small."""

import random
from dataclasses import replace
from typing import Any

import pytest

from qfp.cli.diff_command import difference_facts
from qfp.diff import compare
from qfp.diff.cases import ENDS, NATT_PORTS, Case, make_sa
from qfp.diff.client import Job, Oracle
from qfp.diff.compare import compare_all
from qfp.diff.faults import FAULTS, SEAL, fault
from qfp.diff.packet import DESTINATION, FRAGMENT, HOP_BY_HOP, Packet
from qfp.diff.shrink import shrink
from qfp.sa import SecurityAssociation

SRC4, DST4 = (int(a) for a in ENDS[4])
SRC6, DST6 = (int(a) for a in ENDS[6])
OPTIONS = bytes([0, 0, 1, 4, 0, 0, 0, 0])


def esp(mode: str = "tunnel", outer: int = 4, **changes: Any) -> SecurityAssociation:
    how = {"mode": mode, "outer": outer, "esn": False, "natt": None, **changes}
    return make_sa(random.Random(3), "esp", "aes-cbc", 16, "hmac-sha256-128", 16, **how)


def ah(mode: str = "transport", outer: int = 4) -> SecurityAssociation:
    how: dict[str, Any] = {"mode": mode, "outer": outer, "esn": False, "natt": None}
    return make_sa(random.Random(3), "ah", "null", 0, "hmac-sha1-96", 12, **how)


def gcm(icv: int) -> SecurityAssociation:
    return make_sa(random.Random(3), "esp", "aes-gcm", 16, "none", icv, mode="tunnel", outer=4, esn=False, natt=None)


def six(*extensions: tuple[int, bytes], protocol: int = 253, payload: bytes = b"data" * 4) -> Packet:
    return Packet(6, SRC6, DST6, protocol, payload, extensions=extensions)


LONE = Packet(4, SRC4, DST4, 253, b"data" * 4)
EXAMPLES = {
    "short tag": (gcm(8), LONE),
    "fragment": (esp("transport"), replace(LONE, fragment=0x2000)),
    "fragment header": (esp("transport", 6), six((FRAGMENT, bytes(8)))),
    "destination options": (esp("transport", 6), six((DESTINATION, OPTIONS))),
    "nat-t extensions": (esp("transport", 6, natt=NATT_PORTS), six((HOP_BY_HOP, OPTIONS))),
    "ah over esp": (ah(), replace(LONE, protocol=50)),
    "payload as extension": (esp("transport", 6), six((HOP_BY_HOP, OPTIONS), payload=b"r")),
    "odd options": (ah(), replace(LONE, options=b"\x00\x07\x08\x09")),
    "nat-t port": (esp(natt=(4501, 4502)), LONE),
    "hop limit": (esp(), replace(LONE, hops=1)),
}


@pytest.mark.req("USE-5")
@pytest.mark.parametrize("name", EXAMPLES)
def test_a_listed_fault_is_one(oracle: Oracle, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Compared in spite of it, the sides do differ: a fault that scapy mended must leave the list."""
    sa, packet = EXAMPLES[name]
    wanted = next(f for f in FAULTS if f.name == name)
    assert fault(sa, packet, wanted.only or SEAL) is wanted
    counted = compare_all([Case(sa, (packet,))], oracle)
    assert counted.skipped[wanted] == 1 and not counted.differences
    monkeypatch.setattr(compare, "fault", lambda *_: None)
    assert compare_all([Case(sa, (packet,))], oracle).differences


@pytest.mark.req("USE-5")
def test_every_fault_says_why() -> None:
    assert all(f.algorithm and f.condition and f.why for f in FAULTS)
    assert len({f.name for f in FAULTS}) == len(FAULTS)


class Wrong:
    """An oracle with another opinion: about an SA, or about packets that `where` picks."""

    def __init__(self, oracle: Oracle, where: Any = None, **sa: Any) -> None:
        self.oracle, self.where, self.sa = oracle, where, sa

    def ask(self, sa: SecurityAssociation, jobs: list[Job]) -> list[bytes | str]:
        answers = self.oracle.ask(replace(sa, **self.sa), jobs)
        if self.where is None:
            return answers
        return [
            a[:-1] + bytes([a[-1] ^ 1]) if isinstance(a, bytes) and job["do"] == "seal" and self.where(job) else a
            for a, job in zip(answers, jobs, strict=True)
        ]


def noisy(size: int, **changes: Any) -> Packet:
    rng = random.Random(9)
    return Packet(
        4, rng.randrange(2**32), rng.randrange(2**32), 17, rng.randbytes(size), tos=77, hops=33, ident=9,
        options=b"\x94\x04\x00\x00\x07\x07\x04abcd\x01", **changes,
    )  # fmt: skip


@pytest.mark.req("USE-5")
@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"integ_key": bytes(32)}, "ICV"),
        ({"encr_key": bytes(16)}, "ciphertext"),
        ({"spi": 0x01020304}, "ESP SPI"),
        ({"natt": (4500, 4500)}, "total length"),
    ],
)
def test_a_wrong_sa_is_found_and_made_small(oracle: Oracle, wrong: dict[str, Any], field: str) -> None:
    judge = Wrong(oracle, **wrong)
    sa = replace(esp(), seq=1000)
    report = compare_all([Case(sa, (noisy(700),))], judge)
    found = shrink(next(d for d in report.differences if d.way == SEAL), judge)
    assert found.packet.payload == b"" and found.packet.options == b"" and found.packet.tos == 0
    assert found.sa.seq == 1
    facts = difference_facts(found)
    assert facts["field"] == field
    assert facts["packet"] == found.packet.build().hex()
    assert sa.integ_key.hex() not in str(facts) and sa.encr_key.hex() not in str(facts)


@pytest.mark.req("USE-5")
def test_the_length_that_matters_is_found(oracle: Oracle) -> None:
    judge = Wrong(oracle, where=lambda job: len(job["packet"]) >= 20 + 41)
    report = compare_all([Case(esp(), (noisy(700), noisy(3)))], judge)
    found = shrink(report.differences[0], judge)
    assert len(found.packet.build()) == 61
    assert not any(found.packet.payload)


@pytest.mark.req("USE-5")
def test_the_option_and_the_byte_that_matter_are_found(oracle: Oracle) -> None:
    judge = Wrong(oracle, where=lambda job: b"\x94\x04\x00\x00" in job["packet"] and job["packet"][-1] == 0x5A)
    packet = noisy(90)
    packet = replace(packet, payload=packet.payload + b"\x5a" + bytes(7) + b"\x5a")
    report = compare_all([Case(esp(), (packet,))], judge)
    found = shrink(report.differences[0], judge)
    assert found.packet.options == b"\x94\x04\x00\x00"
    assert found.packet.payload.strip(b"\0") == b"\x5a"
