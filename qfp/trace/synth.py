"""Synthetic traffic, the same bytes for the same arguments: an office for demonstrations, plain loads for benches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qfp.batch import RAW_IP, Array, Batch
from qfp.trace.convert import gathered
from qfp.trace.office import START, office_traffic
from qfp.trace.source import BatchSource
from qfp.trace.walker import Walker

IMIX: tuple[tuple[int, int], ...] = ((64, 7), (576, 4), (1420, 1))  # (IP bytes, packets of 12): 348 bytes on average
GAP = 1000  # ns between packets by default
FLOWS_MAX = 1 << 22
_CHUNK = 2048  # rows worked on at a time, so that they stay in cache


def _words(values: Array, width: int) -> Array:
    """Low `width` bytes of integers, big-endian: (n,) to (n, width)."""
    digits = np.ascontiguousarray(values, ">u8").view(np.uint8).reshape(-1, 8)
    return np.asarray(digits[:, 8 - width :])


def _folded(sums: Array) -> Array:
    """One's complement of sums of 16-bit words, as two bytes each; 0 is given as ffff, the other zero."""
    for _ in range(3):
        sums = (sums & 0xFFFF) + (sums >> 16)
    rest = 0xFFFF - sums
    return _words(np.where(rest == 0, 0xFFFF, rest), 2)


def _sums(rows: Array) -> Array:
    """Sum of the 16-bit big-endian words of each row; an odd byte counts as the high one."""
    even: Array = rows[:, 0::2].sum(axis=1, dtype=np.int64)
    odd: Array = rows[:, 1::2].sum(axis=1, dtype=np.int64)
    return even * 256 + odd


def _templates(size: int, flows: int, rng: np.random.Generator, family: int) -> tuple[Array, Array]:
    """(one packet a flow with IPv4 id, number and checksums zero; sum of the words that UDP's checksum covers)."""
    header = 20 if family == 4 else 40
    rows = np.zeros((flows, size), np.uint8)
    number = np.arange(flows)
    near, far = _words(number & 0xFFFF, 2), _words(number & 0xFFFF, 2)
    if family == 4:
        rows[:, :12] = np.frombuffer(bytes([0x45, 0, size >> 8, size & 255, 0, 0, 0, 0, 64, 17, 0, 0]), np.uint8)
        rows[:, 12:14], rows[:, 14:16], rows[:, 16:18], rows[:, 18:20] = (10, 1), near, (10, 2), far
    else:
        rows[:, :8] = np.frombuffer(bytes([0x60, 0, 0, 0, (size - 40) >> 8, (size - 40) & 255, 17, 64]), np.uint8)
        for at, site in ((8, 1), (24, 2)):
            rows[:, at : at + 6] = (0x20, 0x01, 0x0D, 0xB8, 0, site)
            rows[:, at + 14 : at + 16] = near
    rows[:, header : header + 2] = _words(1024 + (number >> 16), 2)
    rows[:, header + 2 : header + 4] = (0x9C, 0x40)
    length = size - header
    rows[:, header + 4 : header + 6] = (length >> 8, length & 255)
    rows[:, header + 8 :] = rng.integers(0, 256, (flows, length - 8), np.uint8)
    rows[:, header + 8 : header + 16] = 0  # the packet's number goes here
    addresses = rows[:, 12:20] if family == 4 else rows[:, 8:40]
    return rows, _sums(rows[:, header:]) + _sums(addresses) + 17 + length


def _fill(size: int, number: Array, flow: Array, flows: int, rng: np.random.Generator, family: int) -> Array:
    """Packets of one size as rows of bytes; `number` is each one's place in the trace, `flow` its flow."""
    templates, sums = _templates(size, flows, rng, family)
    rows = np.empty((len(number), size), np.uint8)
    for start in range(0, len(number), _CHUNK):
        part = slice(start, start + _CHUNK)
        np.take(templates, flow[part], axis=0, out=rows[part], mode="clip")
        _number(rows[part], number[part], sums[flow[part]], family)
    return rows


def _number(rows: Array, number: Array, sums: Array, family: int) -> None:
    """Put each packet's number into its payload and IPv4 id, and set the checksums."""
    header = 20 if family == 4 else 40
    room = min(8, rows.shape[1] - header - 8) & ~1
    digits = _words(number, room)
    rows[:, header + 8 : header + 8 + room] = digits
    rows[:, header + 6 : header + 8] = _folded(sums + _sums(digits))
    if family == 4:
        rows[:, 4:6] = _words(number, 2)
        rows[:, 10:12] = _folded(_sums(rows[:, :20]))


def _check(sizes: Sequence[int], packets: int, flows: int, family: int) -> None:
    if family not in (4, 6):
        raise ValueError(f"family is 4 or 6, not {family}")
    least = 28 if family == 4 else 48
    if min(sizes) < least or max(sizes) > 65535:
        raise ValueError(f"a UDP packet of IPv{family} has {least} to 65535 bytes, not {min(sizes)} to {max(sizes)}")
    if packets < 1 or not 1 <= flows <= FLOWS_MAX:
        raise ValueError(f"packets ({packets}) must be positive, flows ({flows}) 1 to {FLOWS_MAX}")


def mixed(
    mix: Sequence[tuple[int, int]], packets: int, flows: int = 16, seed: int = 1, family: int = 4, gap: int = GAP
) -> Batch:
    """Raw-IP UDP packets of several sizes: `mix` is (IP bytes, share) each, shuffled within every round of shares.

    Flow k goes from 10.1.0.0 + k to 10.2.0.0 + k (2001:db8:1::k to 2001:db8:2::k), above 65535 with another source
    port; each packet draws its flow. Checksums are valid; the payload starts with the packet's number. `gap`: ns
    between packets. Raises ValueError for sizes that hold no UDP packet.
    """
    _check([size for size, _ in mix], packets, flows, family)
    rng = np.random.default_rng(seed)
    cycle = np.repeat([size for size, _ in mix], [share for _, share in mix])
    rounds = -(-packets // len(cycle))
    sizes = rng.permuted(np.tile(cycle, (rounds, 1)), axis=1).reshape(-1)[:packets]
    flow = rng.integers(0, flows, packets)
    offset, parts, at = np.empty(packets, np.int64), [], 0
    for size in dict.fromkeys(size for size, _ in mix):
        number = np.flatnonzero(sizes == size)
        parts.append(_fill(size, number, flow[number], flows, rng, family).reshape(-1))
        offset[number] = at + np.arange(len(number)) * size
        at += parts[-1].size
    columns = {
        "offset": offset, "length": sizes, "wire": sizes, "ts": START + np.arange(packets) * gap,
        "in_if": np.zeros(packets), "link": np.full(packets, RAW_IP), "frame": np.arange(packets),
    }  # fmt: skip
    batch = Batch(np.concatenate(parts) if len(parts) > 1 else parts[0], columns)
    return batch if len(parts) == 1 else gathered(Walker(BatchSource(batch)))


def uniform(size: int, packets: int, flows: int = 16, seed: int = 1, family: int = 4, gap: int = GAP) -> Batch:
    """Raw-IP UDP packets of `size` IP bytes; see `mixed`."""
    return mixed([(size, 1)], packets, flows, seed, family, gap)


def imix(packets: int, flows: int = 16, seed: int = 1, family: int = 4, gap: int = GAP) -> Batch:
    """The Internet mix: 7 packets of 64, 4 of 576 and 1 of 1420 IP bytes in every 12, shuffled; see `mixed`."""
    return mixed(IMIX, packets, flows, seed, family, gap)


__all__ = ["IMIX", "imix", "mixed", "office_traffic", "uniform"]
