"""Read and write the journal: a write-ahead log of finished work with one JSON object per line.

``job``      a run began: settings, models, options
``found``    inputs are part of the data set; they were not looked at yet
``input``    an input is part of the data set: its key, its length, its split points
``inputs``   the same of many inputs, as columns
``done``     inputs are finished: the file of their rows, and its hash; one line adds all rows of a shard
             atomically.
             ``forget`` names inputs to redo
             The inputs of a line are held as columns if they are several
``failed``   an input has failed, and why
``segment``  the people of one segment of a long input are in a file
``claim``    a run has taken the data set; in object stores only, see stored.py
``merged``   all before it is in another data set, and does not count any more; in object stores only
``end``      a run ended, and how; the hash of videos.parquet at that time

The last line about an input counts. Packed in files that no line names are not part of the data set.

Each line ends with ``sum``: the first 16 hex digits of the SHA-256 of everything before it in the file. So a changed,
missing or inserted line is detected. Older versions wrote lines without it; the first line with a sum covers these
too.
"""

import hashlib
import json
import os
import platform
import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import IO, Protocol, Self, TypeVar, cast

from ...errors import InputError, UsageError
from ...files import sync_folder
from ...locks import has_locks
from .check import check_record
from .columns import Packed
from .ownership import NAME, check_not_lost, has_journal
from .reading import LINE_END, SUM_BEGIN, SUM_DIGITS, Folded, Reading, replay
from .records import Ended, InputLine, JobLine, Line
from .state import State

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # a module's name; as in locks.py

Record = TypeVar("Record")
LOCK_WAIT_S = 0.5  # a status query holds the lock for a moment


class Log(Protocol):
    """Interface of a journal: its state, and adding lines."""

    state: State

    def append(self, *records: Line) -> None: ...
    def defer(self, record: Line) -> None: ...
    def hold(self) -> None: ...


class Journal:
    """Journal of a data set, open for writing; a context manager that holds its lock.

    Raises UsageError if another process has it open, InputError if it is damaged elsewhere than at its end.
    """

    def __init__(self, folder: Path, name: str = NAME) -> None:
        self.path = folder / name
        self._deferred: list[Line] = []
        self._file = _locked(self.path, folder)
        try:
            self.state, self._digest, sound, self.lines = replay(self.path)
            self._file.truncate(sound)  # a line that was being written when the process was killed
            if not sound:
                sync_folder(self.path.parent)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def take_place(self, path: Path) -> None:
        """Rename the journal to ``path``. Raises OSError."""
        if not has_locks():
            self._file.close()
        os.replace(self.path, path)
        self.path = path
        if self._file.closed:
            self._file = open(path, "a+b", buffering=0)

    def defer(self, record: Line) -> None:
        """Keep a record for the next ``append``, which writes it before its own; only then the state has it."""
        self._deferred.append(record)

    def append(self, *records: Line) -> None:
        """Write and sync the lines, all or none, after the deferred ones. Raises OSError if the disk is full."""
        if not records and not self._deferred:
            return
        jobs = len(self.state.jobs)
        for record in (*self._deferred, *records):
            check_record(record, jobs)
            jobs += record["type"] == "job"
        digest, lines = self._digest.copy(), list(_grouped([*self._deferred, *records]))
        data = b"".join(_line(record, digest) for record in lines)
        self._write(data)
        self._digest, self._deferred = digest, []
        self.lines += len(lines)
        for record in lines:
            self.state.apply(record)

    def hold(self) -> None:
        """Raise OutputError unless the data set is still this process's, as its lock promises."""

    def _write(self, data: bytes) -> None:
        """Add lines to the journal, all of them or none. Raises OSError."""
        size = os.fstat(self._file.fileno()).st_size
        try:
            done = 0
            while done < len(data):
                done += self._file.write(data[done:])
            os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(size)
            raise


def _locked(path: Path, folder: Path) -> IO[bytes]:
    """Return the journal open and locked; the one that is there now, if its holder has replaced it."""
    while True:
        file = open(path, "a+b", buffering=0)
        try:
            lock(file, folder)
            here = os.stat(path)
            if os.path.samestat(os.fstat(file.fileno()), here):
                return file
        except FileNotFoundError:
            pass
        except BaseException:
            file.close()
            raise
        file.close()


def lock(file: IO[bytes], folder: Path) -> None:
    """Lock a journal until the file is closed or the process ends. Raises UsageError if it is locked."""
    until = time.monotonic() + LOCK_WAIT_S
    while fcntl:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > until:
                busy = f"{folder}: another annotate is at work on it; wait for it, or stop it"
                raise UsageError(busy) from error
        time.sleep(LOCK_WAIT_S / 10)


def _grouped(records: list[Line]) -> Iterator[Line]:
    """Yield records; several ``input`` or ``failed`` in a row, and the inputs of a ``done``, as columns."""
    for kind, group in groupby(records, key=lambda record: record["type"]):
        alike = list(group)
        if kind == "input" and len(alike) > 1:
            inputs = [cast(InputLine, {k: v for k, v in line.items() if k != "type"}) for line in alike]
            yield {"type": "inputs", "videos": packed(inputs)}
        elif kind == "failed" and len(alike) > 1:
            ended = [{k: v for k, v in line.items() if k not in ("type", "file")} | {"rows": 0} for line in alike]
            yield {"type": "done", "file": None, "sha256": None, "videos": packed(cast(list[Ended], ended))}
        else:
            for line in alike:
                if line["type"] == "done" and len(line["videos"]) > 1:
                    line = {**line, "videos": packed(line["videos"])}
                yield line


def packed(records: Sequence[Record]) -> Sequence[Record]:
    """Return records as columns where they have the same keys, as they are where they have not."""
    return records if isinstance(records, Packed) else Packed.of(records) or records


def _line(record: Line, digest: "hashlib._Hash") -> bytes:
    """Return a record as a line with its sum; ``digest``, of all lines before it, is updated with this line."""
    body = json.dumps(record, default=_plain).encode()[:-1]
    digest.update(body)
    end = SUM_BEGIN + digest.hexdigest()[:SUM_DIGITS].encode() + LINE_END
    digest.update(end)
    return body + end


def _plain(value: object) -> object:
    """Return a value that JSON does not know as one that it knows."""
    return {"count": len(value), "columns": value.columns} if isinstance(value, Packed) else str(value)


def read_state(folder: Path) -> State:
    """Return the state of a data set. Raises InputError if its journal is missing or damaged."""
    reading = Reading(State())
    read_journal(folder, reading)
    return reading.fold


def read_journal(folder: Path, reading: Reading[Folded]) -> None:
    """Go on reading the journal of a data set. Raises InputError if it is missing or damaged."""
    try:
        if not has_journal(folder):
            check_not_lost(folder)
        if (folder / NAME).exists():  # it may have no line yet
            reading.read(folder / NAME)
            return
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}); check its permissions") from error
    raise InputError(f"{folder}: no data set of `cliffvid annotate`; it has no {NAME}")


def at_work(folder: Path, jobs: list[JobLine]) -> bool | None:
    """Return whether a process has the journal open for writing; None if unknown.

    A free lock proves it only on the machine of the last run: not every network file system shares locks.
    """
    if not fcntl:
        return None
    with (folder / NAME).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # a file system without locks
            return None
    return False if jobs and jobs[-1].get("host") == platform.node() else None
