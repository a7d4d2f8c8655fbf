"""`qfp diff` as a command, and its parts that need no oracle."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qfp.batch import Batch
from qfp.cli import diff_command as command
from qfp.cli.diff_command import run_diff
from qfp.diff import client, sides
from qfp.diff.cases import Case, matrix, random_cases
from qfp.diff.client import PROGRAM, Oracle, OracleError
from qfp.diff.compare import Difference
from qfp.diff.faults import SEAL
from qfp.diff.fields import field_at, first_difference
from qfp.diff.packet import Packet, PacketError
from qfp.sa import SecurityAssociation
from qfp.trace import write_trace
from qfp.trace.keyfile import write_sas

pytestmark = pytest.mark.req("USE-5")


@pytest.fixture(scope="module", autouse=True)
def _needs_scapy() -> None:
    try:
        Oracle().close()
    except OracleError as error:
        pytest.skip(str(error))


def test_equal_packets_exit_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_diff(seed=4, count=20) == 0
    out = capsys.readouterr().out
    assert "packets compared with scapy" in out and "0 differences" in out


def test_the_seed_decides_everything() -> None:
    assert list(random_cases(3, 50)) == list(random_cases(3, 50))
    assert list(random_cases(3, 50)) != list(random_cases(4, 50))
    assert sum(len(case.packets) for case in random_cases(3, 50)) == 50
    assert len({case.name for case in matrix(1, 1)}) == sum(1 for _ in matrix(1, 1))


def test_a_difference_exits_1_with_both_packets(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = Oracle.ask
    monkeypatch.setattr(Oracle, "ask", lambda self, sa, jobs: ask(self, replace(sa, spi=sa.spi ^ 1), jobs))
    assert run_diff(seed=4, count=3, json_out=True) == 1
    facts = json.loads(capsys.readouterr().out)
    first = facts["smallest"][0]
    assert facts["differences"] >= 1 and first["field"].endswith("SPI")
    assert bytes.fromhex(first["outcomes"]["oracle"]) != bytes.fromhex(first["outcomes"]["qfp"])
    assert run_diff(seed=4, count=3) == 1
    assert "first difference at byte" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"count": 0}, "at least 1"), ({"keys": "k.json"}, "capture"), ({"trace": "t.pcap"}, "key file")],
)
def test_wrong_arguments_exit_2(
    arguments: dict[str, int | str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_diff(**arguments) == 2  # type: ignore[arg-type]
    assert message in capsys.readouterr().out


def test_files_that_cannot_be_read_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_diff(keys=tmp_path / "no.json", trace=tmp_path / "no.pcap") == 2
    assert "no.json" in capsys.readouterr().out
    write_sas(tmp_path / "k.json", [next(case.sa for case in matrix(1, 1) if case.sa.integ != "none")])
    assert run_diff(keys=tmp_path / "k.json", trace=tmp_path / "no.pcap", json_out=True) == 2
    assert "no.pcap" in json.loads(capsys.readouterr().out)["error"]


def test_without_scapy_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    bare = [sys.executable, "-I", "-S", str(PROGRAM)]  # no site-packages: as on a machine without scapy
    monkeypatch.setattr(command, "Oracle", lambda: Oracle(bare))
    assert run_diff(count=1) == 2
    assert "pip install qfp[diff]" in capsys.readouterr().out


def test_an_oracle_that_dies_is_an_error() -> None:
    with pytest.raises(OracleError, match="ended unexpectedly"):
        Oracle([sys.executable, "-c", "pass"])
    with pytest.raises(OracleError, match="cannot be started"):
        Oracle(["/nonexistent/oracle"])
    hello = 'print(\'{"scapy": "0"}\', flush=True)'
    with Oracle([sys.executable, "-c", hello]) as oracle, pytest.raises(OracleError):
        oracle.ask(next(matrix(1, 1)).sa, [])


def test_the_package_never_imports_scapy() -> None:
    code = "import qfp.diff, sys; sys.exit('scapy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    package = Path(client.__file__).parents[1]
    importing = [p for p in package.rglob("*.py") if "import scapy" in p.read_text() or "from scapy" in p.read_text()]
    assert importing == []  # the oracle's program imports by name, inside its own process


# ---------------------------------------------------------------------------------------------- captures
def key_file_case(tmp_path: Path, sas: list[SecurityAssociation], frames: list[bytes]) -> tuple[Path, Path]:
    keys, trace = tmp_path / "keys.json", tmp_path / "trace.pcap"
    write_sas(keys, sas)
    write_trace(trace, Batch.from_frames(frames))
    return keys, trace


def test_a_capture_under_a_key_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Clear packets are sealed under the SA, protected ones opened; a damaged one is refused by both."""
    cases = [case for case in random_cases(21, 300, burst=3) if case.sa.mode == "tunnel" and case.sa.icv_len > 8][:6]
    frames, compared = [b"\x00not an IP packet"], 0
    for case in cases:
        sealed = [s for s in sides.seal(case.sa, [p.build() for p in case.packets]) if isinstance(s, bytes)]
        assert len(sealed) == len(case.packets)
        damaged = sealed[0][:-1] + bytes([sealed[0][-1] ^ 1])
        frames += [p.build() for p in case.packets] + sealed + [damaged]
        compared += len(sealed) + 1
    keys, trace = key_file_case(tmp_path, [case.sa for case in cases], frames)
    assert run_diff(count=10_000, keys=keys, trace=trace, json_out=True) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["compared"] > compared and facts["differences"] == 0


