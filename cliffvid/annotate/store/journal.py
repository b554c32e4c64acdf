"""Read and write the journal: a write-ahead log of finished work with one JSON object per line.

``job``      a run began: settings, models, options
``input``    an input is part of the data set: its key, its length, its split points
``done``     inputs are finished: the file of their rows, and its hash; one line adds all rows of a shard
             atomically.
             ``forget`` names inputs to redo
``failed``   an input has failed, and why
``segment``  the people of one segment of a long input are in a file
``end``      a run ended, and how; the hash of videos.parquet at that time

The last line about an input counts. Rows in files that no line names are not part of the data set.

Each line ends with ``sum``: the first 16 hex digits of the SHA-256 of everything before it in the file. So a changed,
missing or inserted line is detected. Older versions wrote lines without it; the first line with a sum covers these
too.
"""

import hashlib
import json
import os
import platform
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol, Self

from ...errors import InputError, UsageError
from ...files import sync_folder
from .ownership import NAME, check_not_lost, check_own, cure, has_journal
from .records import BadRecord, Ended, EndLine, InputLine, JobLine, Line, SegmentLine, check_record

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # a module's name; as in locks.py

LOCK_WAIT_S = 0.5  # a status query holds the lock for a moment
SUM_BEGIN, SUM_DIGITS, LINE_END = b', "sum": "', 16, b'"}\n'
SUM_BYTES = len(SUM_BEGIN) + SUM_DIGITS + len(LINE_END)


@dataclass
class State:
    """State of a data set, replayed from the first line of its journal."""

    jobs: list[JobLine] = field(default_factory=list)
    inputs: dict[str, InputLine] = field(default_factory=dict)  # name -> its "input" line
    live: dict[str, Ended] = field(default_factory=dict)  # name -> its last result: status, key, file, rows ...
    hashes: dict[str, str] = field(default_factory=dict)  # file -> sha256, including replaced shards
    segments: dict[str, dict[int, SegmentLine]] = field(default_factory=dict)  # cut_key -> part -> its "segment" line
    end: EndLine | None = None  # of the last run, once it ended

    def apply(self, line: Line) -> None:
        match line["type"]:
            case "job":
                self.jobs.append(line)
                self.end = None
            case "input":
                self.inputs[line["video"]] = line
            case "done":
                if line["file"] and line["sha256"] is not None:
                    self.hashes[line["file"]] = line["sha256"]
                for name in line.get("forget", ()):
                    self.live.pop(name, None)
                for video in line["videos"]:
                    self.live[video["video"]] = video | {"file": line["file"] if video["rows"] else None}
            case "failed":
                self.live[line["video"]] = line | {"file": None, "rows": 0}
            case "segment":
                self.segments.setdefault(line["cut_key"], {})[line["part"]] = line
            case "end":
                self.end = line

    def parts(self, name: str) -> dict[int, SegmentLine]:
        """Return the finished segments of an input by number."""
        return self.segments.get(cut_key(self.inputs[name]), {})

    def shards(self) -> dict[str, list[Ended]]:
        """Return the current files under ``tracks/``, and the inputs in each."""
        files: dict[str, list[Ended]] = {}
        for video in self.live.values():
            if video["file"]:
                files.setdefault(video["file"], []).append(video)
        return files


def cut_key(line: InputLine) -> str:
    """Return a key for the rows of an input and its split points."""
    return f"{line['key']} {' '.join(map(str, line['cuts'] or []))}"


class Log(Protocol):
    """Interface of a journal: its state, and adding lines."""

    state: State

    def append(self, *records: Line) -> None: ...


