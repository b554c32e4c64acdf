"""Rows in which somebody is suddenly far nearer or farther: a network's mistake about how large they are."""

from collections import deque
from statistics import median

import numpy as np

from ..tables import BAD_CAMERA, ODD_DEPTH, Tracks

# Depths of neighbouring rows differ by 2 % (median), in one of a hundred by 16 %, over 30 s of a street scene (1,600
# rows). Nothing is flagged there nor in 21,000 rows of tests/support/crossings.py, nor in the example clip.
LATELY_S = 1.0
LEAST = 3  # rows, else nothing is known of where somebody was
LEAP = 1.5  # times nearer or farther than the median of the rows lately
RUN_M_S = 12.0  # and that faster than anybody runs


class DepthJumps:
    """Flags rows of odd depth by the rows of the same track before them. Rows must come in the order of their time."""

    def __init__(self) -> None:
        self._lately: dict[int, deque[tuple[float, float]]] = {}  # of each track: time and depth

    def flagged(self, tracks: Tracks) -> Tracks:
        """The same rows, those flagged whose depth is a leap away."""
        odd = np.zeros(len(tracks), bool)
        good = (tracks.flags & BAD_CAMERA) == 0
        for row in np.flatnonzero(good).tolist():
            time_s, depth_m = float(tracks.time_s[row]), float(tracks.transl[row, 2])
            lately = self._lately.setdefault(int(tracks.track_id[row]), deque())
            while lately and time_s - lately[0][0] > LATELY_S:
                lately.popleft()
            odd[row] = is_depth_jump(time_s, depth_m, lately)
            lately.append((time_s, depth_m))
        self._forget(tracks)
        if not odd.any():
            return tracks
        return Tracks(**(tracks.columns() | {"flags": tracks.flags | np.where(odd, ODD_DEPTH, 0).astype(np.uint16)}))

    def _forget(self, tracks: Tracks) -> None:
        """Keep no more than the tracks of late."""
        if len(tracks):
            since_s = float(tracks.time_s[-1]) - LATELY_S
            self._lately = {track_id: rows for track_id, rows in self._lately.items() if rows[-1][0] >= since_s}


def is_depth_jump(time_s: float, depth_m: float, lately: deque[tuple[float, float]]) -> bool:
    """Whether nobody who was there lately, by (time, depth), can be at that depth now."""
    if len(lately) < LEAST:
        return False
    usual_m = median(depth for _, depth in lately)
    if max(depth_m, usual_m) <= LEAP * min(depth_m, usual_m):
        return False
    return abs(depth_m - usual_m) > RUN_M_S * (time_s - median(time for time, _ in lately))
