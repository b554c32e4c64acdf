"""New files: each appears whole under its own name, or not at all."""

import errno
import os
import stat
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from hashlib import sha256
from inspect import signature
from pathlib import Path
from typing import IO, ParamSpec, Self, TypeVar

from .errors import OutputError, UsageError
from .locks import ASIDE, Part, is_at, lock, make_file, make_folder, open_lock

Args = ParamSpec("Args")
Result = TypeVar("Result")
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
            self._target = _target(out)
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self._part = Part(self._target.parent, make_file)
        self.part, self.file = self._part.path, open(self._part.handle, "r+b")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # what it had still to write is thrown away
            self.file.close()
        self._part.remove()

    def keep(self) -> int:
        """Put the file on disk and give it its name; its size in bytes. Raises OutputError."""
        with output_errors(self.out):
            self.file.flush()
            os.fsync(self.file.fileno())
            size = os.fstat(self.file.fileno()).st_size
            if self._overwrite:
                os.replace(self.part, self._target)
            else:
                self._link()
            self._part.remove()
            self.file.close()  # not before: it is locked until then
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
    """Return what links at ``out`` lead to. Raises OSError for a name that is too long, and links in a circle."""
    target = Path(os.path.realpath(out))
    with suppress(FileNotFoundError):
        os.stat(target)
    return target


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
    return OutputError(f"{out}: cannot write it ({reason}); {ADVICE.get(code or 0, 'choose another place')}")


@contextmanager
def appearing(out: Path, overwrite: bool) -> Iterator[IO[bytes]]:
    """An open file that gets its name when all went well and leaves nothing otherwise. Raises OutputError."""
    with NewFile(out, overwrite) as new:
        with output_errors(out):
            yield new.file
        new.keep()


def write_whole(out: Path, data: bytes, overwrite: bool) -> None:
    """Write a file of any kind, whole or not at all. Raises OutputError if it cannot be written."""
    with appearing(out, overwrite) as file:
        file.write(data)


def write_folder(folder: Path, files: dict[str, bytes]) -> None:
    """Make or replace a folder of files, whole; the old one stays if that fails. Raises OutputError."""
    with output_errors(folder):
        target = _target(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Part(target.parent, make_folder)
        try:
            new, aside = part.path / "new", part.path / ASIDE
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
        finally:
            part.remove()
            os.close(part.handle)
        _sync(target.parent)


def _sync(folder: Path) -> None:
    with suppress(OSError):  # a folder that may be written and not read, or a file system that cannot
        sync_folder(folder)


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


class Claim:
    """The right to write ``out``, which one run has at a time; a context manager, from before the work to its end.

    Raises UsageError while another run has it, OutputError where nothing can be written. Folders that are not there are
    made, and those that stay empty removed.
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
                self.release()  # whoever had it removed it just now
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
    """Return an open file to lock; None if something else bears its name."""
    try:
        return open_lock(path)
    except OSError:
        if os.path.lexists(path):
            return None
        raise


def _release(path: Path, handle: int | None, made: list[Path], process: int) -> None:
    if os.getpid() != process:  # a child that was forked meanwhile
        return
    if handle is not None:
        facts = os.fstat(handle)
        with suppress(OSError):
            if is_at(handle, path) and stat.S_ISREG(facts.st_mode) and not facts.st_size:
                path.unlink()  # while it is locked
        os.close(handle)
    with suppress(OSError):
        for folder in made:
            folder.rmdir()


def claims(write: Callable[Args, Result]) -> Callable[Args, Result]:
    """Make a function have the Claim of its argument ``out`` while it is at work."""
    arguments = signature(write)

    @wraps(write)
    def claiming(*args: Args.args, **more: Args.kwargs) -> Result:
        with Claim(Path(arguments.bind(*args, **more).arguments["out"])):
            return write(*args, **more)

    return claiming


def check_places(outs: Iterable[Path]) -> None:
    """Raise as Claim, before any work, where one of many files could not be written yet."""
    seen: set[Path] = set()
    for out in outs:
        if out.parent not in seen or os.path.lexists(_lock_path(Path(os.path.realpath(out)))):
            Claim(out).release()
            seen.add(out.parent)
