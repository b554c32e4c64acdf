"""One identity per person, by where boxes are expected next."""

import lap
import numpy as np

from ..geometry import box_iou
from ..options import Options
from ..tables import Array, Bodies
from .appearance import Appearance, appearance_cost

# A person's box in units of its own height: how well a detector places it, how it starts and changes its motion.
CENTER_SIGMA = 0.08
SIDE_SIGMA = 0.12
START_SPEED_SIGMA = 1.0  # per second; walking is about 0.8 heights a second
ACCELERATION_SIGMA = 1.0  # per second squared
SIDE_ACCELERATION_SIGMA = 0.2
# On tests/support/crossings.py, four kinds of four seeds: IDF1 0.65 -> 0.79, switches 524 -> 143; ByteTrack 0.61, 345.
COST_MAX = 1.0  # of 1 - IoU and unlikeness together
RELINK_MAX = 0.6  # of a lost track's distance and unlikeness together
REACH = 0.3  # heights from where a lost track is expected, or was last seen, that count as distance 1
REACH_S = 0.8  # and as many more for each second unseen
TALLER = 0.3  # difference of the heights' logarithms that counts as distance 1
WIDEN = 0.3  # of the box's own width and height, on each side


class Tracker:
    """Identities from boxes, frame by frame. State is a row per live track."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._next_id = 1
        self._time_s = 0.0
        self._ids = np.zeros(0, np.int32)
        self._looks: Appearance  # of the live tracks, once there are any
        self._seen_s = np.zeros(0)
        self._shots = np.zeros(0, int)
        self._last = np.zeros((0, 4))  # center and sides where last seen
        # Of center x, y, width, height: value, speed per second, variance, covariance with the speed, its variance.
        self._state = np.zeros((5, 0, 4))

    def update(self, frame: Bodies, looks: Appearance, shot: int = 0) -> Array:
        """The track ids (P,) int32 of one frame's people, from 1; tracks go on in the same ``shot`` alone.

        Frames must come in the order of their time.
        """
        time_s, boxes = float(frame.time_s[0]), frame.bbox_xyxy.astype(np.float64)
        places = _center_side(boxes)
        self._predict(time_s)
        track_of = np.full(len(boxes), -1)
        strong = frame.det_score >= self.options.track_score_strong
        if len(self._ids):
            unlike = appearance_cost(looks, self._looks, time_s - self._seen_s)
            cost = 1 - box_iou(_widened(boxes), _widened(self._boxes()))
            here, near = self._shots == shot, cost + unlike
            for rows, iou_min in (
                (strong, self.options.track_iou_min),
                (~strong, self.options.track_iou_min_weak),
            ):
                self._match(rows, near, here & (cost <= 1 - iou_min), track_of)
            if (strong & (track_of < 0)).any():
                far = self._distance(places, time_s) + unlike
                self._match(strong, far, here & (far <= RELINK_MAX), track_of)
        seen = np.flatnonzero(track_of >= 0)
        self._correct(track_of[seen], places[seen], time_s)
        ids = np.where(track_of >= 0, self._ids[track_of] if len(self._ids) else 0, 0).astype(np.int32)
        new = np.flatnonzero(track_of < 0)
        if len(seen):
            self._looks = self._looks.learned(track_of[seen], looks[seen])
        if len(new):
            ids[new] = self._start(places[new], time_s, shot)
            self._looks = self._looks.joined(looks[new]) if len(self._ids) > len(new) else looks[new]
        return ids

    def _match(self, rows: Array, cost: Array, allowed: Array, track_of: Array) -> None:
        """Give those of the rows (P,) bool that have no track one that none has, at the least cost; pairs that are not
        ``allowed`` or too costly stay.
        """
        rows = np.flatnonzero(rows & (track_of < 0))
        if not len(rows):
            return
        taken = np.zeros(len(self._ids), bool)
        taken[track_of[track_of >= 0]] = True
        free = np.flatnonzero(~taken)
        if not len(free):
            return
        some = rows[:, None], free
        cost = np.where(allowed[some], cost[some], 10 * COST_MAX)
        chosen = lap.lapjv(cost, extend_cost=True, cost_limit=COST_MAX, return_cost=False)[0]
        matched = chosen >= 0
        track_of[rows[matched]] = free[chosen[matched]]

    def _distance(self, seen: Array, time_s: float) -> Array:
        """How far (P,T) centers and sides are from where a lost track was last seen or would be by now, 1: as far as
        may be.
        """
        unseen_s, height = time_s - self._seen_s, self._last[:, 3]
        reach = (REACH + REACH_S * unseen_s) * height
        places = np.stack([self._last[:, :2], self._state[0, :, :2]])
        away = np.linalg.norm(seen[None, :, None, :2] - places[:, None], axis=-1).min(axis=0) / reach
        taller = np.abs(np.log(seen[:, 3:] / height)) / TALLER
        distance: Array = np.maximum(away, taller)
        return distance

    def _boxes(self) -> Array:
        center, side = self._state[0, :, :2], np.maximum(self._state[0, :, 2:], 1.0)
        return np.concatenate([center - side / 2, center + side / 2], axis=1)

    def _sigmas(self, height: Array, center: float, side: float) -> Array:
        sigmas: Array = height[:, None] * np.array([center, center, side, side])
        return sigmas

    def _predict(self, time_s: float) -> None:
        alive = time_s - self._seen_s <= self.options.track_memory_s
        if not alive.all():
            self._ids, self._seen_s = self._ids[alive], self._seen_s[alive]
            self._shots, self._last = self._shots[alive], self._last[alive]
            self._looks = self._looks[alive]
            self._state = self._state[:, alive]
        dt, self._time_s = time_s - self._time_s, time_s
        value, speed, var, cross, speed_var = self._state
        noise = self._sigmas(value[:, 3], ACCELERATION_SIGMA, SIDE_ACCELERATION_SIGMA) ** 2
        value += dt * speed
        var += 2 * dt * cross
        var += dt**2 * speed_var
        var += noise * dt**4 / 4
        cross += dt * speed_var
        cross += noise * dt**3 / 2
        speed_var += noise * dt**2

    def _correct(self, tracks: Array, seen: Array, time_s: float) -> None:
        value, speed, var, cross, speed_var = self._state[:, tracks]
        total = var + self._sigmas(seen[:, 3], CENTER_SIGMA, SIDE_SIGMA) ** 2
        gain, gain_speed = var / total, cross / total
        error = seen - value
        value += gain * error
        speed += gain_speed * error
        self._state[:, tracks] = value, speed, var * (1 - gain), cross * (1 - gain), speed_var - gain_speed * cross
        self._seen_s[tracks] = time_s
        self._last[tracks] = seen

    def _start(self, seen: Array, time_s: float, shot: int) -> Array:
        n = len(seen)
        ids = np.arange(self._next_id, self._next_id + n, dtype=np.int32)
        self._next_id += n
        height, state = seen[:, 3], np.zeros((5, n, 4))
        state[0] = seen
        state[2] = self._sigmas(height, CENTER_SIGMA, SIDE_SIGMA) ** 2
        state[4] = self._sigmas(height, START_SPEED_SIGMA, START_SPEED_SIGMA / 4) ** 2
        self._ids = np.concatenate([self._ids, ids])
        self._seen_s = np.concatenate([self._seen_s, np.full(n, time_s)])
        self._last = np.concatenate([self._last, seen])
        self._shots = np.concatenate([self._shots, np.full(n, shot)])
        self._state = np.concatenate([self._state, state], axis=1)
        return ids


def _center_side(boxes: Array) -> Array:
    low, high = boxes[:, :2], boxes[:, 2:]
    return np.concatenate([(low + high) / 2, high - low], axis=1)


def _widened(boxes: Array) -> Array:
    margin = (boxes[:, 2:] - boxes[:, :2]) * WIDEN
    return np.concatenate([boxes[:, :2] - margin, boxes[:, 2:] + margin], axis=1)
