"""Signals at seeded points of commands in processes of their own: 130 or 143 and no output, or done and all of it."""

import os
import subprocess
import sys

import pytest
from cli_help import ENV
from signal_help import campaign, cases


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc to see when a command has taken the signals")
def test_a_signal_at_any_point_ends_the_command_without_output_or_comes_too_late(tmp_path):
    warm = [case for case in cases(tmp_path, packets=800) if case.name != "run cold"]
    _, wrong = campaign(tmp_path, 12, seed=4303, made=warm)
    assert not wrong


def test_an_interrupt_in_executed_text_is_the_contracts_status_too(tmp_path):
    """`python -m` ends by the signal (status -2) when a KeyboardInterrupt has passed through `exec` of a string, as in
    the making of a dataclass, though it was caught: one of 200 signals met it."""
    (tmp_path / "interrupted.py").write_text(
        "from qfp.cli import signals, start\n"
        "def run():\n"
        "    try:\n"
        "        exec('raise KeyboardInterrupt')\n"
        "    except KeyboardInterrupt:\n"
        "        return signals.INTERRUPTED\n"
        "start._run = run\n"
        "start.main()\n"
    )
    env = {**ENV, "PYTHONPATH": os.pathsep.join([str(tmp_path), ENV["PYTHONPATH"]])}
    done = subprocess.run([sys.executable, "-m", "interrupted"], env=env, cwd=tmp_path, timeout=120)
    assert done.returncode == 130
