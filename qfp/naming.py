"""When finished files get their names: those of one command together, or none of them.

A file is written under a temporary name. `give_name` renames it; inside `together` it waits for the others, so that an
error, or a signal, in between leaves nothing under a final name. What comes after the last name is given no longer
counts: the work is done.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path

from qfp_kernels.signals import held_signals

Pair = tuple[Path, Path]  # temporary name, final name
_waiting: ContextVar[list[Pair] | None] = ContextVar("waiting", default=None)
before: list[Callable[[], None]] = []  # called before names are given; what they raise means that none is given
after: list[Callable[[], None]] = []  # called when the names are given


def give_name(temporary: Path, final: Path) -> None:
    """Rename a closed file, at once or with the others of `together`. Raises OSError, and what `before` raises."""
    waiting = _waiting.get()
    if waiting is None:
        _rename([(temporary, final)])
    else:
        waiting.append((temporary, final))


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Files that are finished in the block get their names at its end, or are deleted when it raises.

    An inner block is a part of the outer one.
    """
    if _waiting.get() is not None:
        yield
        return
    files: list[Pair] = []
    token = _waiting.set(files)
    try:
        yield
        _rename(files)
    except BaseException:
        for temporary, _ in files:
            temporary.unlink(missing_ok=True)
        raise
    finally:
        _waiting.reset(token)


def _rename(files: list[Pair]) -> None:
    with held_signals():  # what comes now comes too late, or in time for `before`
        for ask in before:
            ask()
        for temporary, final in files:
            os.replace(temporary, final)
        for tell in after:
            tell()
