"""The benches: what qfp costs a packet, whole and by stage, beside peers measured in the same run.

`run_bench` is the command `qfp bench`; the scripts in `bench/` of the repository record its history. Everything
comparable is sampled in interleaved rounds on one core, and whatever is timed is first checked to do its work.
"""


def run_bench(quick: bool, json_out: bool) -> int:
    """Measure and print; exit status. quick: fewer sizes and rounds, within 40 s. json_out: one JSON object."""
    from qfp.bench.command import run_bench as run

    return run(quick, json_out)
