"""`qfp convert` says what the target does not hold."""

import struct
from pathlib import Path

import pytest
from cli_help import qfp

from qfp.trace.formats import _block, _option, interface_block, section_block


def packet(comment: bytes = b"") -> bytes:
    body = struct.pack("<IIIII", 0, 0, 5, 4, 4) + b"\x45abc"
    return _block(6, body + (_option(1, comment) + _option(0, b"") if comment else b""))


@pytest.mark.parametrize("suffix", [".pcap", ".pcapng", ".parquet", ".arrow"])
def test_what_is_left_out_is_counted(tmp_path: Path, suffix: str) -> None:
    """Names, statistics, keys, comments, custom blocks and sections; and nothing when there is nothing."""
    source = tmp_path / "s.pcapng"
    rest = _block(4, b"\0" * 4) + _block(5, b"\0" * 12) * 2 + _block(10, b"key " * 3) + _block(0xBAD, b"\0" * 8)
    first = section_block() + interface_block("eth0", 101) + packet() + packet(b"look here") + rest
    source.write_bytes(first + section_block() + interface_block("eth1", 101) + packet())
    done = qfp("convert", source, tmp_path / f"o{suffix}", "--json")
    names = {"names of interfaces": 2, "interfaces (their packets are told apart no more)": 2}
    names = names if suffix == ".pcap" else {}
    assert done.status == 0 and done.json["left_out"] == {
        "name resolution blocks": 1, "interface statistics blocks": 2, "decryption secrets blocks (keys)": 1,
        "blocks of other kinds": 1, "packets with comments or other options": 1,
        "sections beyond the first (their interfaces go into one)": 1, **names,
    }  # fmt: skip
    assert "1 decryption secrets blocks (keys)" in done.err and "look here" not in done.err
    source.write_bytes(section_block() + interface_block("", 101) + packet())
    assert qfp("convert", source, tmp_path / f"o{suffix}", "--json").json["left_out"] == {}
