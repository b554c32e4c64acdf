"""Names of our own in folders of others: made safely, locked while they are in use, swept once their run is dead.

A lock is the system's own (flock): it ends with its process, however that ends. Where a file system has none, nothing
is refused and nothing swept.
"""

import os
import re
import secrets
import shutil
import stat
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

OURS = re.compile(r"\.cliffvid-[0-9a-f]{16}\.(part|lock)")  # no longer where the result's own name is long
ASIDE = "aside"  # in a folder that is being made: the one it replaces, under its own name


def lock(handle: int) -> bool | None:
    """Lock an open file or folder until it is closed: False if somebody else has, None where that cannot be told."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def open_lock(path: Path) -> int:
    """Open a file that is only there to be locked, and make it; through no link, and without a change to what it holds.

    Raises OSError.
    """
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o666)
    except PermissionError:
        if not os.path.lexists(path):
            raise
        return os.open(path, os.O_RDONLY | flags)  # another user's


def is_at(handle: int, path: Path) -> bool:
    """Return whether an open file still has this name."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path, follow_symlinks=False))
    except OSError:
        return False


class Part:
    """A new file or folder beside what it will become, locked and of a name that nobody can have foreseen.

    ``make`` makes and opens it; who uses ``handle`` closes it. ``remove`` leaves nothing of it, as does the end of the
    process. Raises OSError.
    """

    def __init__(self, folder: Path, make: Callable[[Path], int]) -> None:
        sweep(folder)
        while True:
            self.path = folder / f".cliffvid-{secrets.token_hex(8)}.part"
            # Set up before the file is made, so that no signal at a bad moment leaves it behind.
            self.remove = weakref.finalize(self, _remove_own, self.path, os.getpid())
            self.handle = make(self.path)
            if lock(self.handle) is not False and is_at(self.handle, self.path):
                return
            os.close(self.handle)  # another run was faster to lock it, and took it for left over
            self.remove()


def make_file(path: Path) -> int:
    """Make and open a file that is not there; its mode is the user's mask's."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)


def make_folder(path: Path) -> int:
    """Make and open a folder that is not there; its mode is the user's mask's."""
    path.mkdir()
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _remove_own(path: Path, process: int) -> None:
    if os.getpid() == process:  # not in a child that was forked meanwhile
        _remove(path)


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_symlink() or not path.is_dir():
            path.unlink()
            return
        for aside in (path / ASIDE).glob("*"):  # its place was not taken yet
            if not os.path.lexists(path.parent / aside.name):
                aside.rename(path.parent / aside.name)
        shutil.rmtree(path)


@cache  # once in a run: it lists the folder
def sweep(folder: Path) -> None:
    """Remove what killed runs of this user left in a folder: by our own names, and locked by nobody."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in [entry for entry in entries if OURS.fullmatch(entry.name)]:
            with suppress(OSError):
                _sweep(Path(entry.path), entry.is_dir(follow_symlinks=False))


def _sweep(path: Path, is_folder: bool) -> None:
    way = os.O_RDONLY | os.O_DIRECTORY if is_folder else os.O_RDWR
    handle = os.open(path, way | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        facts = os.fstat(handle)
        kind = stat.S_ISREG(facts.st_mode) and (path.suffix == ".part" or facts.st_size == 0)
        if (kind or is_folder) and facts.st_uid == os.geteuid() and lock(handle) and is_at(handle, path):
            _remove(path)
    finally:
        os.close(handle)
