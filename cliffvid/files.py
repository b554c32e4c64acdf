"""Write files atomically: each appears complete under its final name, or not at all."""

import errno
import os
import re
import stat
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from hashlib import sha256
from inspect import signature
from pathlib import Path
from typing import IO, ParamSpec, Self, TypeVar

from .errors import OutputError, UsageError
from .locks import ASIDE, PartFile, has_locks, is_at, lock, make_file, make_folder, open_lock
from .names import is_address

Args = ParamSpec("Args")
Result = TypeVar("Result")
# Of file systems without hard links; the last two are those of macOS and Windows.
NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.ENOTSUP, errno.EINVAL}
# Names that Windows takes for a device or a stream of another file, or shortens.
RESERVED = re.compile(r"(?i)((con|prn|aux|nul|conin\$|conout\$|(com|lpt)[1-9¹²³])\s*(\..*)?|.*:.*|.*[. ])")
ADVICE = {
    errno.EINVAL: "choose another name",
    errno.ENOSPC: "make room there, or choose another place",
    errno.EDQUOT: "make room there, or choose another place",
    errno.ENAMETOOLONG: "choose a shorter name",
}


class NewFile:
    """Context manager for an atomic write to ``out``: ``keep`` publishes the file, leaving early removes it.

    Write to ``file``, or to its path ``part``. A symbolic link at ``out`` is kept and its target is written.
    Without ``overwrite``, a file that appears at ``out`` in the meantime is kept and this one is discarded.
    Raises OutputError at once if ``out`` cannot be written, before any work is done.
    """

    def __init__(self, out: Path, overwrite: bool) -> None:
        self.out, self._overwrite = out, overwrite
        with output_errors(out):
            self._target = _target(out)
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self._part = PartFile(self._target.parent, make_file)
        assert self._part.handle is not None
        self.part, self.file = self._part.path, open(self._part.handle, "r+b")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # unwritten data is discarded
            self.file.close()
        self._part.remove()

    def keep(self) -> int:
        """Flush the file to disk, rename it to ``out`` and return its size in bytes. Raises OutputError."""
        with output_errors(self.out):
            self.file.flush()
            os.fsync(self.file.fileno())
            size = os.fstat(self.file.fileno()).st_size
            if not has_locks():
                self.file.close()
            if self._overwrite:
                os.replace(self.part, self._target)
            else:
                self._link()
            self._part.remove()
            self.file.close()  # last, since closing releases the lock
        _sync(self._target.parent)
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


def _target(out: Path) -> Path:
    """Return ``out`` with symbolic links resolved. Raises OSError for a name that is no file's, or a link loop."""
    if sys.platform == "win32" and RESERVED.fullmatch(out.name):
        raise OSError(errno.EINVAL, "Windows takes this name for something else")
    if is_address(out):
        raise OSError(errno.EINVAL, "an address; results are local files")
    target = Path(os.path.realpath(out))
    with suppress(FileNotFoundError):
        os.stat(target)
    return target


@contextmanager
def output_errors(out: Path) -> Iterator[None]:
    """Convert any OSError in the block to an OutputError for ``out``."""
    try:
        yield
    except OSError as error:
        raise cannot_write(out, error) from error


def cannot_write(out: Path, error: Exception) -> OutputError:
    """Return an OutputError that says why ``out`` cannot be written and what to do."""
    reason, code = getattr(error, "strerror", None) or error, getattr(error, "errno", None)
    if code in (errno.EEXIST, errno.ENOTDIR):
        above = next((folder for folder in out.parents if os.path.lexists(folder)), out.parent)
        reason = f"{above} is not a folder"
    return OutputError(f"{out}: cannot write it ({reason}); {ADVICE.get(code or 0, 'choose another place')}")


@contextmanager
def appearing(out: Path, overwrite: bool) -> Iterator[IO[bytes]]:
    """Yield an open file that is published as ``out`` on success and removed on failure. Raises OutputError."""
    with NewFile(out, overwrite) as new:
        with output_errors(out):
            yield new.file
        new.keep()


def write_whole(out: Path, data: bytes, overwrite: bool) -> None:
    """Write a file atomically. Raises OutputError if it cannot be written."""
    with appearing(out, overwrite) as file:
        file.write(data)


@contextmanager
def folder_beside(out: Path) -> Iterator[Path]:
    """Yield a temporary folder next to ``out``, for libraries that write to a name of their own."""
    with output_errors(out):
        target = _target(out)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = PartFile(target.parent, make_folder)
    try:
        yield part.path
    finally:
        _end(part)


