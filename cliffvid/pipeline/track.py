"""Bodies to tracks: each row gets the identity of its person."""

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from ..options import Options
from ..tables import SHORT_TRACK, Bodies, Int32, Tracks
from .appearance import Appearance
from .depth_jumps import DepthJumps


class Identifies(Protocol):
    """Gives the people of one frame after the other identities: a Tracker, or somebody who knows them."""

    options: Options

    def update(self, frame: Bodies, looks: Appearance, shot: int = 0) -> Int32: ...


class Tracking:
    """Bodies of one video into tracks, however its rows are cut.

    ``shots``: (frame_idx, shot) of the frames that begin one, known before the frame's own bodies come.
    """

    def __init__(self, tracker: Identifies, shots: Sequence[tuple[int, int]] = ()) -> None:
        self.tracker, self._shots = tracker, shots
        self._leaps = DepthJumps()
        self._short = ShortTracks(tracker.options.min_track_s, tracker.options.track_memory_s)
        self._waiting: Bodies | None = None  # of the last frame: more of it may come

    def feed(self, bodies: Bodies) -> Tracks | None:
        """The tracks of all frames that are whole by now, sorted by frame and track id; None if there are none."""
        if self._waiting is not None:
            bodies = Bodies.concat([self._waiting, bodies])
        cut = int(np.searchsorted(bodies.frame_idx, bodies.frame_idx[-1])) if len(bodies) else 0
        self._waiting = bodies[cut:] if len(bodies) else None
        return self._short.feed(self._identified(bodies[:cut])) if cut else None

    def finish(self) -> Tracks | None:
        """The tracks of the last frames."""
        rest, self._waiting = self._waiting, None
        return self._short.finish(None if rest is None else self._identified(rest))

    def _identified(self, bodies: Bodies) -> Tracks:
        starts = np.flatnonzero(np.diff(bodies.frame_idx, prepend=-1)).tolist()
        looks = Appearance.of(bodies)
        ids = [
            self.tracker.update(bodies[a:b], looks[a:b], self._shot(int(bodies.frame_idx[a])))
            for a, b in zip(starts, [*starts[1:], len(bodies)], strict=True)
        ]
        track_id = np.concatenate(ids)
        order = np.lexsort((track_id, bodies.frame_idx))
        columns = {name: column[order] for name, column in bodies.columns().items()}
        return self._leaps.flagged(Tracks(**columns, track_id=track_id[order]))

    def _shot(self, frame_idx: int) -> int:
        at = bisect_right(self._shots, frame_idx, key=lambda begun: begun[0])
        return self._shots[at - 1][1] if at else 0


class ShortTracks:
    """Flags rows of tracks that last less than ``min_s``; holds frames back until that is known of all in them."""

    def __init__(self, min_s: float, memory_s: float) -> None:
        self._min_s, self._memory_s = min_s, memory_s
        self._spans: dict[int, tuple[float, float]] = {}  # of each track: when it was first and last seen
        self._held: deque[Tracks] = deque()

    def feed(self, tracks: Tracks) -> Tracks | None:
        """All frames that can go on by now, flagged; None if there are none."""
        if not self._min_s:
            return tracks
        for frame in by_frame(tracks):
            self._held.append(frame)
            now_s = float(frame.time_s[0])
            for track_id in frame.track_id.tolist():
                self._spans[track_id] = (self._spans.get(track_id, (now_s, now_s))[0], now_s)
        return self._released(now_s)

    def finish(self, tracks: Tracks | None) -> Tracks | None:
        """The same of these last rows and all that were held back."""
        some = [self.feed(tracks)] if tracks is not None else []
        some.append(self._released(math.inf))
        rest = [part for part in some if part is not None]
        return Tracks.concat(rest) if rest else None

    def _released(self, now_s: float) -> Tracks | None:
        free = []
        while self._held:
            spans = [self._spans[track_id] for track_id in self._held[0].track_id.tolist()]
            long = np.array([last - first >= self._min_s for first, last in spans])
            over = np.array([now_s - last > self._memory_s for _, last in spans])
            if not (long | over).all():
                break
            frame = self._held.popleft()
            flags = frame.flags | np.where(long, 0, SHORT_TRACK).astype(np.uint16)
            free.append(Tracks(**(frame.columns() | {"flags": flags})))
        return Tracks.concat(free) if free else None


def by_frame(tracks: Tracks) -> Iterator[Tracks]:
    """The same rows, a table for each frame."""
    starts = np.flatnonzero(np.diff(tracks.frame_idx, prepend=-1))
    for start, stop in zip(starts, [*starts[1:], len(tracks)], strict=True):
        yield tracks[start:stop]


def track(bodies: Iterator[Bodies], tracker: Identifies, shots: Sequence[tuple[int, int]] = ()) -> Iterator[Tracks]:
    """The tracks of a video, in tables of one or more whole frames, rows sorted by frame and track id."""
    tracking = Tracking(tracker, shots)
    for table in bodies:
        if (tracks := tracking.feed(table)) is not None:
            yield tracks
    if (tracks := tracking.finish()) is not None:
        yield tracks
