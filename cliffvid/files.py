"""New files appear whole under their own names or not at all; files of others are opened if they are regular ones."""

import errno
import os
import secrets
import stat
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Self

from .errors import AccessError, EmptyError, NotFoundError, OutputError, RefusedError, UsageError

PART = ".cliffvid-{}.part"  # no longer where the result's own name is long
NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}  # of file systems without hard links
ADVICE = {
    errno.ENOSPC: "make room there, or choose another place",
    errno.EDQUOT: "make room there, or choose another place",
    errno.ENAMETOOLONG: "choose a shorter name",
}


class NewFile:
    """A file on its way to ``out``; a context manager. ``keep`` makes it appear, leaving early removes every trace.

    Write to ``file``, or to its path ``part``. A link at ``out`` stays, and what it points to is written.
    Without ``overwrite`` a file that appears at ``out`` meanwhile is kept, and this one is not.
    Raises OutputError where it cannot be written, before any work is done for it.
    """

    def __init__(self, out: Path, overwrite: bool) -> None:
        self.out, self._overwrite = out, overwrite
        with output_errors(out):
            self._target = Path(os.path.realpath(out))
            with suppress(FileNotFoundError):
                os.stat(self._target)  # tells of a name that is too long, and of links in a circle
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self.part = self._target.with_name(PART.format(secrets.token_hex(8)))
            # Set up before the file is made, so that no signal at a bad moment leaves it behind.
            self._remove = weakref.finalize(self, _remove, self.part, os.getpid())
            self.file = self.part.open("x+b")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        with suppress(OSError):  # what it had still to write is thrown away
            self.file.close()
        self._remove()

    def keep(self) -> int:
        """Put the file on disk and give it its name; its size in bytes. Raises OutputError."""
        with output_errors(self.out):
            self.file.flush()
            os.fsync(self.file.fileno())
            size = os.fstat(self.file.fileno()).st_size
            self.file.close()
            if self._overwrite:
                os.replace(self.part, self._target)
            else:
                self._link()
            self._remove()
        with suppress(OSError):  # a folder that may be written and not read, or a file system that cannot
            sync_folder(self._target.parent)
        return size

    def _link(self) -> None:
        try:
            try:
                os.link(self.part, self._target)
            except OSError as error:
                if error.errno not in NO_LINKS:
                    raise
                if os.path.lexists(self._target):
                    raise FileExistsError from error
                os.rename(self.part, self._target)
        except FileExistsError as error:
            raise OutputError(
                f"{self.out}: appeared while this one was being made, and is kept as it is; choose another name, or "
                "give --overwrite to replace it"
            ) from error


def _remove(part: Path, process: int) -> None:
    if os.getpid() == process:  # not in a child that was forked meanwhile
        with suppress(OSError):
            part.unlink()


@contextmanager
def output_errors(out: Path) -> Iterator[None]:
    """Make an OutputError of whatever the system says against writing ``out``."""
    try:
        yield
    except OSError as error:
        raise cannot_write(out, error) from error


def cannot_write(out: Path, error: Exception) -> OutputError:
    """Return the error that tells why ``out`` cannot be written and what to do."""
    reason, code = getattr(error, "strerror", None) or error, getattr(error, "errno", None)
    if code in (errno.EEXIST, errno.ENOTDIR):
        above = next((folder for folder in out.parents if os.path.lexists(folder)), out.parent)
        reason = f"{above} is not a folder"
    return OutputError(f"{out}: cannot write it ({reason}); {ADVICE.get(code, 'choose another place')}")


@contextmanager
def appearing(out: Path, overwrite: bool) -> Iterator[object]:
    """An open file that gets its name when all went well and leaves nothing otherwise. Raises OutputError."""
    with NewFile(out, overwrite) as new:
        with output_errors(out):
            yield new.file
        new.keep()


def write_whole(out: Path, data: bytes, overwrite: bool) -> None:
    """Write a file of any kind, whole or not at all. Raises OutputError if it cannot be written."""
    with appearing(out, overwrite) as file:
        file.write(data)


def sync_folder(folder: Path) -> None:
    """Put the names of a folder's files on disk, as fsync does with what they hold."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_free(out: Path, overwrite: bool, *sources: Path | str | None) -> None:
    """Raise UsageError if a file must not be written there: a folder, what it is made of, or something not to lose."""
    if os.path.isdir(out):
        raise UsageError(f"{out}: a folder; name the file to write")
    exists = os.path.exists(out)  # no where Path.exists raises PermissionError: then writing it tells
    if exists and not os.path.isfile(out):
        raise UsageError(f"{out}: a device or pipe; name the file to write")
    for source in sources:
        if exists and isinstance(source, Path) and os.path.exists(source) and out.samefile(source):
            raise UsageError(f"{out}: is what it would be made of; choose another -o")
    if exists and not overwrite:
        raise UsageError(f"{out}: exists already; give --overwrite to replace it, or another -o")


def check_input(path: Path) -> None:
    """Raise InputError for what cannot be read as a file: missing, forbidden, empty, or a pipe, device or folder."""
    try:
        status = path.stat()
    except PermissionError as error:
        raise AccessError(f"{path}: not allowed to look for it; check the folder's permissions") from error
    except (OSError, ValueError) as error:  # a loop of links, a name too long, a zero byte
        raise NotFoundError(f"{path}: no such file") from error
    _check_regular(path, status)
    if not os.access(path, os.R_OK):
        raise AccessError(f"{path}: not allowed to read it; check the file's permissions")


def _check_regular(path: Path, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise RefusedError(f"{path}: a folder, not a regular file; name the file in it")
    if not stat.S_ISREG(status.st_mode):  # a pipe never ends, or never begins
        raise RefusedError(f"{path}: a pipe or device, not a regular file; save it as one first")
    if status.st_size == 0 and os.path.realpath(path).startswith("/proc/"):  # where reading may wait for ever
        raise RefusedError(f"{path}: the system's own, not a regular file; save it as one first")
    if status.st_size == 0:
        raise EmptyError(f"{path}: the file is empty; copy or download it again")


def open_input(path: Path, bytes_max: int | None = None) -> BinaryIO:
    """Open a file that others wrote. Raises InputError as ``check_input``, and for one of over ``bytes_max``."""
    check_input(path)
    try:
        # Without waiting, should a pipe be there by now.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except PermissionError as error:
        raise AccessError(f"{path}: not allowed to read it; check the file's permissions") from error
    except FileNotFoundError as error:
        raise NotFoundError(f"{path}: no such file") from error
    file = os.fdopen(handle, "rb")
    try:
        status = os.fstat(handle)
        _check_regular(path, status)
        if bytes_max is not None and status.st_size > bytes_max:
            raise RefusedError(f"{path}: {status.st_size:,} bytes, expected {bytes_max:,} at most; the right file?")
    except BaseException:
        file.close()
        raise
    return file


def read_input(path: Path, bytes_max: int) -> bytes:
    """Return what a file holds that others wrote. Raises InputError as ``open_input``."""
    with open_input(path, bytes_max) as file:
        return file.read(bytes_max + 1)
