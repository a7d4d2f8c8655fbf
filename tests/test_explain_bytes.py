"""explain --bytes: nonce, AAD, padding, input and output of the ICV, for every algorithm, of both ends of a packet."""

from dataclasses import replace
from typing import Any

import pytest
from cli_help import IN, office, packet, qfp
from path_help import ENGINES
from test_path_transforms import PROTECTIONS
from test_path_transforms import associations as made_of
from test_path_transforms import config as site

from qfp.batch import Batch
from qfp.decrypt import Decryptor
from qfp.explain.text import lines
from qfp.result import Result
from qfp.router import Router
from qfp.sa import SecurityAssociation


def associations(family: int, **more: Any) -> list[list[SecurityAssociation]]:
    """SAs of every protection."""
    return [made_of(fields, family, **more) for _, fields in PROTECTIONS]


def values(result: Result, frame: int, stage: str) -> list[dict[str, Any]]:
    facts = result.explain(frame, intermediate=True)
    return [step["facts"]["bytes_of"] for step in facts["stages"] if step["stage"] == stage]


def hidden(sas: list[SecurityAssociation], shown: str) -> bool:
    """Whether no key and no salt is among what is shown."""
    return not any(key and key.hex() in shown for sa in sas for key in (sa.encr_key, sa.integ_key, sa.salt))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("family", [4, 6])
def test_every_algorithm(engine: str, family: int) -> None:
    """What both ends tell is the same, is the packet, and the ICV follows from its input."""
    for sas in associations(family):
        near = Router.loads(site(1, family), keys=sas, engine=engine)
        clear = Batch.from_frames([packet(k) for k in range(3)])
        sent = near.forward(clear, "gi0/0/1")
        assert sent.counters["verdicts"]["forwarded"] == 3, sas
        wire = sent.packets.frame(1)
        opened = Decryptor(sas, engine=engine).open(sent.packets)
        told = [values(sent, 1, "seal"), values(sent, 1, "seal_ah"), values(opened, 1, "open")]
        assert told[0] + told[1], sas
        for mine, theirs in zip([*told[1], *told[0]], told[2], strict=True):
            assert mine == theirs
            assert mine.get("icv") == mine.get("icv_computed")
            if "esp_header" in mine:
                trailer = bytes([mine["pad_length"], mine["next_header"]]).hex()
                body = mine.get("ciphertext") or mine["payload"] + mine["padding"] + trailer
                whole = mine["esp_header"] + mine["iv"] + body + mine.get("icv", "")
                assert whole in wire.hex()
                assert mine["padding"] == bytes(range(1, mine["pad_length"] + 1)).hex()
        text = "\n".join(line.text for step in sent.explain(1, intermediate=True)["stages"] for line in lines(step))
        assert hidden(list(sas), str(told) + text)


def test_a_packet_that_was_changed() -> None:
    """The ICV that it has, and the one that it would need. Combined modes but GCM tell none."""
    for sas in associations(4):
        near = Router.loads(site(1, 4), keys=sas)
        frame = bytearray(near.forward(Batch.from_frames([packet(0)]), "gi0/0/1").packets.frame(0))
        frame[-40 if sas[0].proto == "esp" else -5] ^= 1
        opened = Decryptor(sas).open(Batch.from_frames([bytes(frame)]))
        found = values(opened, 0, "open")[0]
        if "icv" not in found:
            continue  # the SA has none
        assert found["icv"] != found["icv_computed"]
        unknown = sas[0].proto == "esp" and sas[0].encr in ("aes-ccm", "chacha20-poly1305")
        assert (found["icv_computed"] is None) == unknown
        if sas[0].proto == "esp":
            assert "payload" not in found


def test_the_high_half_counts() -> None:
    """With ESN it stands in the AAD between SPI and number, and behind the input of other ICVs, never on the wire."""
    for sas in associations(4):
        wide = [replace(sa, esn=True, seq=(5 << 32) + 9) for sa in sas]
        sent = Router.loads(site(1, 4), keys=wide).forward(Batch.from_frames([packet(0)]), "gi0/0/1")
        for found in values(sent, 0, "seal") + values(sent, 0, "seal_ah"):
            assert found.get("icv") == found.get("icv_computed")
            if "aad" in found:
                assert found["aad"][8:16] == "00000005"
            elif "icv_input" in found:
                assert found["icv_input"].endswith("00000005")


def test_mutable_fields_are_zeros() -> None:
    """RFC 4302 3.3.3.1: TOS, flags, TTL and checksum of the outer header, and the ICV."""
    sas = next(each for each in associations(4) if each[0].proto == "ah" and each[0].integ == "hmac-sha256-128")
    sent = Router.loads(site(1, 4), keys=sas).forward(Batch.from_frames([packet(0)]), "gi0/0/1")
    (found,) = values(sent, 0, "seal_ah")
    given = bytes.fromhex(found["icv_input"])
    wire = sent.packets.frame(0)
    assert given[1] == 0
    assert given[6:9] == bytes(3)
    assert given[10:12] == bytes(2)
    assert given[32:48] == bytes(16)
    assert given[12:32] == wire[12:32]
    assert given[48:] == wire[48:]


def test_on_the_command_line(tmp_path: Any) -> None:
    o = office(tmp_path)
    shown = qfp("explain", o.a, o.trace, "--in", IN, "--frame", 0, "--bytes")
    assert shown.status == 0
    for name in ("nonce: salt of 4 bytes (secret) |", "aad:", "padding:", "icv computed:"):
        assert name in shown.out
    plain = qfp("explain", o.a, o.trace, "--in", IN, "--frame", 0)
    assert "aad:" not in plain.out
    told = qfp("explain", o.a, o.trace, "--in", IN, "--frame", 0, "--bytes", "--json").json
    (seal,) = (step for step in told["stages"] if step["stage"] == "seal")
    assert seal["facts"]["bytes_of"]["icv"] == seal["facts"]["bytes_of"]["icv_computed"]


def test_what_is_explained_is_left_as_it_was() -> None:
    """Asking for the values changes nothing: the next packets are the same, AH included."""
    sas = next(each for each in associations(4) if each[0].proto == "ah")
    asked, plain = (Router.loads(site(1, 4), keys=sas) for _ in range(2))
    first = [router.forward(Batch.from_frames([packet(0)]), "gi0/0/1") for router in (asked, plain)]
    first[0].explain(0, intermediate=True)
    second = [router.forward(Batch.from_frames([packet(1)]), "gi0/0/1") for router in (asked, plain)]
    assert second[0].packets.frames() == second[1].packets.frames()