class Journal:
    """Journal of a data set, open for writing; a context manager that holds its lock.

    Raises UsageError if another process has it open, InputError if it is damaged elsewhere than at its end.
    """

    def __init__(self, folder: Path, name: str = NAME) -> None:
        self.path = folder / name
        self._file = open(self.path, "a+b", buffering=0)
        try:
            lock(self._file, folder)
            self.state, self._digest, sound = replay(self.path)
            self._file.truncate(sound)  # a line that was being written when the process was killed
            if not sound:
                sync_folder(self.path.parent)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, *records: Line) -> None:
        """Write and sync the lines, all or none. Raises OSError if the disk is full."""
        if not records:
            return
        jobs = len(self.state.jobs)
        for record in records:
            check_record(record, jobs)
            jobs += record["type"] == "job"
        digest = self._digest.copy()
        data = b"".join(_line(record, digest) for record in records)
        size = os.fstat(self._file.fileno()).st_size
        try:
            done = 0
            while done < len(data):
                done += self._file.write(data[done:])
            os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(size)
            raise
        self._digest = digest
        for record in records:
            self.state.apply(record)


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


def _line(record: Line, digest: "hashlib._Hash") -> bytes:
    """Return a record as a line with its sum; ``digest``, of all lines before it, is updated with this line."""
    body = json.dumps(record, default=str).encode()[:-1]
    digest.update(body)
    end = SUM_BEGIN + digest.hexdigest()[:SUM_DIGITS].encode() + LINE_END
    digest.update(end)
    return body + end


def replay(path: Path) -> tuple[State, "hashlib._Hash", int]:
    """Return the state, digest and size in bytes of a journal's complete lines. Nothing is written.

    Raises InputError with the line number if it is damaged elsewhere than in a truncated last line.
    """
    state, digest, sound, summed = State(), hashlib.sha256(), 0, False
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            if not raw.endswith(b"\n") and not _is_over(raw):
                break  # it is being written, or its writer was killed
            has_sum = raw.endswith(LINE_END) and raw[-SUM_BYTES:].startswith(SUM_BEGIN)
            try:
                if summed and not has_sum:
                    raise BadRecord("it has no sum")
                record = json.loads(_checked(raw, digest) if has_sum else raw)
                check_record(record, len(state.jobs))
            except (ValueError, RecursionError, BadRecord) as error:
                old = has_sum and not summed and number > 1  # the lines before have no sums
                where = f"line {number}, or one before it," if old else f"line {number}"
                raise InputError(f"{path}: {where} is damaged ({error}); {cure(path.parent)}") from error
            if not has_sum:
                digest.update(raw)
            summed = summed or has_sum
            state.apply(record)
            sound += len(raw)
    return state, digest, sound


def _checked(raw: bytes, digest: "hashlib._Hash") -> bytes:
    """Return a line without its sum, and add it to the digest of the lines before it. Raises BadRecord."""
    body, end = raw[:-SUM_BYTES], raw[-SUM_BYTES:]
    digest.update(body)
    if digest.hexdigest()[:SUM_DIGITS].encode() != end[len(SUM_BEGIN) : -len(LINE_END)]:
        raise BadRecord("its sum is another")
    digest.update(end)
    return body + b"}"


def _is_over(raw: bytes) -> bool:
    """Return whether a line continues after its JSON object: then it is not truncated, but its end is damaged."""
    try:
        text = raw.decode()
        return json.JSONDecoder().raw_decode(text)[1] < len(text)
    except ValueError:
        return False


def read_state(folder: Path) -> State:
    """Return the state of a data set. Raises InputError if its journal is missing or damaged."""
    try:
        if not has_journal(folder):
            check_not_lost(folder)
        if (folder / NAME).exists():  # it may have no line yet
            return replay(folder / NAME)[0]
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}); check its permissions") from error
    raise InputError(f"{folder}: no data set of `cliffvid annotate`; it has no {NAME}")


def state_of(folder: Path) -> State:
    """Return the state of a data set; an empty one if there is none yet. Raises UsageError for a foreign folder."""
    check_own(folder)
    return replay(folder / NAME)[0] if has_journal(folder) else State()


def at_work(folder: Path, state: State) -> bool | None:
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
    return False if state.jobs and state.jobs[-1].get("host") == platform.node() else None
