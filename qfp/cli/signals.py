"""What SIGINT and SIGTERM do to a command: they end it with 130 or 143, and nothing stands under a final name.

The handlers raise, as Python's own do, and remember that a signal came: an exception that was lost on its way (in a
destructor, say, where Python prints and forgets it) is raised again before outputs get their names and at the command's
end. Once outputs have their names the work is done, and a signal that comes later is too late to change that.
"""

import signal
from types import FrameType

from qfp import naming

INTERRUPTED, TERMINATED = 130, 143
STATUS = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: TERMINATED}
WORDS = {INTERRUPTED: "interrupted: no output was written", TERMINATED: "terminated: no output was written"}


class _State:
    came: int | None = None  # signal that asked this command to end
    done = False  # outputs have their names


def install() -> None:
    """Take SIGINT and SIGTERM for the rest of the process. To be called in the main thread."""
    _State.came, _State.done = None, False
    for number in STATUS:
        signal.signal(number, _handle)
    if check not in naming.before:
        naming.before.append(check)
        naming.after.append(_finished)


def _handle(number: int, frame: FrameType | None) -> None:
    if _State.done:
        signal.signal(number, signal.SIG_DFL)  # whoever asks twice, of a reader that does not read, gets out
        return
    _State.came = _State.came or number
    check()


def check() -> None:
    """Raise what a signal raised earlier: KeyboardInterrupt, or SystemExit with its status."""
    if _State.came == signal.SIGINT:
        raise KeyboardInterrupt
    if _State.came is not None:
        raise SystemExit(STATUS[signal.Signals(_State.came)])


def _finished() -> None:
    _State.done = True


def done() -> bool:
    """Whether outputs have their names, so that it is too late for a signal."""
    return _State.done


def came() -> int | None:
    """The exit status that a signal asks for; None = none came."""
    return None if _State.came is None else STATUS[signal.Signals(_State.came)]


def leave() -> None:
    """The exit status is settled: signals no longer change it while Python cleans up."""
    for number in STATUS:
        signal.signal(number, signal.SIG_IGN)
