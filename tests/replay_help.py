"""Numbers out of order, captures of them, and the study of both, for the tests of qfp.antireplay."""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import naive_replay as naive
import numpy as np
from cli_help import START
from packets import ip4, ip6, udp

from qfp.antireplay.columns import Scratch
from qfp.antireplay.numbers import Classes, Numbering, Selector, numberings
from qfp.antireplay.study import VERDICTS, Receiver, study
from qfp.batch import Batch
from qfp.trace import write_trace

SRC, DST, SRC6, DST6 = "203.0.113.1", "203.0.113.2", "2001:db8::1", "2001:db8::2"
SCHEMES = ("plain", "esn", "sns", "rfc9611")
SPI = 0x4954C4D2


def esp(number: int, dscp: int = 0, spi: int = SPI, dst: str = DST) -> bytes:
    """An ESP packet of no use to anybody."""
    body = struct.pack("!II", spi, number & 0xFFFFFFFF) + bytes(24)
    return ip6(SRC6, dst, body, 50, tos=dscp << 2) if ":" in dst else ip4(SRC, dst, body, 50, tos=dscp << 2)


def ah(number: int, spi: int = SPI, inner: bytes = b"", next_header: int = 6) -> bytes:
    return ip4(SRC, DST, struct.pack("!BBHII", next_header, 4, 0, spi, number) + bytes(12) + inner, 51)


def natt(number: int, spi: int = SPI) -> bytes:
    return ip4(SRC, DST, udp(4500, 4500, struct.pack("!II", spi, number) + bytes(24)))


def capture(path: Path, frames: Sequence[bytes], gap: int = 10**6) -> Path:
    """Write frames, `gap` ns apart."""
    write_trace(path, Batch.from_frames(frames, ts=[START + k * gap for k in range(len(frames))]))
    return path


def disordered(count: int, seed: int, reach: int, first: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """(number fields, DSCPs) of a stream from number `first` on: every class has its own delay, of up to `reach`
    packets; some are lost, some come twice, some of these with another DSCP. 20 classes, more than there are spaces."""
    rng = np.random.default_rng(seed)
    numbers = first + np.cumsum(rng.choice([1, 1, 1, 1, 1, 2, 9], count))
    kinds = rng.integers(0, 20, count)
    delay = kinds * reach // 20 + rng.choice([0, 0, 0, 1, reach // 40 + 1], count)
    numbers, kinds = np.append(numbers, numbers[::50]), np.append(kinds, kinds[::50])
    kinds[count::2] = (kinds[count::2] + 1) % 20
    copies = np.arange(count)[::50] + rng.integers(0, 3 * reach + 2, len(numbers) - count)
    arrival = np.append(np.arange(count) + delay, copies)
    order = np.argsort(arrival, kind="stable")[:count]
    return (numbers[order] & 0xFFFFFFFF).astype(np.uint32), (3 * kinds[order]).astype(np.uint8)


def as_packets(seq: np.ndarray, dscp: np.ndarray) -> list[naive.Packet]:
    return list(zip(seq.tolist(), dscp.tolist(), strict=True))


def studied(
    seq: Any, dscp: Any, windows: Sequence[int], selector: Selector | None = None, ts: Any = None, limit: int = 1 << 24
) -> Iterator[tuple[Numbering, dict[str, Any], np.ndarray]]:
    """(numbering, facts, verdicts[window, packet] in order of arrival) of every scheme."""
    seq, tos = np.asarray(seq, np.uint32), np.asarray(dscp, np.uint8) << 2
    times = np.arange(len(seq), dtype=np.int64) * 1000 if ts is None else np.asarray(ts, np.int64)
    receiver, scratch = Receiver(windows), Scratch(limit)
    for n in numberings(seq, tos, Classes.by_dscp(), selector, scratch):
        found = np.full((len(receiver.sizes), len(seq)), 255, np.uint8)
        facts = study(n, times, receiver, Classes.by_dscp(), scratch, found)
        if n.order is not None:
            found[:, n.order] = found.copy()
        yield n, facts, found


def words(row: np.ndarray) -> list[str]:
    return [VERDICTS[k] for k in row.tolist()]
