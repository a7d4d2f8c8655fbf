"""Where compiled kernels are kept, and what is done when they cannot be.

An entry is machine code that will run as this user, so a folder is used only if nobody else may put files into it. A
folder that is full, or an entry that is damaged, costs a compilation and never the run: `trouble()` says what happened.
"""

import contextlib
import functools
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from numba.core.caching import FunctionCache

_troubles: list[str] = []


def trouble() -> str | None:
    """What first kept kernels from being kept in this process, with the remedy; None = nothing did."""
    return _troubles[0] if _troubles else None


def note(why: str) -> None:
    """Remember why kernels are not kept."""
    if why not in _troubles:
        _troubles.append(why)


def _user() -> int | None:
    return os.geteuid() if hasattr(os, "geteuid") else None


def _private_group(gid: int) -> bool:
    """Whether a group has no member but this user, as where each user has a group of the same name."""
    import grp
    import pwd

    try:
        group, me = grp.getgrgid(gid), pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    others = set(group.gr_mem) - {me.pw_name}
    return not others and gid == me.pw_gid and group.gr_name == me.pw_name


def others_may_write(status: os.stat_result) -> bool:
    """Whether somebody else than this user may change what a file or folder holds."""
    if status.st_uid != _user():
        return True
    if status.st_mode & stat.S_IWOTH:
        return True
    return bool(status.st_mode & stat.S_IWGRP) and not _private_group(status.st_gid)


def _others_may_replace(status: os.stat_result) -> bool:
    """Whether somebody else may rename what lies in this folder above the cache. A sticky one (/tmp) forbids it."""
    if status.st_uid not in (_user(), 0, _overflow()):
        return True
    if status.st_mode & stat.S_ISVTX:
        return False
    group = status.st_mode & stat.S_IWGRP and status.st_gid != 0 and not _private_group(status.st_gid)
    return bool(status.st_mode & stat.S_IWOTH or group)


@functools.cache
def _overflow() -> int:
    """The id that files of users outside this container show."""
    try:
        return int(Path("/proc/sys/kernel/overflowuid").read_text())
    except (OSError, ValueError):
        return 0


def objection(place: Path) -> str | None:
    """Why a folder that exists is not used; None = it is."""
    if _user() is None:
        return None  # no such rights on this system
    if others_may_write(place.lstat()):
        return f"{place} is not used: it is not yours, or others may write there (remove it, or set QFP_CACHE_DIR)"
    for above in place.resolve().parents:
        if _others_may_replace(above.stat()):
            return f"{place} is not used: others may replace it, because they may write in {above}"
    return None


def _usable(place: Path) -> bool:
    """Make a folder where it is missing; whether kernels may be kept there."""
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        why = objection(place)
        if why is None and os.access(place, os.W_OK):
            return True
        note(why or f"{place} is not used: it cannot be written")
    except OSError as error:
        note(f"{place} is not used: {error.strerror or type(error).__name__}")
    return False


@functools.cache
def cache_root() -> Path | None:
    """Where compiled kernels are kept: QFP_CACHE_DIR, else the user's cache folder, else one in the temporary folder.

    None where none of them can be written, or others could write there too.
    """
    temporary = Path(tempfile.gettempdir()) / f"qfp-{_user() if _user() is not None else 'cache'}"
    return next((place for place in (*_wanted(), temporary) if _usable(place)), None)


def _wanted() -> Iterator[Path]:
    named = os.environ.get("QFP_CACHE_DIR")
    if named:
        yield Path(named)
        return
    with contextlib.suppress(RuntimeError):  # no home folder
        yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "qfp"


class KernelCache(FunctionCache):  # type: ignore[misc]
    """numba's cache of one function, which a full disk or a damaged entry cannot stop."""

    def load_overload(self, sig: object, target_context: object) -> object:
        """What was compiled before, or None: not there, damaged, or not ours alone."""
        try:
            folder = Path(self.cache_path)
            if folder.exists() and _user() is not None and others_may_write(folder.lstat()):
                note(f"{folder} is not used: others may write there")
                self.disable()
                return None
            return super().load_overload(sig, target_context)
        except Exception as error:  # whatever half an entry makes of numba's reader: compile instead
            note(f"a damaged entry in {self.cache_path} was not used ({type(error).__name__})")
            with contextlib.suppress(OSError):
                self.flush()
            return None

    def save_overload(self, sig: object, data: object) -> None:
        """Keep what was compiled, if there is room."""
        try:
            super().save_overload(sig, data)
        except OSError as error:
            note(f"kernels could not be kept in {self.cache_path}: {error.strerror or type(error).__name__}")
