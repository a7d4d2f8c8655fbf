"""Drawings: SVG, PNG or PDF files by matplotlib, which is an extra and imported when one is asked for."""

import importlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

from qfp.trace.output import OutputFile

SUFFIXES = (".svg", ".png", ".pdf")
STYLE = {"svg.hashsalt": "qfp", "svg.fonttype": "none", "font.size": 9.0}
NO_DATE = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {"Software": None}}


def suffix_of(target: Path, error: type[Exception]) -> str:
    """The kind of drawing. Raises `error` for another than those there are."""
    suffix = target.suffix.lower()
    if suffix not in SUFFIXES:
        raise error(f"{target}: a picture ends in {', '.join(SUFFIXES)}, not in '{suffix or target.name}'")
    return suffix


def library(error: type[Exception]) -> Any:
    """matplotlib. Raises `error` when it is not installed."""
    try:
        for part in ("matplotlib.figure", "matplotlib.patches"):
            importlib.import_module(part)
        return importlib.import_module("matplotlib")
    except ImportError:
        raise error(
            "a picture needs matplotlib, which is not installed: pip install 'qfp[report]' (or leave -o off)"
        ) from None


def write(target: Path, draw: Callable[[Any], Any], error: type[Exception]) -> None:
    """Write the figure that `draw(matplotlib)` makes; the same one gives the same bytes. Raises `error`, TraceError."""
    suffix = suffix_of(target, error)
    matplotlib = library(error)
    block = BytesIO()
    with matplotlib.rc_context(STYLE):
        draw(matplotlib).savefig(block, format=suffix[1:], metadata=NO_DATE[suffix])
    with OutputFile(target) as file:
        file.write(block.getvalue())
