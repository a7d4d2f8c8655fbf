"""From a sweep to bands: contiguous sizes with the same fate, in words; and the bands that are black holes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from qfp.batch import Array
from qfp.mtu import sweep as s
from qfp.mtu.reading import NAMES
from qfp.mtu.sweep import Sweep
from qfp_kernels import drops

Facts = dict[str, Any]
PING = {4: 28, 6: 48}  # bytes of IP and ICMP header in front of a ping's payload
# Bit, its word in the facts, and what it is called
WAYS = (
    (s.DROPPED, "dropped", "dropped"),
    (s.VANISHED, "vanished", "not sent on"),
    (s.IN_CLEAR, "in clear", "sent in the clear, past the policy"),
    (s.BY_TUNNEL, "tunnel mtu", "fragmented by the tunnel's ip mtu"),
    (s.BEFORE, "before encryption", "fragmented before encryption"),
    (s.GRE_CUT, "gre before encryption", "GRE packet fragmented before encryption"),
    (s.AFTER, "after encryption", "fragmented after encryption"),
    (s.AT_EGRESS, "at egress", "fragmented at egress"),
)  # fmt: skip
PEER = (
    (s.PEER_LOST, "lost", "lost"),
    (s.PEER_BEFORE, "reassembled before decryption", "reassembled by the peer before decryption"),
    (s.PEER_GRE, "reassembled after decryption", "reassembled by the peer after decryption"),
    (s.AS_FRAGMENTS, "fragments", "delivered as fragments (the end host reassembles)"),
)  # fmt: skip
INNER = ("tunnel mtu", "before encryption")
FRAGMENTED = (*INNER, "gre before encryption", "after encryption", "at egress")
ICMP_WORD = {4: "ICMP", 6: "ICMPv6"}


@dataclass(frozen=True)
class Line:
    """Bands of one family with DF set or clear (None: IPv6, which has no such bit), in order of size."""

    family: int
    df: bool | None
    bands: list[Facts]

    @property
    def name(self) -> str:
        return line_name(self.family, self.df)


def line_name(family: int, df: bool | None) -> str:
    """A line in words."""
    return f"IPv{family}" if df is None else f"IPv{family}, DF {'set' if df else 'clear'}"


def ping(family: int, size: int) -> int:
    """Payload of the ping that makes an IP packet of `size` bytes; 0 for what is too short for one."""
    return max(0, size - PING[family])


# ------------------------------------------------------------------------------------------------------- bands
def line(family: int, df: bool | None, parts: list[Sweep]) -> Line:
    """Bands of a line from sweeps of ascending sizes."""
    return Line(family, df, _joined([band for part in parts for band in _bands(family, part)]))


def _bands(family: int, part: Sweep) -> Iterator[Facts]:
    """Runs of equal fate. Of a datagram that the host fragments, the first fragment and what is lost count: with the
    last one, which has any length, the fate would change every 1480 bytes."""
    keys = [part.hosts > 1, _fate(part), part.cause, *part.icmp.T, part.peer_cause]
    if part.peer is not None:
        keys.append(_peer_fate(part))
    rows = np.stack([k.astype(np.int64) for k in keys], axis=1)
    starts = np.flatnonzero(np.concatenate([[True], (rows[1:] != rows[:-1]).any(axis=1)]))
    for first, end in zip(starts.tolist(), [*starts[1:].tolist(), len(rows)], strict=True):
        yield _band(family, part, first, end - 1)


def edges(lines: list[Line]) -> list[int]:
    """Sizes at which bands begin and end."""
    return sorted({band[end] for each in lines for band in each.bands for end in ("first", "last")})


def confirmed(pattern: Line, parts: list[Sweep]) -> Line | None:
    """The line of a path that must fare as another does, with samples of its own. parts: sweeps that have the sizes
    where bands of `pattern` begin and end. None where what came out is not what a band says."""
    places = {size: (part, k) for part in parts for k, size in enumerate(part.sizes.tolist())}
    found = []
    for band in pattern.bands:
        ends = [_band(pattern.family, *places[size], places[size][1])
                for size in dict.fromkeys((band["first"], band["last"]))]  # fmt: skip
        if not all(_agrees(end["fate"], band["fate"]) for end in ends):
            return None
        found.append({**band, "samples": [sample for end in ends for sample in end["samples"]]})
    return Line(pattern.family, pattern.df, found)


def _agrees(fate: Facts, band: Facts) -> bool:
    """Whether the fate of one size is that of a band, some of whose sizes may meet more (`also`)."""
    mine, others = ({k: v for k, v in each.items() if k not in ("also", "peer")} for each in (fate, band))
    if mine != others or not set(fate["also"]) <= set(band["also"]) or (fate["peer"] is None) != (band["peer"] is None):
        return False
    return fate["peer"] is None or _agrees({**fate["peer"], "peer": None}, {**band["peer"], "peer": None})


def _fate(part: Sweep) -> Array:
    gone = part.ways & s.GONE
    return np.where(gone != 0, gone, part.lead | part.ways & s.IN_CLEAR)


def _peer_fate(part: Sweep) -> Array:
    assert part.peer is not None
    return np.where(part.peer & s.PEER_LOST, s.PEER_LOST, part.peer_lead)


def _band(family: int, part: Sweep, first: int, last: int) -> Facts:
    """The facts of datagrams first..last of a sweep, which fare alike. `also`: what happens to some later fragments of
    the host besides."""
    sizes = [int(part.sizes[first]), int(part.sizes[last])]
    ways = int(_fate(part)[first])
    more = 0 if ways & s.GONE else int(np.bitwise_or.reduce(part.ways[first : last + 1])) & ~ways
    fate: Facts = {
        "host": "fragments" if part.hosts[first] > 1 else "whole",
        "router": _words(WAYS, ways), "also": _words(WAYS, more),
        "cause": _cause(part.cause[first]), "icmp": _icmp(family, part.icmp[first]), "peer": None,
    }  # fmt: skip
    if part.peer is not None and not ways & s.GONE:
        bits = int(_peer_fate(part)[first])
        more = 0 if bits & s.PEER_LOST else int(np.bitwise_or.reduce(part.peer[first : last + 1])) & ~bits
        fate["peer"] = {"fate": _words(PEER, bits), "also": _words(PEER, more), "cause": _cause(part.peer_cause[first])}
    return {
        "first": sizes[0], "last": sizes[1], "ping": [ping(family, size) for size in sizes], "fate": fate,
        "samples": [_sample(part, k) for k in ((first,) if first == last else (first, last))],
    }  # fmt: skip


def _words(names: tuple[tuple[int, str, str], ...], bits: int) -> list[str]:
    return [word for bit, word, _ in names if bits & bit]


def _sample(part: Sweep, k: int) -> Facts:
    """Lengths of what one datagram became."""
    lists = {"host": part.host, "inner": part.inner, "wire": part.wire, "arrived": part.arrived}
    return {"size": int(part.sizes[k]), **{name: lengths.of(k) for name, lengths in lists.items()}}


def _cause(number: Any) -> str | None:
    return drops.CAUSES[int(number)].name if number else None


def _icmp(family: int, row: Any) -> Facts | None:
    kind, code, mtu = (int(value) for value in row)
    if kind == s.NO_ICMP:
        return None
    return {"type": kind, "code": code, "name": NAMES.get((family, kind, code), "error"), "mtu": mtu or None}


def _joined(bands: list[Facts]) -> list[Facts]:
    """Neighbours with the same fate as one (a line may come from two sweeps)."""
    out: list[Facts] = []
    for band in bands:
        if out and out[-1]["fate"] == band["fate"] and out[-1]["last"] + 1 == band["first"]:
            joined = {**out[-1], "last": band["last"], "ping": [out[-1]["ping"][0], band["ping"][1]]}
            out[-1] = {**joined, "samples": [out[-1]["samples"][0], band["samples"][-1]]}
        else:
            out.append(band)
    return out


def arrives(band: Facts) -> bool:
    """Whether the datagrams of a band get through, as far as is known."""
    fate = band["fate"]
    gone = {"dropped", "vanished"} & set(fate["router"])
    return not gone and (fate["peer"] is None or "lost" not in fate["peer"]["fate"])


def largest_whole(found: Line) -> int | None:
    """The largest size up to which the host's packets all go through whole: with DF set, the largest such ping."""
    largest = None
    for band in found.bands:
        if band["fate"]["host"] != "whole" or band["fate"]["router"] or not arrives(band):
            break
        largest = band["last"]
    return largest


