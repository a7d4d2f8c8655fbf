"""Signals wait while compiled code may call back: what their handlers raise would be lost in its frames."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

# Whatever may have a handler in Python that raises
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGUSR1", "SIGUSR2", "SIGBREAK")
SIGNALS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))
_held = threading.local()


@contextlib.contextmanager
def held_signals() -> Iterator[None]:
    """Handlers of signals that come in the block run behind it, once each, in the order of their first coming.

    Handlers run in the main thread only, so elsewhere there is nothing to hold back. An inner block adds nothing.
    """
    if threading.current_thread() is not threading.main_thread() or getattr(_held, "on", False):
        yield
        return
    came: dict[int, Any] = {}
    handlers = {number: handler for number in SIGNALS if callable(handler := signal.getsignal(number))}
    _held.on = True
    try:
        for number in handlers:
            signal.signal(number, came.setdefault)
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        _held.on = False
        for number, frame in came.items():
            handlers[number](number, frame)
