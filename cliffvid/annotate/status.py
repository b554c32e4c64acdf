"""What a data set's journal tells, while a job works on it or later."""

import time
from collections import Counter
from pathlib import Path

from ..names import label
from .store.journal import at_work, read_state

SLOWEST = 5


def status(folder: Path) -> dict:
    """How far a data set is: inputs by status and failures by class, rates of the last run, what is left, the slowest.

    ``at_work`` is None where it cannot be known. Raises InputError where there is no data set.
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
        until = max((video["finished"] for video in here), default=started)
    seconds = until - started if started else 0.0
    frames = sum(video["counts"]["decode"]["frames"] for video in here if video.get("counts"))
    did_s = sum(length_s(state.inputs[video["video"]]) for video in here)
    left_s = sum(length_s(line) for name, line in state.inputs.items() if name not in ended)
    slowest = sorted((v for v in ended.values() if v.get("seconds") is not None), key=lambda video: -video["seconds"])[
        :SLOWEST
    ]
    return {
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
        "left_s": seconds * left_s / did_s if did_s and not state.end else None,
        "slowest": [{"video": label(video["video"]), "seconds": video["seconds"]} for video in slowest],
    }


def left(state) -> int:
    return len(state.inputs.keys() - state.live.keys())


def length_s(line: dict) -> float:
    return line["duration_s"] or (line["frames"] or 0) / 25
