"""File to file: captures read and written, decrypt and run with verdicts, start-up."""

from common import script

from qfp.bench.command import file_rows

if __name__ == "__main__":
    script(str(__doc__), [file_rows])
