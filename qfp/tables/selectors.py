"""The selectors of a key file's SAs as rows: what `qfp_kernels.select` asks."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from qfp.sa import AddressRange, PortRange, SecurityAssociation, Selectors
from qfp.tables.store import Tables, words
from qfp_kernels.layout import TABLE_TYPES

ANY_ADDRESS = 2**128 - 1
ANY_PORT = (0, 65535)
ANY_PROTOCOL = -1


def build(tables: Tables, sas: Sequence[SecurityAssociation], handles: Sequence[int]) -> bool:
    """Fill `sel` and `sel_of` for SAs and their handles; whether any SA states selectors."""
    stated = [(handle, sa.selectors) for sa, handle in zip(sas, handles, strict=True) if sa.selectors is not None]
    if not stated:
        return False
    rows = np.zeros(len(stated), TABLE_TYPES["sel"])
    for row, (_, selectors) in zip(rows, stated, strict=True):
        _fill(row, selectors)
    tables.replace("sel", rows)
    tables.grow("sel_of", max(handles) + 1)
    tables.t.sel_of[[handle for handle, _ in stated]] = np.arange(len(stated))
    return True


def _fill(row: Any, selectors: Selectors) -> None:
    """One row. What is not stated is the widest range."""
    for side, given in (("src", selectors.src), ("dst", selectors.dst)):
        first, last = _ends(given)
        row[f"{side}_first0"], row[f"{side}_first1"] = words(first)
        row[f"{side}_last0"], row[f"{side}_last1"] = words(last)
        if given is not None:
            row["fam"] = given.first.version
    row["proto"] = ANY_PROTOCOL if selectors.protocol is None else selectors.protocol
    row["sport_lo"], row["sport_hi"] = _ports(selectors.sport)
    row["dport_lo"], row["dport_hi"] = _ports(selectors.dport)


def _ends(given: AddressRange | None) -> tuple[int, int]:
    return (0, ANY_ADDRESS) if given is None else (int(given.first), int(given.last))


def _ports(given: PortRange | None) -> PortRange:
    return ANY_PORT if given is None else given
