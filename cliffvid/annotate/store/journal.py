"""The journal: what is done, one JSON object a line, on disk before anything relies on it.

``job``      a run began: settings, models, options
``input``    an input is part of the data set: its key, its length, where it may be cut
``done``     inputs are finished, where their rows are, and that file's hash: one line makes all rows of a shard
             exist at once.
             ``forget`` names inputs that are to be done again
``failed``   an input is given up, and why
``segment``  the people of one segment of a long input are in a file
``end``      a run ended, and how; the hash of videos.parquet as it left it

The last word on an input counts. Rows in files that no line names do not exist.

Each line ends with ``sum``: the first half of a SHA-256 of all that stands before it in the file, the lines before it
included. So no bit of a line that counts can change unnoticed, and no line can go or come in between. Journals of
versions before it have lines without; the first line that is added to one vouches for them.
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

LOCK_WAIT_S = 0.5  # who asks whether a job is at work has the lock for a moment
SUM_BEGIN, SUM_DIGITS, LINE_END = b', "sum": "', 16, b'"}\n'
SUM_BYTES = len(SUM_BEGIN) + SUM_DIGITS + len(LINE_END)


@dataclass
class State:
    """What a journal says, replayed from its first line."""

    jobs: list[JobLine] = field(default_factory=list)
    inputs: dict[str, InputLine] = field(default_factory=dict)  # name -> its "input" line
    live: dict[str, Ended] = field(default_factory=dict)  # name -> how it ended: status, key, file, rows ...
    hashes: dict[str, str] = field(default_factory=dict)  # file -> sha256, of shards that were replaced too
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
        """The segments of an input that are in."""
        return self.segments.get(cut_key(self.inputs[name]), {})

    def shards(self) -> dict[str, list[Ended]]:
        """The files under ``tracks/`` that exist, and the inputs whose rows each holds."""
        files: dict[str, list[Ended]] = {}
        for video in self.live.values():
            if video["file"]:
                files.setdefault(video["file"], []).append(video)
        return files


def cut_key(line: InputLine) -> str:
    """Names the rows of an input and where it is cut."""
    return f"{line['key']} {' '.join(map(str, line['cuts'] or []))}"


class Log(Protocol):
    """What a journal says, and where more can be added."""

    state: State

    def append(self, *records: Line) -> None: ...


class Journal:
    """The journal of a data set's folder, to write; a context manager that holds its lock.

    Raises UsageError if another process writes it, InputError if it is damaged elsewhere than at its end.
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
        """The lines are on disk, all of them or none, when this returns; raises OSError where there is no room."""
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
    """Hold a journal's lock until the file is closed, or the process ends in whatever way. Raises UsageError."""
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
    """Return a record as a line with its sum; ``digest``, of all lines before it, becomes that of this one too."""
    body = json.dumps(record, default=str).encode()[:-1]
    digest.update(body)
    end = SUM_BEGIN + digest.hexdigest()[:SUM_DIGITS].encode() + LINE_END
    digest.update(end)
    return body + end


def replay(path: Path) -> tuple[State, "hashlib._Hash", int]:
    """Return what a journal says, the digest of its whole lines, and how many bytes they are. Nothing is written.

    Raises InputError, which names the line, where it is damaged elsewhere than in a last line that was cut short.
    """
    state, digest, sound, summed = State(), hashlib.sha256(), 0, False
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            if not raw.endswith(b"\n") and not _is_over(raw):
                break  # being written, or whoever wrote it was killed
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
    """Whether a line goes on after its JSON object: then it was not cut short, but its end is damaged."""
    try:
        text = raw.decode()
        return json.JSONDecoder().raw_decode(text)[1] < len(text)
    except ValueError:
        return False


def read_state(folder: Path) -> State:
    """What the journal of a data set says so far; raises InputError where there is none, or it is damaged."""
    try:
        if not has_journal(folder):
            check_not_lost(folder)
        if (folder / NAME).exists():  # perhaps without a line yet
            return replay(folder / NAME)[0]
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}); check its permissions") from error
    raise InputError(f"{folder}: no data set of `cliffvid annotate`; it has no {NAME}")


def state_of(folder: Path) -> State:
    """The same; nothing where there is no data set yet. Raises UsageError where there can be none."""
    check_own(folder)
    return replay(folder / NAME)[0] if has_journal(folder) else State()


def at_work(folder: Path, state: State) -> bool | None:
    """Whether a process has the journal open to write; None where that cannot be known.

    A lock that is free tells it on the machine alone that the last run was on: not every network folder shares locks.
    """
    if not fcntl:
        return None
    with (folder / NAME).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # a folder without locks
            return None
    return False if state.jobs and state.jobs[-1].get("host") == platform.node() else None
