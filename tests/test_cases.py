"""The cases that are there to be read (tests/cases): each comes to what its `out.txt` says, and is told in a README."""

import os
from pathlib import Path

import pytest
from case_help import FOLDER, CaseError, out_of, packets_of

CASES = sorted(path.parent.name for path in FOLDER.glob("*/in.txt"))


@pytest.mark.parametrize("name", CASES)
def test_case(name: str) -> None:
    folder = FOLDER / name
    if os.environ.get("QFP_UPDATE"):
        (folder / "out.txt").write_text(out_of(folder))
    assert out_of(folder) == (folder / "out.txt").read_text()
    assert len((folder / "README.md").read_text().split()) > 20


def test_there_are_ten() -> None:
    assert len(CASES) >= 10


@pytest.mark.parametrize(
    "line", ["0 10.1.0.5", "0 10.1.0.5 10.2.0.7 tcp 1 2, 100 bytes", "0 10.1.0.5 10.2.0.7 udp 1 2, 9 bytes"]
)
def test_what_is_no_packet_is_said(line: str) -> None:
    with pytest.raises(CaseError):
        packets_of(line)


def test_every_file_is_one_of_those_that_are_explained() -> None:
    known = {"README.md", "a.cfg", "b.cfg", "in.txt", "line.txt", "out.txt"}
    names = {path.name for name in CASES for path in Path(FOLDER / name).iterdir()}
    assert names <= known
