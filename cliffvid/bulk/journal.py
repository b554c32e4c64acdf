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
"""

import json
import os
import platform
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from ..errors import InputError, UsageError
from ..files import sync_folder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

NAME = "journal.jsonl"
LOCK_WAIT_S = 0.5  # who asks whether a job is at work has the lock for a moment


@dataclass
class State:
    """What a journal says, replayed from its first line."""

    jobs: list[dict] = field(default_factory=list)
    inputs: dict[str, dict] = field(default_factory=dict)  # name -> its "input" line
    live: dict[str, dict] = field(default_factory=dict)  # name -> how it ended: status, key, file, rows ...
    hashes: dict[str, str] = field(default_factory=dict)  # file -> sha256, of shards that were replaced too
    segments: dict[str, dict[int, dict]] = field(default_factory=dict)  # cut_key -> part -> its "segment" line
    end: dict | None = None  # of the last run, once it ended

    def apply(self, line: dict) -> None:
        match line["type"]:
            case "job":
                self.jobs.append(line)
                self.end = None
            case "input":
                self.inputs[line["video"]] = line
            case "done":
                if line["file"]:
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

    def parts(self, name: str) -> dict[int, dict]:
        """The segments of an input that are in."""
        return self.segments.get(cut_key(self.inputs[name]), {})

    def shards(self) -> dict[str, list[dict]]:
        """The files under ``tracks/`` that exist, and the inputs whose rows each holds."""
        files: dict[str, list[dict]] = {}
        for video in self.live.values():
            if video["file"]:
                files.setdefault(video["file"], []).append(video)
        return files


def cut_key(line: dict) -> str:
    """Names the rows of an input and where it is cut."""
    return f"{line['key']} {' '.join(map(str, line['cuts'] or []))}"


class Journal:
    """The journal of a data set's folder, to write; a context manager that holds its lock.

    Raises UsageError if another process writes it, InputError if it is damaged elsewhere than at its end.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._file = open(self.path, "a+b", buffering=0)
        try:
            self._lock()
            self.state, sound = replay(self.path)
            self._file.truncate(sound)  # a line that was being written when the process was killed
            if not sound:
                sync_folder(folder)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self._file.close()

    def _lock(self) -> None:
        """Until the file is closed, or the process ends in whatever way."""
        until = time.monotonic() + LOCK_WAIT_S
        while fcntl:
            try:
                return fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() > until:
                    busy = f"{self.path.parent}: another annotate is at work on it; wait for it, or stop it"
                    raise UsageError(busy) from error
            time.sleep(LOCK_WAIT_S / 10)

    def append(self, *lines: dict) -> None:
        """The lines are on disk, all of them or none, when this returns; raises OSError where there is no room."""
        if not lines:
            return
        data = b"".join(json.dumps(line, default=str).encode() + b"\n" for line in lines)
        size = os.fstat(self._file.fileno()).st_size
        try:
            done = 0
            while done < len(data):
                done += self._file.write(data[done:])
            os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(size)
            raise
        for line in lines:
            self.state.apply(line)


def replay(path: Path) -> tuple[State, int]:
    """What a journal says, and how many of its bytes are whole lines. Nothing is written."""
    state, sound, broken = State(), 0, None
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            try:
                if not raw.endswith(b"\n"):
                    raise ValueError("cut short")
                line = json.loads(raw)
                if broken:
                    raise InputError(
                        f"{path}: line {broken} is damaged; put back a copy, or remove the data set and start anew"
                    )
                state.apply(line)
            except (ValueError, KeyError, TypeError):
                broken = broken or number
                continue
            sound += len(raw)
    return state, sound


def read_state(folder: Path) -> State:
    """What the journal of a data set says so far; raises InputError where there is none, or it is damaged."""
    try:
        return replay(folder / NAME)[0]
    except OSError as error:
        raise InputError(f"{folder}: no data set of `cliffvid annotate` ({error.strerror}: {NAME})") from error


def state_of(folder: Path) -> State:
    """The same; nothing where there is no data set yet."""
    return read_state(folder) if (folder / NAME).exists() else State()


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
