"""Compute the status of a data set from its journal, during a job or later."""

import time
from collections import Counter
from pathlib import Path
from typing import TypedDict

from ..names import label
from .store.journal import State, at_work, read_state
from .store.ownership import NAME, PARTS, has_journal
from .store.records import InputLine

SLOWEST = 5


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
    state = read_state(folder)
    working = at_work(folder, state)
    if working is False and not state.end:
        state = read_state(folder)  # it may just have ended
    ended = {name: video for name, video in state.live.items() if name in state.inputs}
    statuses = Counter(video["status"] for video in ended.values())
    errors = Counter(video["error"] for video in ended.values() if video["status"] == "failed")
    job = len(state.jobs) - 1
    here = [video for video in ended.values() if video["job"] == job]
    started = state.jobs[-1]["started"] if state.jobs else None
    until = state.end["finished"] if state.end else time.time()
    if not state.end and working is False:
        until = max((video["finished"] for video in here), default=started or 0.0)
    seconds = until - started if started else 0.0
    frames = sum(video["counts"]["decode"]["frames"] or 0 for video in here if video.get("counts"))
    did_s = sum(length_s(state.inputs[video["video"]]) for video in here)
    left_s = sum(length_s(line) for name, line in state.inputs.items() if name not in ended)
    worked = ((name, video.get("seconds")) for name, video in ended.items())
    slowest = sorted(((name, took) for name, took in worked if took is not None), key=lambda each: -each[1])[:SLOWEST]
    return {
        "folder": label(str(folder)),
        "inputs": len(state.inputs),
        "statuses": dict(statuses.most_common()) | ({"to do": len(state.inputs) - len(ended)} if left(state) else {}),
        "errors": dict(errors.most_common()),
        "rows": sum(video["rows"] for video in ended.values()),
        "shards": len(state.shards()),
        "segments": sum(len(parts) for parts in state.segments.values()),
        "ended": state.end["stopped"] or "all done" if state.end else None,
        "at_work": working,
        "run": {"inputs": len(here), "frames": frames, "seconds": seconds},
        "frames_per_s": frames / seconds if seconds else None,
        "videos_per_min": len(here) / seconds * 60 if seconds else None,
        "workers": state.jobs[-1].get("workers") if state.jobs else None,
        "left_s": seconds * left_s / did_s if did_s and not state.end else None,
        "slowest": [{"video": label(name), "seconds": took} for name, took in slowest],
    }


def data_sets(folder: Path) -> list[Path]:
    """Return the folder, if it is a data set, and the parts of it that jobs with --shard make."""
    parts = sorted(path.parent for path in (folder / PARTS).glob(f"*/{NAME}"))
    return [folder, *parts] if not parts or has_journal(folder) else parts


def is_over(facts: Status) -> bool:
    """Return whether no job is at work any more, as far as that can be determined."""
    return facts["at_work"] is False or bool(facts["ended"] and not facts["at_work"])


def left(state: State) -> int:
    return len(state.inputs.keys() - state.live.keys())


def length_s(line: InputLine) -> float:
    return line["duration_s"] or (line["frames"] or 0) / 25
