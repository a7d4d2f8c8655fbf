"""ns a packet for each stage, policy and route look-ups, the replay check, a stage that does nothing."""

from common import script

from qfp.bench.command import stage_rows

if __name__ == "__main__":
    script(str(__doc__), [stage_rows])
