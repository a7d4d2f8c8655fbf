"""Tables without addresses: what an observer saw of ESP and AH, to be shared in place of packets.

A row holds time, number, length, the outer header's TOS byte and protocol, and in place of SPI and destination their
keyed BLAKE2b hashes. Without the salt the hashes say only which rows belong together; with it, 32-bit SPIs and IPv4
addresses can be tried out, so a salt that was given is a secret. Its own random salt `strip` forgets.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qfp.antireplay.columns import Counts, Names, Observed, Observer, Progress, ReplayLabError, Scratch, observe, pieces
from qfp.batch import Array
from qfp.trace.errors import MESSAGES, Damage
from qfp.trace.formats import ARROW, PARQUET
from qfp.trace.mapping import Mapping
from qfp.trace.noted import Noted
from qfp.trace.output import TABLES, OutputFile, suffixes
from qfp.trace.source import UNREADABLE, arrow_file
from qfp_kernels import capture as C
from qfp_kernels import observe as K

SCHEMA = "qfp-strip/1"
STRIPPED = pa.schema(
    [
        pa.field("ts", pa.timestamp("ns"), nullable=False),
        pa.field("spi", pa.uint64(), nullable=False),  # hash
        pa.field("dst", pa.uint64(), nullable=False),  # hash
        pa.field("proto", pa.uint8(), nullable=False),  # 50 ESP, 51 AH
        pa.field("seq", pa.uint32(), nullable=False),
        pa.field("len", pa.uint32(), nullable=False),  # bytes of the outer IP packet
        pa.field("tos", pa.uint8(), nullable=False),
    ]
)
COUNTS = ("frames", "later_fragments", "cut_short", "other")
TABLE_ROWS = 1 << 16  # rows of a table that are held at a time


def digest(salt: bytes, kind: bytes, data: bytes) -> int:
    """64 bits of the keyed BLAKE2b hash of an address or SPI."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8, key=salt, person=b"qfp-" + kind).digest())


def salt_of(text: str | None) -> bytes:
    """The key of the hashes: of a text of any length, or random. Raises ReplayLabError."""
    if text is None:
        return secrets.token_bytes(64)
    try:
        # an argument of a command line may hold bytes that are no UTF-8
        return hashlib.blake2b(text.encode("utf-8", "surrogateescape")).digest()
    except UnicodeEncodeError:
        raise ReplayLabError("the salt holds half a surrogate pair, which is no text: give another") from None


def hashed(names: Names, salt: bytes) -> tuple[Array, Array]:
    """(SPI hashes, destination hashes) of SAs. The protocol goes into that of the SPI, the destination too: equal SPIs
    of different SAs cannot be told to be equal."""
    spi, dst = np.empty(len(names), np.uint64), np.empty(len(names), np.uint64)
    for sa, name in enumerate(names):
        packed = name.packed
        dst[sa] = digest(salt, b"dst", packed)
        spi[sa] = digest(salt, b"spi", bytes([name.proto]) + name.spi.to_bytes(4) + packed)
    return spi, dst


def check_target(target: Path) -> str:
    """Suffix of a table. Raises TraceError, ReplayLabError."""
    form, pack = suffixes(target)
    if form not in TABLES or pack:
        raise ReplayLabError(f"{target}: a table is written as {' or '.join(TABLES)}: change the suffix")
    return form


def strip(source: Path, target: Path, salt: str | None = None, progress: Progress = None) -> Observed:
    """Write the table of a capture; what was observed. Raises TraceError, ReplayLabError."""
    form = check_target(target)
    if is_stripped(source):
        raise ReplayLabError(f"{source}: is a table that qfp strip wrote: it holds no packets to strip")
    found = observe(source, progress)
    _write(target, form, found, *hashed(found.names, salt_of(salt)))
    return found


def _write(target: Path, form: str, found: Observed, spi: Array, dst: Array) -> None:
    proto = found.names.protos
    counts = {key: value for key, value in asdict(found.counts).items() if key in COUNTS}
    schema = STRIPPED.with_metadata({"qfp.schema": SCHEMA, "qfp.counts": json.dumps(counts),
                                     "qfp.capture": json.dumps(found.noted.facts())})  # fmt: skip
    out = OutputFile(target)
    try:
        with out.complaints():
            writer: Any = (
                pq.ParquetWriter(out.place, schema, compression="zstd", write_page_checksum=True) if form == ".parquet"
                else pa.ipc.new_file(out.place, schema)
            )  # fmt: skip
            for part in pieces(len(found)):
                c = {name: column[part] for name, column in found.columns.items()}
                rows = [c["ts"], spi[c["sa"]], dst[c["sa"]], proto[c["sa"]], c["seq"], c["len"], c["tos"]]
                arrays = [pa.array(np.ascontiguousarray(row)) for row in rows]
                arrays[0] = arrays[0].view(pa.timestamp("ns"))
                writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
        out.commit(writer.close)
    except BaseException:
        out.abort()
        raise


