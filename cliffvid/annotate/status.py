"""Compute the status of a data set from its journal, during a job or later."""

import time
from collections import Counter
from pathlib import Path
from typing import TypedDict

import numpy as np

from ..names import label
from ..options import Options
from ..tables import Int64
from .store.opening import FILES, placed
from .store.ownership import NAME
from .store.place import Place
from .store.reading import Reading
from .store.tally import Tally, within

SLOWEST = 5
MERGED = "merged"  # how a part ended that the data set has taken in


class RunFacts(TypedDict):
    """Inputs, frames and seconds of the last run."""

    inputs: int
    frames: int
    seconds: float


class SlowFacts(TypedDict):
    """An input and its processing time."""

    video: str
    seconds: float


class Status(TypedDict):
    """Status of a data set."""

    folder: str
    inputs: int
    statuses: dict[str, int]
    errors: dict[str, int]
    rows: int
    shards: int
    segments: int
    ended: str | None
    at_work: bool | None
    run: RunFacts
    frames_per_s: float | None
    videos_per_min: float | None
    workers: int | None
    left_s: float | None
    slowest: list[SlowFacts]


def status(folder: Path, options: Options = FILES) -> Status:
    """Return the status of a data set: inputs by status, failures by error, speed, time left and slowest inputs.

    ``folder`` may be the address of a store, with ``options`` that allow the network. ``at_work`` is None if it cannot
    be determined. Raises InputError if there is no data set.
    """
    with placed(folder, options) as place:
        return Looks(place).status()


class Looks:
    """A data set that is looked at again and again: of its journal only what is new is read."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._reading = Reading(Tally())

    def status(self) -> Status:
        """Return the status as it is now. Raises as ``status``."""
        journal = self.place.folder / NAME
        size = journal.stat().st_size if journal.exists() else 0
        tally = self._read()
        working = self.place.at_work(tally.jobs)
        if working is False and not tally.end and journal.stat().st_size != size:
            tally = self._read()  # it may just have ended
        return _facts(self.place.where, tally, working)

    def _read(self) -> Tally:
        journal = self.place.folder / NAME
        if journal.exists() and not self._reading.is_of(journal):  # it was rewritten
            self._reading = Reading(Tally())
        self.place.read(self._reading)
        return self._reading.fold


def _facts(folder: Path | str, tally: Tally, working: bool | None) -> Status:
    ends, (inputs, lengths_s) = tally.ends(), tally.inputs()
    found = tally.found(inputs)
    here = ends.number["job"] == len(tally.jobs) - 1
    of_run = within(inputs, ends.name[here])
    left = ~within(inputs, ends.name)
    runs, frames = int(here.sum()), int(np.nansum(ends.number["counts.decode.frames"][here]))
    started = tally.jobs[-1]["started"] if tally.jobs else None
    until = tally.end["finished"] if tally.end else time.time()
    if not tally.end and working is False:
        until = float(ends.number["finished"][here].max(initial=0)) or started or 0.0
    seconds = until - started if started else 0.0
    did_s, left_s = float(lengths_s[of_run].sum()), float(lengths_s[left].sum())
    left_s += found * did_s / runs if runs else 0.0  # what was not looked at yet is taken to be as long as the rest
    statuses, to_do = _counts(ends.status, tally.words), int(left.sum()) + found
    return {
        "folder": label(str(folder)),
        "inputs": len(inputs) + found,
        "statuses": statuses | ({"to do": to_do} if to_do else {}),
        "errors": _counts(ends.error, tally.words),
        "rows": int(np.nansum(ends.number["rows"])),
        "shards": len(_counts(ends.file, tally.words)),
        "segments": len(tally.segments),
        "ended": MERGED if tally.is_merged else tally.end["stopped"] or "all done" if tally.end else None,
        "at_work": working,
        "run": {"inputs": runs, "frames": frames, "seconds": seconds},
        "frames_per_s": frames / seconds if seconds else None,
        "videos_per_min": runs / seconds * 60 if seconds else None,
        "workers": tally.jobs[-1].get("workers") if tally.jobs else None,
        "left_s": seconds * left_s / did_s if did_s and not tally.end else None,
        "slowest": [{"video": label(name), "seconds": took} for name, took in tally.slowest(ends, SLOWEST)],
    }


def _counts(places: Int64, words: list[str | None]) -> dict[str, int]:
    """Return how often each word is meant, the most frequent first; None is no word."""
    counts = Counter({word: int(count) for word, count in zip(words, np.bincount(places), strict=False) if word})
    return {word: count for word, count in counts.most_common() if count}


def data_sets(folder: Path, options: Options = FILES) -> list[Path]:
    """Return the folder, if it is a data set, and the parts of it that jobs with --shard make. Raises as its place."""
    with placed(folder, options) as place:
        parts = place.parts()
        return [folder, *parts] if not parts or place.has_journal() else parts


def statuses(folder: Path, options: Options = FILES) -> list[Status]:
    """Return the status of a data set and of its parts that were not merged. Raises as ``status``."""
    return unmerged([status(each, options) for each in data_sets(folder, options)])


def unmerged(found: list[Status]) -> list[Status]:
    return [facts for facts in found if facts["ended"] != MERGED]


def is_over(facts: Status) -> bool:
    """Return whether no job is at work any more, as far as that can be determined."""
    return facts["at_work"] is False or bool(facts["ended"] and not facts["at_work"])
