"""Flag depth jumps: rows in which a person is suddenly far nearer or farther, because the network misjudged size."""

from collections import deque
from statistics import median

import numpy as np

from ..tables import BAD_CAMERA, ODD_DEPTH, Tracks

# Depths of consecutive rows differ by 2 % (median) and 16 % (99th percentile) over 30 s of a street scene (1,600 rows).
# No row is flagged there, in 21,000 rows of tests/support/crossings.py, or in the example clip.
LATELY_S = 1.0
LEAST = 3  # recent rows needed to judge a depth
LEAP = 1.5  # ratio to the median depth of the recent rows
RUN_M_S = 12.0  # and a speed above any human running speed


class DepthJumps:
    """Flags rows of odd depth, by comparison with earlier rows of the same track. Feed rows in time order."""

    def __init__(self) -> None:
        self._lately: dict[int, deque[tuple[float, float]]] = {}  # of each track: time and depth

    def flagged(self, tracks: Tracks) -> Tracks:
        """Return the same rows, with ODD_DEPTH set where the depth jumps."""
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
        """Drop tracks not seen within the last LATELY_S."""
        if len(tracks):
            since_s = float(tracks.time_s[-1]) - LATELY_S
            self._lately = {track_id: rows for track_id, rows in self._lately.items() if rows[-1][0] >= since_s}


def is_depth_jump(time_s: float, depth_m: float, lately: deque[tuple[float, float]]) -> bool:
    """Return whether a depth cannot follow from a track's recent rows (time_s, depth_m)."""
    if len(lately) < LEAST:
        return False
    usual_m = median(depth for _, depth in lately)
    if max(depth_m, usual_m) <= LEAP * min(depth_m, usual_m):
        return False
    return abs(depth_m - usual_m) > RUN_M_S * (time_s - median(time for time, _ in lately))
