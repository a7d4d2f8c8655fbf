"""Entry point of the `qfp` command: signals are taken before anything heavy is imported, and left when all is said."""

import sys

from qfp.cli import signals


def main() -> None:
    """Run the command line; the process ends with the status of the contract (qfp/cli/errors.py)."""
    signals.install()
    try:
        status = _run()
    except KeyboardInterrupt:
        status = None
    except SystemExit as ended:
        status = ended.code
    while True:
        try:
            status = _settled(status)
            break
        except KeyboardInterrupt:  # a signal that came on the way out: it is looked at once more
            continue
    # A KeyboardInterrupt that passed through `exec` of a string (dataclasses make their methods so) is remembered, and
    # `python -m` ends by the signal for it whatever became of it since. The next string that is executed clears that.
    exec("")
    sys.exit(status)  # type: ignore[arg-type]


def _settled(status: object) -> object:
    """The status with which the process ends: no signal changes it any more."""
    asked = None if signals.done() else signals.came()
    if asked is not None and status != asked:  # before a command began, or behind it
        sys.stderr.write(f"qfp: {signals.WORDS[asked]}\n")
        status = asked
    signals.leave()
    return status


def _run() -> object:
    """The status with which the command line ends."""
    from qfp.cli.errors import BROKEN_PIPE, silence
    from qfp.cli.main import app

    status: object = None
    try:
        app(prog_name="qfp")
    except SystemExit as ended:
        status = ended.code
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        silence()
        return BROKEN_PIPE
    return status
