"""Gzip (RFC 1952) and Zstandard (RFC 8878) as iterators of decompressed pieces, every intact byte delivered.

Both end with `Corrupt` when the data is damaged or stops early, after all that can still be decoded.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import BinaryIO

import zstandard

CHUNK = 1 << 16  # bytes read at a time
PIECE = 1 << 20  # largest piece delivered: a few bytes can stand for gigabytes


class Corrupt(Exception):
    """Compressed data is damaged or incomplete."""


def plain(file: BinaryIO) -> Iterator[bytes]:
    """The bytes as they are: pipes and other files that cannot be mapped."""
    while piece := file.read(PIECE):
        yield piece


def _salvage(before: zlib._Decompress, chunk: bytes) -> Iterator[bytes]:
    """Decode byte by byte up to the damage, then raise."""
    try:
        for k in range(len(chunk)):
            piece = before.decompress(chunk[k : k + 1])
            if piece:
                yield piece
    except zlib.error as error:
        raise Corrupt(f"the gzip data is damaged ({error})") from None
    raise Corrupt("the gzip data is damaged")


def gunzip(file: BinaryIO) -> Iterator[bytes]:
    """All members of a gzip file; zero bytes behind the last one are padding."""
    decoder = zlib.decompressobj(31)
    fresh = True  # nothing of this member was read
    while chunk := file.read(CHUNK):
        while chunk:
            if fresh:
                chunk = chunk.lstrip(b"\0")
                if not chunk:
                    break
            fresh = False
            before = decoder.copy()
            try:
                piece = decoder.decompress(chunk, PIECE)
            except zlib.error:
                yield from _salvage(before, chunk)
            if piece:
                yield piece
            chunk = decoder.unconsumed_tail
            if decoder.eof:
                chunk = decoder.unused_data
                decoder, fresh = zlib.decompressobj(31), True
    while not fresh and (piece := decoder.decompress(b"", PIECE)):  # output that a full piece held back
        yield piece
    if not fresh and not decoder.eof:
        raise Corrupt("the gzip data stops before its end (was the copy cut short?)")


def _need(file: BinaryIO, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = file.read(size - len(data))
        if not more:
            raise Corrupt("the zstd data stops before its end (was the copy cut short?)")
        data += more
    return data


def _frame_header(file: BinaryIO, magic: bytes) -> tuple[bytes, bool]:
    """(header of a frame, whether a checksum follows its last block), RFC 8878 section 3.1.1.1."""
    descriptor = _need(file, 1)
    flags = descriptor[0]
    single = flags >> 5 & 1
    size = (0 if single else 1) + (0, 1, 2, 4)[flags & 3] + (single, 2, 4, 8)[flags >> 6]
    return magic + descriptor + _need(file, size), bool(flags >> 2 & 1)


def unzstd(file: BinaryIO) -> Iterator[bytes]:
    """All frames of a zstd file, one block (at most 128 kB of output) at a time, so that memory stays bounded."""
    while first := file.read(1):
        magic = first + _need(file, 3)
        if magic[0] & 0xF0 == 0x50 and magic[1:] == b"\x2a\x4d\x18":
            _skip(file, int.from_bytes(_need(file, 4), "little"))
            continue
        if magic != b"\x28\xb5\x2f\xfd":
            raise Corrupt("what follows a zstd frame is not one")
        header, checksum = _frame_header(file, magic)
        yield from _zstd_blocks(file, header, checksum)


def _skip(file: BinaryIO, size: int) -> None:
    while size:
        size -= len(_need(file, min(size, CHUNK)))


def _zstd_blocks(file: BinaryIO, header: bytes, checksum: bool) -> Iterator[bytes]:
    decoder = zstandard.ZstdDecompressor().decompressobj()
    try:
        decoder.decompress(header)
        last = False
        while not last:
            head = _need(file, 3)
            word = int.from_bytes(head, "little")
            last, kind, size = bool(word & 1), word >> 1 & 3, word >> 3
            if kind == 3 or size > 1 << 17:
                raise Corrupt("the zstd data is damaged (no such block)")
            piece = decoder.decompress(head + _need(file, 1 if kind == 1 else size))
            if piece:
                yield piece
        if checksum:
            decoder.decompress(_need(file, 4))
    except zstandard.ZstdError as error:
        raise Corrupt(f"the zstd data is damaged ({error})") from None
