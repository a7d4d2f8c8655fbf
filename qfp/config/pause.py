"""Building something large without the cyclic garbage collector, which would walk over all of it again and again."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """No cycles are looked for meanwhile: half the time of a load of 100,000 lines. What is in use stays in use, so
    that there is nothing to find; reference counts go on freeing the rest."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
