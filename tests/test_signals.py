"""Signals at seeded points of commands in processes of their own: 130 or 143 and no output, or done and all of it."""

import sys

import pytest
from signal_help import campaign, cases


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc to see when a command has taken the signals")
def test_a_signal_at_any_point_ends_the_command_without_output_or_comes_too_late(tmp_path):
    warm = [case for case in cases(tmp_path, packets=800) if case.name != "run cold"]
    _, wrong = campaign(tmp_path, 12, seed=4303, made=warm)
    assert not wrong
