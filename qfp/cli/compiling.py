"""A second process that compiles kernels while the first one does: `python -m qfp.cli.compiling`.

Compiling holds Python's lock, so a thread would not help. Both processes go through the stages, this one from the last
to the first; what one has compiled the other takes from the cache, and where they meet all is done.
"""

import atexit
import subprocess
import sys

from qfp import fia
from qfp.engine import RARE_LISTS, cores
from qfp_kernels import capture
from qfp_kernels.cache import cache_root
from qfp_kernels.jit import compile_stage


def start() -> None:
    """Start the second process, where there is a core for it and a place to share what is compiled."""
    if cores() < 2 or cache_root() is None:
        return
    quiet = subprocess.DEVNULL
    helper = subprocess.Popen([sys.executable, "-m", __name__], stdin=quiet, stdout=quiet, stderr=quiet)
    atexit.register(helper.terminate)


def main() -> None:
    """Compile the stages of a router, the last ones first."""
    stages = fia.router(capture.walk_pcapng, capture.emit_pcapng, ())
    for stage in dict.fromkeys(reversed(stages)):
        if stage.walks not in RARE_LISTS:
            compile_stage(stage.run)


if __name__ == "__main__":
    main()
