"""Read and check the lines of a journal, all at once or as it grows, into a fold such as State."""

import hashlib
import json
import os
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from ...errors import InputError
from .check import BadRecord, check_record, rows_of
from .ownership import cure
from .records import JobLine, Line
from .state import State

SUM_BEGIN, SUM_DIGITS, LINE_END = b', "sum": "', 16, b'"}\n'
READ_BYTES = 1 << 20  # at a time: lines are long
SUM_BYTES = len(SUM_BEGIN) + SUM_DIGITS + len(LINE_END)


class Fold(Protocol):
    """What takes in the lines of a journal, one by one."""

    jobs: list[JobLine]

    def apply(self, line: Line) -> None: ...


Folded = TypeVar("Folded", bound=Fold)


class Reading(Generic[Folded]):
    """A journal that is read as it grows: how far, and the fold of its lines. Nothing is written."""

    def __init__(self, fold: Folded) -> None:
        self.fold = fold
        self.digest, self.sound, self.lines, self.summed = hashlib.sha256(), 0, 0, False
        self.file: tuple[int, int] | None = None  # device and inode

    def is_of(self, path: Path) -> bool:
        """Return whether what was read is the beginning of the file that is there now."""
        there = path.stat()
        return self.file in (None, (there.st_dev, there.st_ino)) and self.sound <= there.st_size

    def read(self, path: Path) -> None:
        """Take in all complete lines that were not read yet.

        Raises InputError with the line number if one is damaged elsewhere than in a truncated last line.
        """
        with path.open("rb", buffering=READ_BYTES) as file:
            there = os.fstat(file.fileno())
            self.file = there.st_dev, there.st_ino
            file.seek(self.sound)
            for raw in file:
                if not raw.endswith(b"\n") and not _is_over(raw):
                    break  # it is being written, or its writer was killed
                self._take(raw, path)

    def _take(self, raw: bytes, path: Path) -> None:
        number, has_sum = self.lines + 1, raw.endswith(LINE_END) and raw[-SUM_BYTES:].startswith(SUM_BEGIN)
        try:
            if self.summed and not has_sum:
                raise BadRecord("it has no sum")
            if has_sum:
                _check_sum(raw, self.digest)
            record = json.loads(raw)
            if has_sum:
                del record["sum"]
            check_record(record, len(self.fold.jobs))
        except (ValueError, RecursionError, BadRecord) as error:
            old = has_sum and not self.summed and number > 1  # the lines before have no sums
            where = f"line {number}, or one before it," if old else f"line {number}"
            raise InputError(f"{path}: {where} is damaged ({error}); {cure(path.parent)}") from error
        if not has_sum:
            self.digest.update(raw)
        self.summed = self.summed or has_sum
        if type(record.get("videos")) is dict:
            record["videos"] = rows_of(record["videos"])
        self.fold.apply(record)
        self.sound, self.lines = self.sound + len(raw), number


def replay(path: Path) -> tuple[State, "hashlib._Hash", int, int]:
    """Return the state, digest, size in bytes and number of a journal's complete lines. Raises as ``Reading.read``."""
    reading = Reading(State())
    reading.read(path)
    return reading.fold, reading.digest, reading.sound, reading.lines


def _check_sum(raw: bytes, digest: "hashlib._Hash") -> None:
    """Raise BadRecord unless a line's sum fits the digest of the lines before it, which takes in the line."""
    end = raw[-SUM_BYTES:]
    digest.update(memoryview(raw)[:-SUM_BYTES])
    if digest.hexdigest()[:SUM_DIGITS].encode() != end[len(SUM_BEGIN) : -len(LINE_END)]:
        raise BadRecord("its sum is another")
    digest.update(end)


def _is_over(raw: bytes) -> bool:
    """Return whether a line continues after its JSON object: then it is not truncated, but its end is damaged."""
    try:
        text = raw.decode()
        return json.JSONDecoder().raw_decode(text)[1] < len(text)
    except ValueError:
        return False
