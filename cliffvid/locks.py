"""Create, lock and clean up temporary files in output folders.

Locks are the system's (flock), so they end with their process, however it ends. Without them, as on Windows and some
network file systems, nothing is refused and nothing is cleaned up.
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

from .inputs import open_flags

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

OURS = re.compile(r"\.cliffvid-[0-9a-f]{16}\.(part|lock)")  # fixed length, however long the result's name is
ASIDE = "aside"  # subfolder of a new folder in progress: it holds the folder being replaced, under its name


def has_locks() -> bool:
    """Return whether files can be locked; where they cannot, on Windows, no open file can be renamed or removed."""
    return fcntl is not None


def lock(handle: int) -> bool | None:
    """Lock an open file or folder until it is closed; return False if it is locked already, None if unsupported."""
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
    """Open a lock file, creating it if needed; follow no symbolic link and leave its content unchanged.

    Raises OSError.
    """
    flags = open_flags("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC")
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o666)
    except PermissionError:
        if not os.path.lexists(path):
            raise
        return os.open(path, os.O_RDONLY | flags)  # it belongs to another user


def is_at(handle: int, path: Path) -> bool:
    """Return whether ``path`` is still the open file."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path, follow_symlinks=False))
    except OSError:
        return False


class PartFile:
    """Temporary file or folder next to its target, locked and with an unpredictable name.

    ``make`` creates and opens it; the caller closes ``handle``, which is None where folders cannot be opened.
    ``remove`` deletes it, and so does the end of the process. Raises OSError.
    """

    def __init__(self, folder: Path, make: Callable[[Path], int | None]) -> None:
        sweep(folder)
        while True:
            self.path = folder / f".cliffvid-{secrets.token_hex(8)}.part"
            # Registered before the file exists, so that a signal in between leaves no file.
            self.remove = weakref.finalize(self, _remove_own, self.path, os.getpid())
            self.handle = make(self.path)
            if self.handle is None or (lock(self.handle) is not False and is_at(self.handle, self.path)):
                return
            os.close(self.handle)  # another run locked it first, as a stale file to clean up
            self.remove()


def make_file(path: Path) -> int:
    """Create and open a new file, with the mode that the umask gives."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | open_flags("O_NOFOLLOW", "O_CLOEXEC"), 0o666)


def make_folder(path: Path) -> int | None:
    """Create and open a new folder, with the mode that the umask gives; Windows opens none."""
    path.mkdir()
    if not has_locks():
        return None
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _remove_own(path: Path, process: int) -> None:
    if os.getpid() == process:  # not in a forked child process
        _remove(path)


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_symlink() or not path.is_dir():
            path.unlink()
            return
        for aside in (path / ASIDE).glob("*"):  # restore a replaced folder whose place is still free
            if not os.path.lexists(path.parent / aside.name):
                aside.rename(path.parent / aside.name)
        shutil.rmtree(path)


@cache  # once per run: it lists the folder
def sweep(folder: Path) -> None:
    """Remove stale temporary files of this user's killed runs: those with cliffvid's names that no process locks."""
    if not has_locks():  # nothing tells which are stale
        return
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
