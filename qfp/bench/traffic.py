"""Traffic of the benches: the loads of `qfp.trace.synth`, and packets whose flow numbers the caller draws."""

from collections.abc import Sequence

import numpy as np

from qfp.batch import RAW_IP, Array, Batch
from qfp.trace import synth

SIZES: tuple[int | str, ...] = (64, "imix", 1420)
IPV4_SUM = 0x4500 + (64 << 8 | 17)  # words of the header that every packet of `drawn` has: version, TTL, protocol


def mean_bytes(size: int | str) -> float:
    """Inner IP bytes of a packet, on average."""
    if isinstance(size, int):
        return float(size)
    return sum(s * n for s, n in synth.IMIX) / sum(n for _, n in synth.IMIX)


def load(size: int | str, packets: int, flows: int) -> Batch:
    """Packets of one size, or the Internet mix; each draws its flow evenly."""
    if isinstance(size, int):
        return synth.uniform(size, packets, flows)
    return synth.imix(packets, flows)


def resident(size: int | str) -> int:
    """Packets of a source that stays in cache: enough that no branch predictor learns them by heart."""
    return 4096 if mean_bytes(size) < 1000 else 2048


def long(size: int | str) -> int:
    """Packets of a source larger than 64 MB, whatever is cached."""
    return int(68e6 / mean_bytes(size))


def zipf(flows: int, packets: int, exponent: float = 1.1, seed: int = 1) -> Array:
    """int64[packets]: flow numbers below `flows`, the k-th most popular with weight k^-exponent, shuffled."""
    rng = np.random.default_rng(seed)
    weights = np.arange(1, flows + 1) ** -exponent
    ends = np.cumsum(weights / weights.sum())
    ranks = np.minimum(np.searchsorted(ends, rng.random(packets)), flows - 1)
    return np.asarray(rng.permutation(flows)[ranks], np.int64)


def words16(value: Array) -> Array:
    """uint8[n, 2]: numbers below 65536 in network order."""
    return np.stack([value >> 8, value & 255], axis=1).astype(np.uint8)


def drawn(size: int, flow: Sequence[int] | Array) -> Batch:
    """One UDP packet of `size` IP bytes for every flow number, with the addresses and ports of `synth`.

    Packets of one flow share their bytes; the UDP checksum is 0 (RFC 768: none). Flows below 2^22.
    """
    number = np.asarray(flow, np.int64)
    distinct, place = np.unique(number, return_inverse=True)
    low, high = distinct & 0xFFFF, distinct >> 16
    rows = np.zeros((len(distinct), size), np.uint8)
    rows[:, [0, 8, 9]] = (0x45, 64, 17)
    rows[:, 2:4] = (size >> 8, size & 255)
    rows[:, 12:14], rows[:, 14:16], rows[:, 16:18], rows[:, 18:20] = (10, 1), words16(low), (10, 2), words16(low)
    total = IPV4_SUM + size + 0x0A01 + 0x0A02 + 2 * low
    rows[:, 10:12] = words16(0xFFFF - ((total & 0xFFFF) + (total >> 16)))
    rows[:, 20:22], rows[:, 22:24] = words16(1024 + high), (0x9C, 0x40)
    rows[:, 24:26] = (size - 20 >> 8, size - 20 & 255)
    n = len(number)
    columns = {
        "offset": place.reshape(-1) * size, "length": np.full(n, size), "wire": np.full(n, size),
        "ts": 1000 * np.arange(n), "in_if": np.zeros(n), "link": np.full(n, RAW_IP), "frame": np.arange(n),
    }  # fmt: skip
    return Batch(rows.reshape(-1), columns)
