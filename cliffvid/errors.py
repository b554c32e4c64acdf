"""Define every exception that reaches the user.

CliffvidError
├── UsageError      exit 2   invalid option or name; nothing was started
├── InputError      exit 1   an input cannot be read
│   ├── NotFoundError        no such file, or nothing matches
│   ├── AccessError          the file exists, but its permissions forbid reading it
│   ├── EmptyError           the file has 0 bytes
│   ├── UnreadableError      not a video or image that this FFmpeg can read: damaged, truncated, or another format
│   ├── NoVideoError         readable but without images: audio only, a folder without images, not a video stream
│   ├── ChangedError         the file was replaced or modified while it was read
│   └── RefusedError         readable, but not allowed; the message names the option that allows it
├── ModelError      exit 1   a model folder is damaged or does not match its manifest
├── BackendError    exit 1   the requested runtime or device is not available
│   ├── NotInstalledError    an optional package is missing; the message says how to install it
│   └── BackendMemoryError   out of memory, even for a single frame or person at a time
└── OutputError     exit 1   a result cannot be written

Each message says what happened, to which file, and what to do.
"""

import errno
import os
import re

# Out-of-memory messages of libraries that have no exception class for it.
OUT_OF_MEMORY = re.compile(
    r"allocat|alloc_failed|bad.alloc|out of memory|memory is full|memory does not suffice|failed to map segment|"
    r"can't start new thread",
    re.IGNORECASE,
)


class CliffvidError(Exception):
    """Base class of all errors that cliffvid raises on purpose.

    Attributes:
        exit_code: Exit status of the command.
    """

    exit_code = 1


class UsageError(CliffvidError):
    exit_code = 2


class InputError(CliffvidError):
    pass


class NotFoundError(InputError):
    pass


class AccessError(InputError):
    pass


class EmptyError(InputError):
    pass


class UnreadableError(InputError):
    pass


class NoVideoError(InputError):
    pass


class ChangedError(InputError):
    pass


class RefusedError(InputError):
    pass


class ModelError(CliffvidError):
    pass


class BackendError(CliffvidError):
    pass


class NotInstalledError(BackendError):
    pass


class BackendMemoryError(BackendError):
    pass


class OutputError(CliffvidError):
    pass


def is_short_of_memory(error: BaseException) -> bool:
    """Return whether an exception means out of memory."""
    return (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (not isinstance(error, OSError) and bool(OUT_OF_MEMORY.search(str(error))))
    )


def describe(error: Exception) -> str:
    """Return a one-line message for the user, for exceptions of cliffvid, the system and anything else."""
    lost = not isinstance(error, CliffvidError) or isinstance(error.__cause__, FileNotFoundError)
    if lost and _working_folder_is_gone():
        return "error: the working folder is gone; change to one that is there, and give the command again"
    if isinstance(error, CliffvidError):
        return f"error: {error}"
    if is_short_of_memory(error):
        why = f" ({words})" if (words := " ".join(str(error).split())) else ""
        return f"error: memory does not suffice{why}; end what else runs here, or raise the limit (ulimit -v)"
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        advice = "; check its permissions, and those of the folders above it"
        return f"error: {where}{error.strerror or error}" + (advice if isinstance(error, PermissionError) else "")
    if isinstance(error, ImportError) and not (error.name or "").startswith(__package__):  # a required package
        return f"error: a package does not load: {error}; install cliffvid again, with all that it needs"
    return f"internal error: {type(error).__name__}: {error} (a bug: please report what --debug shows)"


def _working_folder_is_gone() -> bool:
    try:
        os.getcwd()
    except OSError:
        return True
    return False
