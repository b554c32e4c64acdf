"""Open untrusted input files: regular files only, without blocking, up to a given size."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from .errors import AccessError, EmptyError, NotFoundError, RefusedError


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
    """Return the content of an untrusted file. Raises InputError as ``open_input`` does."""
    with open_input(path, bytes_max) as file:
        return file.read(bytes_max + 1)
