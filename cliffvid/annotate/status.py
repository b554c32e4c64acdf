"""Compute the status of a data set from its journal, during a job or later."""

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias, TypedDict, cast

from ..names import label
from .store.journal import at_work, read_state
from .store.state import State

SLOWEST = 5
# Name, status, error, rows, job, time of its end, seconds of work, frames.
_Columns: TypeAlias = tuple[str, str, str | None, int, int, float, float | None, int | None]


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
    left_s: float | None
    slowest: list[SlowFacts]


def status(folder: Path) -> Status:
    """Return the status of a data set: inputs by status, failures by error, speed, time left and slowest inputs.

    ``at_work`` is None if it cannot be determined. Raises InputError if there is no data set.
    """
    state = read_state(folder)
    working = at_work(folder, state)
    if working is False and not state.end:
        state = read_state(folder)  # it may just have ended
    sums = _sums(state)
    started = state.jobs[-1]["started"] if state.jobs else None
    until = state.end["finished"] if state.end else time.time()
    if not state.end and working is False:
        until = sums.last or started or 0.0
    seconds = until - started if started else 0.0
    left = sums.left + len(state.found)
    return {
        "inputs": len(state.inputs) + len(state.found),
        "statuses": dict(sums.statuses.most_common()) | ({"to do": left} if left else {}),
        "errors": dict(sums.errors.most_common()),
        "rows": sums.rows,
        "shards": len(state.shards()),
        "segments": sum(len(parts) for parts in state.segments.values()),
        "ended": state.end["stopped"] or "all done" if state.end else None,
        "at_work": working,
        "run": {"inputs": len(sums.here), "frames": sums.frames, "seconds": seconds},
        "frames_per_s": sums.frames / seconds if seconds else None,
        "left_s": seconds * sums.left_s / sums.did_s if sums.did_s and not state.end else None,
        "slowest": [{"video": label(name), "seconds": took} for took, name in sums.slowest],
    }


@dataclass
class _Sums:
    """Sums over all inputs."""

    statuses: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    here: set[str] = field(default_factory=set)  # inputs of the last run
    frames: int = 0  # of these
    last: float = 0.0  # when the last of these was finished
    did_s: float = 0.0  # of video, of these
    left: int = 0  # inputs that are not done, and were looked at
    left_s: float = 0.0  # of video, of inputs that are not done
    slowest: list[tuple[float, str]] = field(default_factory=list)


def _sums(state: State) -> _Sums:
    """Return the sums; no record is made for it, so that a million inputs take seconds."""
    sums, job = _Sums(), len(state.jobs) - 1
    columns = ("status", "error", "rows", "job", "finished", "seconds", "counts.decode.frames")
    for each in state.live.select(*columns):
        name, status, error, rows, number, finished, seconds, frames = cast(_Columns, each)
        sums.statuses[status] += 1
        sums.rows += rows
        if status == "failed":
            sums.errors[error or ""] += 1
        if number == job:
            sums.here.add(name)
            sums.frames, sums.last = sums.frames + (frames or 0), max(sums.last, finished)
        if seconds is not None and (len(sums.slowest) < SLOWEST or seconds > sums.slowest[-1][0]):
            sums.slowest = sorted([*sums.slowest, (seconds, name)], key=lambda each: -each[0])[:SLOWEST]
    ended = set(state.live)
    for each in state.inputs.select("duration_s", "frames"):
        name, duration_s, frames = cast(tuple[str, float | None, int | None], each)
        if name in sums.here:
            sums.did_s += duration_s or (frames or 0) / 25
        elif name not in ended:
            sums.left += 1
            sums.left_s += duration_s or (frames or 0) / 25
    if sums.here:  # what was not looked at yet is taken to be as long as what was done
        sums.left_s += len(state.found) * sums.did_s / len(sums.here)
    return sums
