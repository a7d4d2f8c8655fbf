"""Whole paths by transform, size and direction; many SAs; two threads against one."""

from common import script

from qfp.bench.command import path_rows, scale_rows, thread_rows

if __name__ == "__main__":
    script(str(__doc__), [path_rows, scale_rows, thread_rows])
