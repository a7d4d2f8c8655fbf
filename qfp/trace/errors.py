"""What goes wrong with trace files: an error when nothing can be done, damage when part of the file is intact."""

from dataclasses import dataclass

from qfp_kernels import capture as C


class TraceError(Exception):
    """A file cannot be read or written as a trace: the message names the file and the remedy."""


class Shrunk(TraceError):
    """A mapped file became shorter while frames of it were in use: the message names record and byte."""


class DamagedTrace(UserWarning):
    """A trace is damaged; everything before the damage was read."""


@dataclass(frozen=True)
class Damage:
    """Where reading stopped: number of the record (from 0), byte position in the (decompressed) source, and why."""

    record: int
    offset: int
    message: str

    def __str__(self) -> str:
        return f"record {self.record} at byte {self.offset}: {self.message}"


MESSAGES = {
    C.D_TRUNCATED: "the file ends inside this record (was the capture still being written, or the copy cut short?)",
    C.D_LENGTH: f"the block's length is too small for its type, not a multiple of 4, or over {C.BLOCK_MAX} bytes",
    C.D_TRAILER: "the block's closing length differs from its opening one",
    C.D_BYTE_ORDER: "the section header has no valid byte-order magic",
    C.D_VERSION: "the section is of a pcapng version other than 1",
    C.D_INTERFACE: "the packet names an interface that was not described before it",
    C.D_CAPLEN: "the captured length is larger than the record or any credible packet",
    C.D_OPTION: "an option of the interface reaches beyond its block",
    C.D_RESOLUTION: "the interface's time resolution is finer than 64 bits can count",
    C.D_ROW: "the row group cannot be decoded",
    C.D_SHRUNK: "the file became shorter while it was read (was it rotated, or its disk full?)",
}
