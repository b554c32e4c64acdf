"""Flag depth jumps: rows in which a person is suddenly far nearer or farther, because the network misjudged size."""

from collections import deque
from dataclasses import replace
from math import inf
from statistics import median

import numpy as np

from ..tables import BAD_CAMERA, ODD_DEPTH, Tracks

# Depths of consecutive rows differ by 2 % (median) and 16 % (99th percentile) over 30 s of a street scene (1,600 rows).
# No row is flagged there, in 21,000 rows of tests/support/crossings.py, or in the example clip.
LATELY_S = 1.0
LEAST = 3  # recent rows needed to judge a depth
LEAP = 1.5  # ratio to the median depth of the recent rows
RUN_M_S = 12.0  # and a speed above any human running speed


class Lately:
    """Times and depths of a track's recent rows; ``low`` and ``high`` bound their depths, and perhaps earlier ones."""

    __slots__ = ("depths", "high", "low", "times")

    def __init__(self) -> None:
        self.times: deque[float] = deque()
        self.depths: deque[float] = deque()
        self.low, self.high = inf, -inf


class DepthJumps:
    """Flags rows of odd depth, by comparison with earlier rows of the same track. Feed rows in time order."""

    def __init__(self) -> None:
        self._lately: dict[int, Lately] = {}  # of each track

    def flagged(self, tracks: Tracks) -> Tracks:
        """Return the same rows, with ODD_DEPTH set where the depth jumps."""
        good = np.flatnonzero((tracks.flags & BAD_CAMERA) == 0)
        columns = good, tracks.track_id[good], tracks.time_s[good], tracks.transl[good, 2]
        odd = []
        for row, track_id, time_s, depth_m in zip(*(column.tolist() for column in columns), strict=True):
            if (lately := self._lately.get(track_id)) is None:
                lately = self._lately[track_id] = Lately()
            times, depths = lately.times, lately.depths
            while times and time_s - times[0] > LATELY_S:
                times.popleft()
                depths.popleft()
            lately.low, lately.high = min(depth_m, lately.low), max(depth_m, lately.high)
            if lately.high > LEAP * lately.low:
                if is_depth_jump(time_s, depth_m, lately):
                    odd.append(row)
                lately.low, lately.high = min([depth_m, *depths]), max([depth_m, *depths])
            times.append(time_s)
            depths.append(depth_m)
        self._forget(tracks)
        if not odd:
            return tracks
        flags = tracks.flags.copy()
        flags[odd] |= ODD_DEPTH
        return replace(tracks, flags=flags)

    def _forget(self, tracks: Tracks) -> None:
        """Drop tracks not seen within the last LATELY_S."""
        if len(tracks):
            since_s = float(tracks.time_s[-1]) - LATELY_S
            self._lately = {track_id: rows for track_id, rows in self._lately.items() if rows.times[-1] >= since_s}


def is_depth_jump(time_s: float, depth_m: float, lately: Lately) -> bool:
    """Return whether a depth cannot follow from a track's recent rows."""
    times, depths = lately.times, lately.depths
    if len(depths) < LEAST or max(depth_m, max(depths)) <= LEAP * min(depth_m, min(depths)):
        return False  # whatever the median
    usual_m = median(depths)
    if max(depth_m, usual_m) <= LEAP * min(depth_m, usual_m):
        return False
    return abs(depth_m - usual_m) > RUN_M_S * (time_s - median(times))
