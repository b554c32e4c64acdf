"""Turn bodies into tracks: assign a track id to each row."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np

from ..options import Options
from ..tables import Bodies, Int32, Tracks
from ..tracks.boxes import Boxes
from .depth_jumps import DepthJumps
from .short_tracks import ShortTracks
from .tracker import Tracker


class Identifies(Protocol):
    """Assigns track ids to the people of whole frames: a Tracker, or an oracle with known identities."""

    options: Options

    def update(self, bodies: Bodies, starts: Sequence[int], shots: Sequence[int]) -> Int32: ...


class KnownIdentities:
    """The track ids of people whose boxes came with them."""

    def __init__(self, options: Options, boxes: Boxes) -> None:
        self.options, self._boxes, self._row = options, boxes, 0

    def update(self, bodies: Bodies, starts: Sequence[int], shots: Sequence[int]) -> Int32:
        """Return the track ids (P,) of some people: their boxes in order, of which the regressor dropped some."""
        boxes, rows = self._boxes, list[int]()
        assert boxes.track_id is not None, "see tracker_of"
        for start, stop in pairwise([*starts, len(bodies)]):
            self._row = int(np.searchsorted(boxes.frame_idx, bodies.frame_idx[start]))
            for box in bodies.bbox_xyxy[start:stop]:
                while (boxes.bbox_xyxy[self._row] != box).any():
                    self._row += 1
                rows.append(self._row)
                self._row += 1
        return boxes.track_id[rows]


def tracker_of(options: Options, boxes: Boxes | None) -> Identifies:
    """Return what assigns the track ids: those that came with the boxes, else a tracker."""
    if boxes is None or boxes.track_id is None:
        return Tracker(options)
    return KnownIdentities(options, boxes)


class Tracking:
    """Turns the bodies of one video into tracks; input tables may split a frame anywhere.

    ``shots``: (frame_idx, shot) of each shot's first frame, known before that frame's bodies arrive.
    """

    def __init__(self, tracker: Identifies, shots: Sequence[tuple[int, int]] = ()) -> None:
        self.tracker, self._shots = tracker, shots
        self._leaps = DepthJumps()
        self._short = ShortTracks(tracker.options.min_track_s, tracker.options.track_memory_s)
        self._waiting: Bodies | None = None  # rows of the last frame, which may be incomplete

    def feed(self, bodies: Bodies, cut: bool = True) -> Tracks | None:
        """Return the tracks of all frames complete so far, sorted by frame and track id; None if there are none.

        ``cut``: the next table may have more rows of the last frame.
        """
        if self._waiting is not None:
            bodies = Bodies.concat([self._waiting, bodies])
        end = len(bodies)
        if cut and end:
            end = int(np.searchsorted(bodies.frame_idx, bodies.frame_idx[-1]))
        self._waiting = bodies[end:] if end < len(bodies) else None
        return self._short.feed(self._identified(bodies[:end])) if end else None

    def finish(self) -> Tracks | None:
        """Return the tracks of the remaining frames; None if there are none."""
        rest, self._waiting = self._waiting, None
        return self._short.finish(None if rest is None else self._identified(rest))

    def _identified(self, bodies: Bodies) -> Tracks:
        starts = np.flatnonzero(np.diff(bodies.frame_idx, prepend=-1)).tolist()
        shots = [self._shot(frame_idx) for frame_idx in bodies.frame_idx[starts].tolist()]
        track_id = self.tracker.update(bodies, starts, shots)
        order = np.lexsort((track_id, bodies.frame_idx))
        columns = {name: column[order] for name, column in bodies.columns().items()}
        return self._leaps.flagged(Tracks.checked(columns | {"track_id": track_id[order]}))

    def _shot(self, frame_idx: int) -> int:
        at = bisect_right(self._shots, frame_idx, key=lambda begun: begun[0])
        return self._shots[at - 1][1] if at else 0


def track(bodies: Iterator[Bodies], tracker: Identifies, shots: Sequence[tuple[int, int]] = ()) -> Iterator[Tracks]:
    """Yield the tracks of a video, in tables of one or more whole frames, rows sorted by frame and track id."""
    tracking = Tracking(tracker, shots)
    for table in bodies:
        if (tracks := tracking.feed(table)) is not None:
            yield tracks
    if (tracks := tracking.finish()) is not None:
        yield tracks
