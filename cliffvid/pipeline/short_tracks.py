"""Flag the rows of short tracks, which are known only when a track has ended."""

import math
from collections import deque
from collections.abc import Iterator

import numpy as np

from ..tables import SHORT_TRACK, Tracks


class ShortTracks:
    """Flags rows of tracks shorter than ``min_s``; delays a frame until the length of all its tracks is settled."""

    def __init__(self, min_s: float, memory_s: float) -> None:
        self._min_s, self._memory_s = min_s, memory_s
        self._spans: dict[int, tuple[float, float]] = {}  # of each track: when it was first and last seen
        self._held: deque[Tracks] = deque()

    def feed(self, tracks: Tracks) -> Tracks | None:
        """Return all frames that are settled by now, flagged; None if there are none."""
        if not self._min_s:
            return tracks
        for frame in by_frame(tracks):
            self._held.append(frame)
            now_s = float(frame.time_s[0])
            for track_id in frame.track_id.tolist():
                self._spans[track_id] = (self._spans.get(track_id, (now_s, now_s))[0], now_s)
        return self._released(now_s)

    def finish(self, tracks: Tracks | None) -> Tracks | None:
        """Return these last rows and all delayed ones, flagged; None if there are none."""
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
            free.append(Tracks.checked(frame.columns() | {"flags": flags}))
        return Tracks.concat(free) if free else None


def by_frame(tracks: Tracks) -> Iterator[Tracks]:
    """Yield the same rows, one table per frame."""
    starts = np.flatnonzero(np.diff(tracks.frame_idx, prepend=-1))
    for start, stop in zip(starts, [*starts[1:], len(tracks)], strict=True):
        yield tracks[start:stop]
