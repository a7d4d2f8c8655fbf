"""Traces: capture files and tables of frames in, capture files, tables and verdicts out."""

from qfp.trace.convert import Converted, convert, read_trace, write_trace
from qfp.trace.errors import Damage, DamagedTrace, TraceError
from qfp.trace.opening import open_source
from qfp.trace.source import Source
from qfp.trace.verdicts import VerdictWriter
from qfp.trace.writer import TraceWriter

__all__ = [
    "Converted",
    "Damage",
    "DamagedTrace",
    "Source",
    "TraceError",
    "TraceWriter",
    "VerdictWriter",
    "convert",
    "open_source",
    "read_trace",
    "write_trace",
]
