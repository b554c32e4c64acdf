"""Count what a journal says, by whole columns and by hashes of the names: a million inputs take seconds."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import cast

import numpy as np

from ...tables import Bool, Float64, Int64
from .columns import Column, Packed
from .records import DoneLine, Ended, EndLine, FoundLine, InputLine, JobLine, Line

NUMBERS = "rows", "job", "finished", "seconds", "counts.decode.frames"
FORGOTTEN = -1  # the status of inputs that are to be redone
_NONE: Int64 = np.zeros(0, np.int64)


@dataclass
class Ends:
    """The last results of all inputs that have one, in columns."""

    name: Int64  # hashes
    status: Int64  # by their places in Tally.words; error and file too
    error: Int64
    file: Int64
    number: dict[str, Float64]  # by the names in NUMBERS
    place: Int64  # of the name, among those of all lines


@dataclass
class Tally:
    """Counts of a data set, from the first line of its journal on; a fold of the lines, as State is."""

    jobs: list[JobLine] = field(default_factory=list)
    end: EndLine | None = None
    is_merged: bool = False  # as State's
    segments: set[tuple[str, int]] = field(default_factory=set)
    words: list[str | None] = field(default_factory=lambda: [None])
    _found: list[Int64] = field(default_factory=list)
    _inputs: list[tuple[Int64, Float64]] = field(default_factory=list)  # and their seconds of video
    _ends: list[Ends] = field(default_factory=list)
    _names: list[Packed[dict[str, str]]] = field(default_factory=list)  # of _ends
    _count: int = 0  # of these names

    def apply(self, line: Line) -> None:
        match line["type"]:
            case "job":
                self.jobs.append(line)
                self.end, self.is_merged = None, False
            case "found":
                self._add_found(line)
            case "input":
                self._add_inputs([line])
            case "inputs":
                self._add_inputs(line["videos"])
            case "done":
                self._add_done(line)
            case "failed":
                self._add_ended([line], None)
            case "segment":
                self.segments.add((line["cut_key"], line["part"]))
            case "end":
                self.end = line
            case "claim":
                self.end = None
            case "merged":
                self.__dict__.update(Tally(jobs=self.jobs, is_merged=True).__dict__)

    def _add_found(self, line: FoundLine) -> None:
        self._found.append(_hashes(line["videos"]))

    def _add_inputs(self, lines: Sequence[InputLine]) -> None:
        names = cast(Sequence[str], _held(lines, "video"))
        lengths, frames = (_numbers(lines, name) for name in ("duration_s", "frames"))
        seconds = np.where(np.nan_to_num(lengths) != 0, lengths, np.nan_to_num(frames) / 25)
        self._inputs.append((_hashes(names), seconds))

    def _add_done(self, line: DoneLine) -> None:
        if gone := line.get("forget"):
            none = np.zeros(len(gone), np.int64)
            numbers = dict.fromkeys(NUMBERS, none.astype(np.float64))
            self._put(list(gone), Ends(_hashes(gone), none + FORGOTTEN, none, none, numbers, none))
        if line["videos"]:
            self._add_ended(line["videos"], line["file"])

    def _add_ended(self, videos: Sequence[Ended], file: str | None) -> None:
        names = cast(Sequence[str], _held(videos, "video"))
        numbers = {name: _numbers(videos, name) for name in NUMBERS}
        status, error = (self._places(cast(Sequence[str | None], _held(videos, name))) for name in ("status", "error"))
        status, error = np.broadcast_to(status, len(names)), np.broadcast_to(error, len(names))
        files = np.where(np.nan_to_num(numbers["rows"]) > 0, self._places([file])[0], 0)
        column: Column = videos.columns["video"] if isinstance(videos, Packed) else list(names)
        self._put(column, Ends(_hashes(names), status, error, files, numbers, files))

    def _put(self, names: Column, ends: Ends) -> None:
        count = len(ends.name)
        ends.place = np.arange(self._count, self._count + count)
        self._ends.append(ends)
        self._names.append(Packed({"video": names}, count))
        self._count += count

    def _places(self, words: Sequence[str | None]) -> Int64:
        """Return the places of words in ``words``, which takes in new ones."""
        for word in set(words) - set(self.words):
            self.words.append(word)
        places = {word: place for place, word in enumerate(self.words)} if len(words) > 1 else {}
        return np.array([places[word] for word in words] if places else [self.words.index(words[0])], np.int64)

    def ends(self) -> Ends:
        """Return the last result of each input that has one and is not to be redone, in the order of the hashes."""
        none = dict.fromkeys(NUMBERS, _NONE.astype(np.float64))
        parts = self._ends or [Ends(_NONE, _NONE, _NONE, _NONE, none, _NONE)]
        name, status, error, file = (
            np.concatenate([getattr(part, each) for part in parts]) for each in ("name", "status", "error", "file")
        )
        last = _last(name)
        kept = last[status[last] != FORGOTTEN]
        number = {each: np.concatenate([part.number[each] for part in parts])[kept] for each in NUMBERS}
        return Ends(name[kept], status[kept], error[kept], file[kept], number, kept)

    def inputs(self) -> tuple[Int64, Float64]:
        """Return the hash of each input that was looked at, in order, and its seconds of video."""
        parts = self._inputs or [(_NONE, _NONE.astype(np.float64))]
        names, seconds = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
        last = _last(names)
        return names[last], seconds[last]

    def found(self, looked_at: Int64) -> int:
        """Return how many inputs were found, and not looked at yet."""
        names = np.sort(np.concatenate([_NONE, *self._found]))
        found = names[_ends_of_groups(names)]
        return len(found) - int(within(found, looked_at).sum())

    def slowest(self, ends: Ends, count: int) -> list[tuple[str, float]]:
        """Return the names and the seconds of the slowest inputs, the slowest first."""
        seconds = ends.number["seconds"]
        worked = np.flatnonzero(~np.isnan(seconds))
        if len(worked) > count:
            worked = worked[np.argpartition(seconds[worked], -count)[-count:]]
        rows = worked[np.argsort(-seconds[worked], kind="stable")].tolist()
        return [(self._name(int(ends.place[row])), float(seconds[row])) for row in rows]

    def _name(self, place: int) -> str:
        begins = [0, *accumulate(map(len, self._names))]
        part = bisect_right(begins, place) - 1
        return self._names[part][place - begins[part]]["video"]


def _last(names: Int64) -> Int64:
    """Return the place of the last of each group of equal hashes, in the order of the hashes."""
    order: Int64 = np.argsort(names, kind="stable")
    last: Int64 = order[_ends_of_groups(names[order])]
    return last


def _ends_of_groups(ordered: Int64) -> Bool:
    return np.append(ordered[1:] != ordered[:-1], np.ones(min(len(ordered), 1), np.bool_))


def within(names: Int64, others: Int64) -> Bool:
    """Return which hashes are among others, both in order."""
    if not len(others):
        return np.zeros(len(names), np.bool_)
    there: Bool = others[np.minimum(np.searchsorted(others, names), len(others) - 1)] == names
    return there


def _hashes(names: Sequence[str]) -> Int64:
    return np.fromiter(map(hash, names), np.int64, len(names))


def _held(records: Sequence[object], path: str) -> Sequence[object]:
    """Return the values at a path in records; one value, if columns hold only that for all."""
    if not isinstance(records, Packed):
        plain = cast(Sequence[dict[str, object]], records)
        records = Packed[object]({path.split(".")[0]: [record.get(path.split(".")[0]) for record in plain]}, len(plain))
    return records.held(path)


def _numbers(records: Sequence[object], path: str) -> Float64:
    values = np.array(_held(records, path), np.float64)
    return values if len(values) == len(records) else np.repeat(values, len(records))
