"""Progress of long work: a bar at a terminal after a second, and one line while kernels are compiled."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

from qfp.cli.output import note
from qfp_kernels.compiletime import WATCH

DELAY = 1.0  # s before a bar appears: short work stays quiet
REDRAW = 0.1  # s between updates


class Bar:
    """A progress bar on stderr. `callback` is None where there is no terminal, so that nothing is called in vain.

    total: in the unit of the positions given to `callback`; None = not known. As a context manager.
    """

    def __init__(
        self, title: str, total: int | None, *, terminal: bool | None = None,
        clock: Callable[[], float] = time.monotonic, file: Any = None,
    ):  # fmt: skip
        self._title, self._clock, self._file = title, clock, file
        self._total = total if total is not None and total > 0 else None  # an Arrow file does not say
        on = sys.stderr.isatty() if terminal is None else terminal
        self.callback: Callable[[int], None] | None = self._move if on else None
        self._next = clock() + DELAY
        self._bar: Any = None
        self._task: Any = None

    def _move(self, position: int) -> None:
        now = self._clock()
        if now < self._next:
            return
        self._next = now + REDRAW
        if self._bar is None:
            self._show()
        self._bar.update(self._task, completed=position)

    def step(self, position: int, total: int) -> None:
        """The same where the total becomes known under way."""
        self._total = total
        if self._bar is not None:
            self._bar.update(self._task, total=total)
        self._move(position)

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        out = Console(stderr=True) if self._file is None else Console(file=self._file, force_terminal=True)
        parts = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*parts, console=out, transient=True)
        self._bar.start()
        self._task = self._bar.add_task(self._title, total=self._total)

    @property
    def shown(self) -> bool:
        """Whether the bar has appeared."""
        return self._bar is not None

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()


class _Told:
    """What a command has said of compiling. `helper`: a second core may help with the stages of a router."""

    inside = said = helper = False


@contextlib.contextmanager
def compile_note(helper: bool = True) -> Iterator[None]:
    """Say so, once a command, when something is compiled in the block; nothing is said when all comes from the cache.

    The whole of a command is such a block (`guarded`); one inside it changes no more than who may help.
    helper: let a second core help, for what needs the stages of a router.
    """
    if _Told.inside:
        before, _Told.helper = _Told.helper, helper
        try:
            yield
        finally:
            _Told.helper = before
        return
    _Told.inside, _Told.said, _Told.helper = True, False, helper
    WATCH.on_compile = _tell
    try:
        yield
        if "qfp_kernels.cache" in sys.modules:
            from qfp_kernels import cache

            if (trouble := cache.trouble()) is not None:
                note(f"kernels are compiled at every start: {trouble}")
    finally:
        _Told.inside, WATCH.on_compile = False, None


def _tell() -> None:
    """Something is about to be compiled."""
    if _Told.said:
        return
    _Told.said = True
    from qfp.cli.compiling import start
    from qfp_kernels.cache import cache_root

    if _Told.helper:
        start()
    where = cache_root()
    kept = f"kept in {where}" if where else "there is no folder to keep them in"
    note(f"compiling kernels, once for this machine ({kept}) …")
