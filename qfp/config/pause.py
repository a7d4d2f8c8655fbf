"""Building something large without the cyclic garbage collector, which would walk over all of it again and again."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

LINES_MIN = 5000  # below, the collector costs nothing, and routers that are gone are to be found


@contextmanager
def uncollected(lines: int) -> Iterator[None]:
    """No cycles are looked for while something of so many lines is built: half the time of a load of 100,000. What is
    in use stays in use, so that there is nothing to find; reference counts go on freeing the rest."""
    was = gc.isenabled() and lines >= LINES_MIN
    if was:
        gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