def test_a_capture_that_the_sides_open_differently(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = next(c for c in random_cases(2, 300) if c.sa.mode == "tunnel" and c.sa.icv_len == 16 and not c.sa.natt)
    sealed = sides.seal(case.sa, [p.build() for p in case.packets])
    keys, trace = key_file_case(tmp_path, [case.sa], [s for s in sealed if isinstance(s, bytes)])
    ask = Oracle.ask

    def zeroed(self: Oracle, sa: SecurityAssociation, jobs: list[client.Job]) -> list[bytes | str]:
        return [bytes(len(a)) if isinstance(a, bytes) else a for a in ask(self, sa, jobs)]

    monkeypatch.setattr(Oracle, "ask", zeroed)
    assert run_diff(keys=keys, trace=trace) == 1
    out = capsys.readouterr().out
    assert "both open" in out and "first difference at byte 0" in out


def test_an_sa_without_addresses_opens_and_seals_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = next(c for c in random_cases(2, 300) if c.sa.mode == "tunnel" and c.sa.icv_len == 16 and not c.sa.natt)
    packets = [p.build() for p in case.packets]
    sealed = [s for s in sides.seal(case.sa, packets) if isinstance(s, bytes)]
    open_ended = replace(case.sa, src=None, dst=None, mode=None)
    keys, trace = key_file_case(tmp_path, [open_ended], packets + sealed)
    assert run_diff(keys=keys, trace=trace, json_out=True) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["compared"] == len(sealed)
    assert {s["condition"]: s["count"] for s in facts["skipped"]} == {
        "the SA has no addresses or no mode": len(packets)
    }


# ------------------------------------------------------------------------------------- packets and fields
@settings(deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000))
def test_packets_come_apart_and_together(seed: int) -> None:
    for case in random_cases(seed, 4):
        for packet in case.packets:
            data = packet.build()
            assert Packet.parse(data + b"trailer").build() == data


@settings(derandomize=True)
@given(data=st.binary(max_size=120))
def test_any_bytes_are_a_packet_or_not(data: bytes) -> None:
    try:
        packet = Packet.parse(data)
    except PacketError:
        return
    assert len(packet.build()) <= len(data)


@settings(derandomize=True, deadline=None)
@given(data=st.binary(max_size=120))
def test_any_byte_has_a_field(data: bytes) -> None:
    sa = next(matrix(1, 1)).sa
    assert all(field_at(data, k, sa) for k in range(len(data)))


def test_fields_by_name() -> None:
    case = next(c for c in matrix(1, 1) if c.sa.natt and c.sa.encr == "aes-cbc" and c.sa.integ == "hmac-sha256-128")
    assert case.sa.dst is not None and case.sa.dst.version == 4
    (sealed,) = sides.seal(case.sa, [case.packets[0].build()])
    assert isinstance(sealed, bytes)
    names = [field_at(sealed, at, case.sa) for at in (0, 4, 8, 11, 20, 24, 27, 28, 32, 36, 52, len(sealed) - 1)]
    assert names == [
        "version and header length", "identification", "TTL", "header checksum", "UDP source port", "UDP length",
        "UDP checksum", "ESP SPI", "ESP sequence number", "IV", "ciphertext", "ICV",
    ]  # fmt: skip
    assert field_at(sealed, len(sealed), case.sa) == "behind the end"
    assert first_difference(b"abc", b"abd") == 2
    assert first_difference(b"abc", b"ab") == 2
    assert first_difference(b"abc", b"abc") == -1


def test_a_refusal_is_shown_by_its_cause() -> None:
    case = next(matrix(1, 1))
    facts = command.difference_facts(Difference(SEAL, case.sa, case.packets[0], b"\x45", "SEQ_OVERFLOW"))
    assert facts["outcomes"] == {"oracle": "45", "qfp": "none (SEQ_OVERFLOW)"}
    assert Case(case.sa, ()).name in facts["case"]
