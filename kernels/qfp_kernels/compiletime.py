"""How long this process has compiled, and who wants to know that it begins to.

Without numba, so that a command can ask to be told before it loads the compiler; `jit` hands on what numba says.
"""

import threading
import time
from collections.abc import Callable


class CompileTime:
    """A clock that runs while some thread holds numba's compiler, to compile or to load what was kept."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter):
        self._clock, self._lock = clock, threading.Lock()
        self._depth, self._begun, self._total = 0, 0.0, 0.0
        self.on_compile: Callable[[], None] | None = None  # called as something begins to be compiled, not loaded

    def enter(self) -> None:
        """A thread wants the compiler. Calls nest, and several threads may be in."""
        with self._lock:
            if self._depth == 0:
                self._begun = self._clock()
            self._depth += 1

    def leave(self) -> None:
        """A thread is done with the compiler."""
        with self._lock:
            self._depth -= 1
            if self._depth == 0:
                self._total += self._clock() - self._begun

    def compiles(self) -> None:
        """Something is compiled."""
        if self.on_compile is not None:
            self.on_compile()

    def seconds(self) -> float:
        """s of this process so far, those of two threads at once counted once."""
        with self._lock:
            return self._total + (self._clock() - self._begun if self._depth else 0.0)


WATCH = CompileTime()
