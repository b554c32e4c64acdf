"""Compute the status of a data set from its journal, during a job or later."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import nlargest
from itertools import chain, compress
from pathlib import Path
from typing import TypeAlias, TypedDict, cast

from ..names import label
from .store.journal import at_work, read_state
from .store.ownership import NAME, PARTS, has_journal
from .store.state import State

SLOWEST = 5
# Status, error, rows, file, job, time of its end, seconds of work, frames.
_Columns: TypeAlias = tuple[
    Sequence[str],
    Sequence[str | None],
    Sequence[int],
    Sequence[str | None],
    Sequence[int],
    Sequence[float],
    Sequence[float | None],
    Sequence[int | None],
]


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


def status(folder: Path) -> Status:
    """Return the status of a data set: inputs by status, failures by error, speed, time left and slowest inputs.

    ``at_work`` is None if it cannot be determined. Raises InputError if there is no data set.
    """
    journal = folder / NAME
    size = journal.stat().st_size if journal.exists() else 0
    state = read_state(folder)
    working = at_work(folder, state)
    if working is False and not state.end and journal.stat().st_size != size:
        state = read_state(folder)  # it may just have ended
    sums = _sums(state)
    started = state.jobs[-1]["started"] if state.jobs else None
    until = state.end["finished"] if state.end else time.time()
    if not state.end and working is False:
        until = sums.last or started or 0.0
    seconds = until - started if started else 0.0
    left = sums.left + len(state.found)
    return {
        "folder": label(str(folder)),
        "inputs": len(state.inputs) + len(state.found),
        "statuses": dict(sums.statuses.most_common()) | ({"to do": left} if left else {}),
        "errors": dict(sums.errors.most_common()),
        "rows": sums.rows,
        "shards": len(sums.files),
        "segments": sum(len(parts) for parts in state.segments.values()),
        "ended": state.end["stopped"] or "all done" if state.end else None,
        "at_work": working,
        "run": {"inputs": len(sums.here), "frames": sums.frames, "seconds": seconds},
        "frames_per_s": sums.frames / seconds if seconds else None,
        "videos_per_min": len(sums.here) / seconds * 60 if seconds else None,
        "workers": state.jobs[-1].get("workers") if state.jobs else None,
        "left_s": seconds * sums.left_s / sums.did_s if sums.did_s and not state.end else None,
        "slowest": [{"video": label(name), "seconds": took} for took, name in sums.slowest],
    }


def data_sets(folder: Path) -> list[Path]:
    """Return the folder, if it is a data set, and the parts of it that jobs with --shard make."""
    parts = sorted(path.parent for path in (folder / PARTS).glob(f"*/{NAME}"))
    return [folder, *parts] if not parts or has_journal(folder) else parts


def is_over(facts: Status) -> bool:
    """Return whether no job is at work any more, as far as that can be determined."""
    return facts["at_work"] is False or bool(facts["ended"] and not facts["at_work"])


@dataclass
class _Sums:
    """Sums over all inputs."""

    statuses: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    files: set[str | None] = field(default_factory=set)
    here: set[str] = field(default_factory=set)  # inputs of the last run
    frames: int = 0  # of these
    last: float = 0.0  # when the last of these was finished
    did_s: float = 0.0  # of video, of these
    left: int = 0  # inputs that are not done, and were looked at
    left_s: float = 0.0  # of video, of inputs that are not done
    slowest: list[tuple[float, str]] = field(default_factory=list)


def _sums(state: State) -> _Sums:
    """Return the sums, taken a column at a time: a million inputs take seconds."""
    sums, last_job = _Sums(), len(state.jobs) - 1
    columns = ("status", "error", "rows", "file", "job", "finished", "seconds", "counts.decode.frames")
    for names, block in state.live.blocks(*columns):
        statuses, errors, rows, files, jobs, finished, seconds, frames = cast(_Columns, block)
        sums.statuses.update(statuses)
        sums.errors.update(filter(None, errors))
        sums.rows += sum(rows)
        sums.files.update(files)
        here = [job == last_job for job in jobs]
        sums.here.update(compress(names, here))
        sums.frames += sum(filter(None, compress(frames, here)))
        sums.last = max(sums.last, max(compress(finished, here), default=0.0))
        worked = ((took, name) for took, name in zip(seconds, names, strict=True) if took is not None)
        sums.slowest = nlargest(SLOWEST, chain(sums.slowest, worked))
    sums.files.discard(None)
    ended = set(state.live)
    for names, block in state.inputs.blocks("duration_s", "frames"):
        durations, claimed = cast(tuple[Sequence[float | None], Sequence[int | None]], block)
        lengths = [duration or (count or 0) / 25 for duration, count in zip(durations, claimed, strict=True)]
        sums.did_s += sum(compress(lengths, map(sums.here.__contains__, names)))
        left = [name not in ended for name in names]
        sums.left, sums.left_s = sums.left + sum(left), sums.left_s + sum(compress(lengths, left))
    if sums.here:  # what was not looked at yet is taken to be as long as what was done
        sums.left_s += len(state.found) * sums.did_s / len(sums.here)
    return sums
