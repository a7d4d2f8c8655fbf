"""Python integers beside arrays that cannot hold them: NumPy 2.5 refuses in `where` what versions before it wrapped
without a word (-1 among unsigned numbers became 4294967295). The same rule is put on whatever version is here."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_help import IN, OUT, Office, office, qfp

WHERE = np.where
MTU = Path(__file__).parents[1] / "traces" / "mtu"
FIGURE = Path(__file__).parents[1] / "traces" / "figure"


def strict_where(condition: Any, *choices: Any) -> Any:
    """`np.where` as NumPy 2.5 has it: OverflowError for a Python integer that the array beside it cannot hold."""
    types = [each.dtype for each in choices if isinstance(each, np.ndarray | np.generic)]
    for number in choices:
        if type(number) is int and types and types[0].kind in "iu":
            low, high = np.iinfo(types[0]).min, np.iinfo(types[0]).max
            if not low <= number <= high:
                raise OverflowError(f"Python integer {number} out of bounds for {types[0]}")
    return WHERE(condition, *choices)


@pytest.fixture(autouse=True)
def strict(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(np, "where", strict_where)
    yield


def test_the_rule_is_that_of_numpy_2_5() -> None:
    small = np.arange(3, dtype=np.uint8)
    for number in (-1, 256, 2**70):
        with pytest.raises(OverflowError):
            np.where(small > 1, small, number)
        with pytest.raises(OverflowError):
            np.where(small > 1, number, small)
    assert np.where(small > 1, small, 255).tolist() == [255, 255, 2]
    assert np.where(small > 1, small.astype(np.int64), -1).tolist() == [-1, -1, 2]


@pytest.fixture
def pair(tmp_path: Path) -> Office:
    return office(tmp_path, transform="ah-sha256-hmac esp-aes esp-sha-hmac")


def test_ways_of_sas_with_and_without_ah(pair: Office) -> None:
    """An SA without AH over it has none as its kind's second half: all of a pair of routers, and back."""
    assert pair.seal("--export-sas", pair / "s.json").status == 0
    facts = qfp("run", pair.b, pair / "wire.pcapng", "--in", OUT, "--json").json
    assert facts["verdicts"]["forwarded"] == 40
    told = qfp("explain", pair.a, pair.trace, "--in", IN, "--frame", 5, "--json").json
    assert told["verdict"] == "forwarded"
    assert qfp("replay-lab", pair / "wire.pcapng", "--json").status == 0


def test_sizes_and_labs() -> None:
    words = ("mtu", MTU / "west.cfg", "--peer", MTU / "east.cfg", "--sizes", "1380-1460", "--json")
    assert qfp(*words).json["paths"]
    assert qfp("lab", FIGURE / "sixteen-spaces.toml", "--json").json["status"] == 0