# ------------------------------------------------------------------------------------------------- black holes
def black_holes(lines: list[Line]) -> list[Facts]:
    """Sizes that are lost, or would be if one thing on the way did not work."""
    return [hole for each in lines for hole in _merged([h for band in each.bands for h in _holes(each, band)])]


def _holes(found: Line, band: Facts) -> Iterator[Facts]:
    fate = band["fate"]
    if found.df and fate["host"] == "fragments":
        return  # these have DF clear: the same packets are on the other line
    size = {"family": found.family, "df": found.df, **{k: band[k] for k in ("first", "last", "ping")}}
    router = set(fate["router"])
    if router & {"dropped", "vanished"}:
        kind = "needs icmp" if fate["icmp"] and fate["cause"] == "FRAG_NEEDED" else "silent"
        yield {"kind": kind, **size, "cause": fate["cause"], "icmp": fate["icmp"], "fragments": []}
        return
    cut = [word for word in FRAGMENTED if word in router or word in fate["also"]]
    if cut:
        yield {"kind": "needs fragments", **size, "cause": None, "icmp": None, "fragments": cut}
    if "in clear" in router:
        yield {"kind": "in clear", **size, "cause": None, "icmp": None, "fragments": []}
    if not arrives(band):
        yield {"kind": "lost at the peer", **size, "cause": fate["peer"]["cause"], "icmp": None, "fragments": cut}


def _merged(holes: list[Facts]) -> list[Facts]:
    """Holes of a line that lie side by side and differ by nothing else as one."""
    out: list[Facts] = []
    varies = ("first", "last", "ping")
    for hole in sorted(holes, key=lambda h: (str(h["kind"]), h["first"])):
        before = out[-1] if out else None
        alike = before is not None and all(before[k] == hole[k] for k in hole if k not in varies)
        if before is not None and alike and before["last"] + 1 == hole["first"]:
            out[-1] = {**before, "last": hole["last"], "ping": [before["ping"][0], hole["ping"][1]]}
        else:
            out.append(hole)
    return out
