"""Opens the files of others: regular files alone, without waiting, of a size that was asked for."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from .errors import AccessError, EmptyError, NotFoundError, RefusedError


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
