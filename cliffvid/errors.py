"""Every error a user can meet.

CliffvidError
├── UsageError      exit 2   an option or name that cannot be meant; nothing was started
├── InputError      exit 1   an input that cannot be read
│   ├── NotFoundError        there is no such file, or nothing matches
│   ├── AccessError          the file is there, and its permissions forbid reading it
│   ├── EmptyError           a file of no bytes
│   ├── UnreadableError      no video or image that this FFmpeg can read: damaged, cut short, or something else
│   ├── NoVideoError         readable, without pictures: sound alone, a folder without images, a stream that is none
│   ├── ChangedError         was replaced or written to while it was read
│   └── RefusedError         could be read, and a rule forbids it; the message names the option that allows it
├── ModelError      exit 1   a model folder that is damaged or does not keep its own contract
├── BackendError    exit 1   a runtime or device that was asked for and is not there
│   ├── NotInstalledError    a package that cliffvid does not need for everything; the message says how to get it
│   └── BackendMemoryError   memory does not suffice, not even for a single frame or person at a time
└── OutputError     exit 1   a result that cannot be written

Each message says what happened, to which file, and what to do.
"""

import errno
import os
import re

# How libraries, which have no class of their own for it, say that memory does not suffice.
OUT_OF_MEMORY = re.compile(
    r"allocat|alloc_failed|bad.alloc|out of memory|memory is full|failed to map segment|can't start new thread",
    re.IGNORECASE,
)


class CliffvidError(Exception):
    """Base of all errors above; ``exit_code`` is what the command line answers with."""

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
    """Whether an error says that memory does not suffice."""
    return (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (not isinstance(error, OSError) and bool(OUT_OF_MEMORY.search(str(error))))
    )


def describe(error: Exception) -> str:
    """Return one line for a user: what went wrong, also where it is the system that refuses."""
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
    if isinstance(error, ImportError) and not (error.name or "").startswith(__package__):  # what every run needs
        return f"error: a package does not load: {error}; install cliffvid again, with all that it needs"
    return f"internal error: {type(error).__name__}: {error} (a bug: please report what --debug shows)"


def _working_folder_is_gone() -> bool:
    try:
        os.getcwd()
    except OSError:
        return True
    return False
