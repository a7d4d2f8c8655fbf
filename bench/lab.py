"""A lab of two routers with encryption, a link and decryption, on one thread and on two."""

from common import script

from qfp.bench.command import lab_rows

if __name__ == "__main__":
    script(str(__doc__), [lab_rows])