@contextmanager
def appearing_folder(out: Path) -> Iterator[Path]:
    """Yield a folder to put files into by ``appearing``; on success it becomes ``out``, which is missing or empty."""
    with folder_beside(out) as beside, output_errors(out):
        (new := beside / "new").mkdir()
        yield new
        _sync(new)
        os.rename(new, out)  # where something is by now that is no empty folder, this fails
        _sync(out.parent)


def write_folder(folder: Path, files: dict[str, bytes]) -> None:
    """Create or replace a folder of files as a whole; on failure the old one is kept. Raises OutputError."""
    with folder_beside(folder) as part, output_errors(folder):
        target, new, aside = _target(folder), part / "new", part / ASIDE
        for place in (new, aside):
            place.mkdir()
        for name, data in files.items():
            with open(new / name, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        _sync(new)
        if target.exists():
            target.rename(aside / target.name)
        new.rename(target)
        _sync(target.parent)


def _end(folder: PartFile) -> None:
    """Remove a temporary folder, while it is locked."""
    folder.remove()
    if folder.handle is not None:
        os.close(folder.handle)


def _sync(folder: Path) -> None:
    with suppress(OSError):  # the folder is writable but not readable, or the file system has no fsync
        sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Flush a folder's directory entries to disk (fsync); on Windows they cannot be, as it opens no folder."""
    if not has_locks():
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_free(out: Path, overwrite: bool, *sources: Path | str | None) -> None:
    """Raise UsageError if ``out`` is a folder, device or pipe, one of ``sources``, or exists without ``overwrite``."""
    if os.path.isdir(out):
        raise UsageError(f"{out}: a folder; name the file to write")
    exists = os.path.exists(out)  # False where Path.exists raises PermissionError: then writing reports it
    if exists and not os.path.isfile(out):
        raise UsageError(f"{out}: a device or pipe; name the file to write")
    for source in sources:
        if exists and source is not None and os.path.exists(source) and out.samefile(source):
            raise UsageError(f"{out}: is also an input; choose another -o")
    if exists and not overwrite:
        raise UsageError(f"{out}: exists already; give --overwrite to replace it, or another -o")


class Claim:
    """Context manager that holds an exclusive lock on ``out`` for the whole run, so that one run at a time writes it.

    Raises UsageError while another run holds it, OutputError if nothing can be written there. Missing folders are
    created; those that stay empty are removed at the end.
    """

    def __init__(self, out: Path) -> None:
        with output_errors(out):
            target = _target(out)
            made = [folder for folder in target.parents if not os.path.lexists(folder)]
            path = _lock_path(target)
            while True:
                target.parent.mkdir(parents=True, exist_ok=True)
                handle = _opened(path)
                self.release = weakref.finalize(self, _release, path, handle, made, os.getpid())
                if handle is None or (mine := lock(handle)) is None or (mine and is_at(handle, path)):
                    return
                if mine is False:
                    break
                self.release()  # the previous holder has just removed the lock file
        os.close(handle)
        self.release.detach()
        raise UsageError(f"{out}: another run is at work on it; wait for its end, or choose another -o")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _lock_path(target: Path) -> Path:
    return target.with_name(f".cliffvid-{sha256(os.fsencode(target.name)).hexdigest()[:16]}.lock")


def _opened(path: Path) -> int | None:
    """Return the opened lock file; None if something else has that name."""
    try:
        return open_lock(path)
    except OSError:
        if os.path.lexists(path):
            return None
        raise


def _release(path: Path, handle: int | None, made: list[Path], process: int) -> None:
    if os.getpid() != process:  # a forked child process
        return
    if handle is not None:
        facts = os.fstat(handle)
        is_ours = is_at(handle, path) and stat.S_ISREG(facts.st_mode) and not facts.st_size
        if not has_locks():
            os.close(handle)
        with suppress(OSError):
            if is_ours:
                path.unlink()  # while it is locked
        if has_locks():
            os.close(handle)
    with suppress(OSError):
        for folder in made:
            folder.rmdir()


def claims(write: Callable[Args, Result]) -> Callable[Args, Result]:
    """Decorate a function so that it holds the Claim on its argument ``out`` while it runs."""
    arguments = signature(write)

    @wraps(write)
    def claiming(*args: Args.args, **more: Args.kwargs) -> Result:
        with Claim(Path(arguments.bind(*args, **more).arguments["out"])):
            return write(*args, **more)

    return claiming


def check_places(outs: Iterable[Path]) -> None:
    """Raise as Claim does, before any work, if one of the output files could not be written."""
    seen: set[Path] = set()
    for out in outs:
        if out.parent not in seen or os.path.lexists(_lock_path(Path(os.path.realpath(out)))):
            Claim(out).release()
            seen.add(out.parent)
