"""Open untrusted input files: regular files only, without blocking, up to a given size; and ranges of others."""

import io
import os
import stat
from functools import reduce
from operator import or_
from pathlib import Path
from typing import BinaryIO

from .errors import AccessError, EmptyError, InputError, NotFoundError, RefusedError


def open_flags(*names: str) -> int:
    """Return these flags of os.open, such as ``O_CLOEXEC``, as far as the system has them; Windows has few."""
    return reduce(or_, (getattr(os, name, 0) for name in ("O_BINARY", *names)))


def check_input(path: Path) -> None:
    """Raise InputError if the path is missing, not readable, empty, or a pipe, device or folder."""
    try:
        status = path.stat()
    except PermissionError as error:
        raise AccessError(f"{path}: not allowed to look for it; check the folder's permissions") from error
    except (OSError, ValueError) as error:  # a link loop, a name that is too long, a zero byte
        raise NotFoundError(f"{path}: no such file") from error
    _check_regular(path, status)
    if not os.access(path, os.R_OK):
        raise AccessError(f"{path}: not allowed to read it; check the file's permissions")


def _check_regular(path: Path, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise RefusedError(f"{path}: a folder, not a regular file; name the file in it")
    if not stat.S_ISREG(status.st_mode):  # a pipe never ends, or never begins
        raise RefusedError(f"{path}: a pipe or device, not a regular file; save it as one first")
    if status.st_size == 0 and os.path.realpath(path).startswith("/proc/"):  # reading it may block forever
        raise RefusedError(f"{path}: the system's own, not a regular file; save it as one first")
    if status.st_size == 0:
        raise EmptyError(f"{path}: the file is empty; copy or download it again")


def open_input(path: Path, bytes_max: int | None = None) -> BinaryIO:
    """Open an untrusted file. Raises InputError as ``check_input`` does, and for a file larger than ``bytes_max``."""
    check_input(path)
    try:
        # Non-blocking, in case the file has been replaced by a pipe.
        handle = os.open(path, os.O_RDONLY | open_flags("O_NONBLOCK", "O_NOCTTY"))
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
    """Return the content of an untrusted file. Raises InputError as ``open_input`` does."""
    with open_input(path, bytes_max) as file:
        return file.read(bytes_max + 1)


class RangeFile(io.RawIOBase):
    """A read-only file of which ranges are fetched as they are read.

    FFmpeg takes a failed read for damage, or for the end. So ``read`` ends the file there and keeps the error in
    ``fault``, for the code that called FFmpeg to raise.
    """

    content: str | None = None  # what identifies it, if reading it again is dear

    def __init__(self, name: str, size: int) -> None:
        self.name, self.size = name, size
        self.fault: InputError | None = None
        self._at = 0

    def fetch(self, start: int, size: int) -> bytes:
        """Return at least one byte from ``start`` on and ``size`` at most. Raises InputError."""
        raise NotImplementedError

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        self._at = max(begin + offset, 0)
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes; none at the end of the file and after an error."""
        left = max(self.size - self._at, 0)
        size = left if size < 0 else min(size, left)
        parts: list[bytes] = []
        while size and not self.fault:
            try:
                parts.append(self.fetch(self._at, size))
            except InputError as error:
                self.fault = error
                break
            self._at, size = self._at + len(parts[-1]), size - len(parts[-1])
        return b"".join(parts)

    def check(self) -> None:
        """Raise the error that ended reading."""
        if self.fault:
            raise self.fault
