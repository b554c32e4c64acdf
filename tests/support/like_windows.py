"""What Windows lacks, and what it refuses, in a process on Linux; paths stay those of Linux.

Calls and flags of POSIX are gone, folders cannot be opened, only files opened for writing can be synced, and no file
that the process has open is renamed, replaced or removed.
"""

import errno
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

FLAGS = ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_NOCTTY", "O_DIRECTORY")
CALLS = ("geteuid", "pread", "pwrite", "sched_getaffinity", "memfd_create", "fork", "killpg", "getloadavg",
         "set_blocking", "mkfifo", "sysconf", "statvfs", "fchmod", "nice", "posix_spawn")  # fmt: skip
MODULES = ("fcntl", "resource", "termios", "pwd", "grp")
UNNAMED = os.O_TMPFILE ^ os.O_DIRECTORY  # of tempfile; Windows has such files too
SITE = "import like_windows; like_windows.become()\n"


def environment(folder: Path) -> dict[str, str]:
    """Variables with which every Python begins like Windows; what it needs for that is put into the folder."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(SITE, encoding="utf-8")
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(Path(__file__).parent)])}


def become() -> None:
    import fcntl

    get_flags, opening, syncing = fcntl.fcntl, os.open, os.fsync

    def checked_open(path, flags, *args, **more):
        if os.path.isdir(path) and not flags & UNNAMED:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return opening(path, flags, *args, **more)

    def checked_sync(handle):
        if get_flags(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        syncing(handle)

    os.open, os.fsync = checked_open, checked_sync
    for name, paths in {"rename": 2, "replace": 2, "unlink": 1, "remove": 1}.items():
        setattr(os, name, partial(_of_closed, getattr(os, name), paths))
    for name in (*FLAGS, *CALLS):
        if hasattr(os, name):
            delattr(os, name)
    sys.modules |= dict.fromkeys(MODULES)
    starting = subprocess.Popen.__init__

    def start(self, *args, **more):
        assert not more.get("pass_fds"), "pass_fds not supported on Windows."
        starting(self, *args, **more)

    subprocess.Popen.__init__ = start


def _of_closed(call, paths: int, *args, **more):
    if call.__name__ == "rename" and os.path.isfile(args[1]):
        raise FileExistsError(errno.EEXIST, "File exists", args[1])
    for path in args[:paths]:
        if not more and os.path.realpath(path) in _opened():
            raise PermissionError(errno.EACCES, "The process cannot access the file", path)
    return call(*args, **more)


def _opened() -> set[str]:
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:  # that of the list itself
            continue
    return found