# ---------------------------------------------------------------------------------------------------- reading
def is_stripped(path: Path) -> bool:
    """Whether a file is such a table (and no capture, nor any other table)."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            head = file.read(8)
        if head.startswith(PARQUET):
            return _says_so(pq.read_schema(path))
        return head.startswith(ARROW) and _says_so(arrow_file(path)[0].schema)
    except UNREADABLE:
        return False  # whoever opens it as a capture says what is wrong


def _says_so(schema: pa.Schema) -> bool:
    return str((schema.metadata or {}).get(b"qfp.schema", b"").decode("utf-8", "replace")).startswith("qfp-strip/")


def _batches(path: Path) -> tuple[pa.Schema, Iterator[pa.RecordBatch], Mapping | None]:
    with path.open("rb") as file:
        parquet = file.read(4) == PARQUET
    if parquet:
        table = pq.ParquetFile(path, memory_map=False, page_checksum_verification=True)
        return table.schema_arrow, table.iter_batches(batch_size=TABLE_ROWS), None
    reader, mapping = arrow_file(path)
    groups = (_valid(reader.get_batch(k)) for k in range(reader.num_record_batches))
    return reader.schema, (g.slice(a, TABLE_ROWS) for g in groups for a in range(0, g.num_rows, TABLE_ROWS)), mapping


def _valid(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A batch whose buffers are as long as its columns say. Raises pa.ArrowInvalid."""
    batch.validate(full=True)
    return batch


def read(path: Path, progress: Progress = None, scratch: Scratch | None = None) -> Observed:
    """What a table holds. A damaged one gives the rows before the damage. Raises ReplayLabError."""
    try:
        schema, batches, mapping = _batches(path)
    except UNREADABLE as error:
        raise ReplayLabError(f"{path}: is damaged ({str(error)[:100]}): strip the capture again") from None
    counts = _counts(path, schema)
    observer = Observer(scratch)
    damage = None
    done = 0
    while True:
        try:
            batch = next(batches, None)
            if batch is not None:
                columns = _own(path, batch, done)
        except UNREADABLE as error:
            if isinstance(error, ReplayLabError):
                raise
            damage = Damage(done, done, MESSAGES[C.D_ROW])
        if mapping is not None and mapping.intact(mapping.size) < mapping.size:
            damage = Damage(done, done, MESSAGES[C.D_SHRUNK])
        if damage is not None or batch is None:
            break
        _take(path, observer, columns, done)
        done += batch.num_rows
        if progress is not None:
            progress(done)
    made = observer.observed(counts, damage)
    made.noted = _noted(schema)
    return made


def _own(path: Path, batch: pa.RecordBatch, done: int) -> dict[str, Array]:
    """Columns of a group, copied: the file may become shorter."""
    if any(column.null_count for column in batch.columns):
        raise ReplayLabError(f"{path}: has nulls within rows {done} to {done + batch.num_rows - 1}: write it again")
    rows = {name: batch.column(name) for name in STRIPPED.names}
    rows["ts"] = rows["ts"].view(pa.int64())
    return {name: np.array(column.to_numpy(zero_copy_only=False)) for name, column in rows.items()}


def _counts(path: Path, schema: pa.Schema) -> Counts:
    """What the capture held besides. Raises ReplayLabError for a table of another kind."""
    if schema.metadata.get(b"qfp.schema") != SCHEMA.encode():
        raise ReplayLabError(f"{path}: this version of qfp reads tables of {SCHEMA} only: strip the capture again")
    if not schema.equals(STRIPPED, check_metadata=False):
        raise ReplayLabError(f"{path}: its columns are {', '.join(schema.names)}, not {', '.join(STRIPPED.names)}: "
                             "strip the capture again")  # fmt: skip
    with contextlib.suppress(ValueError, KeyError, TypeError, OverflowError, RecursionError):
        given = json.loads(schema.metadata[b"qfp.counts"])
        return Counts(**{name: int(given[name]) for name in COUNTS})
    raise ReplayLabError(f"{path}: the counts in its metadata are missing: strip the capture again")


def _noted(schema: pa.Schema) -> Noted:
    """What the capture held that is no ESP or AH; nothing where an earlier version wrote the table."""
    with contextlib.suppress(ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return Noted.from_facts(json.loads(schema.metadata[b"qfp.capture"]))
    return Noted()


def _take(path: Path, observer: Observer, given: dict[str, Array], done: int) -> None:
    """The one place where rows of a table are checked."""
    count = len(given["ts"])
    if not np.isin(given["proto"], (K.ESP, K.AH)).all():
        raise ReplayLabError(f"{path}: protocols other than 50 and 51 within rows {done} to "
                             f"{done + count - 1}: strip the capture again")  # fmt: skip
    observer.room_for(count)
    observer.put_away(1)
    for name in ("ts", "seq", "len", "tos"):
        getattr(observer.o, name)[:count] = given[name]
    K.identify(observer.o, given["spi"], given["dst"], given["proto"], 0, count)
    observer.o.ctl[K.O_ROWS] = count
