"""Bodies to tracks: one identity per person, by where boxes are expected next.

A constant-velocity Kalman filter per box coordinate predicts each track (SORT, Bewley 2016); boxes are widened before
their overlap is taken, so that small people and missed frames do not break a track (C-BIoU, Yang 2023); strong
detections are matched first, weak ones then continue what is left (ByteTrack, Zhang 2022). Time is the video's own
clock, so uneven frame rates and missing frames need no special case, and nothing depends on how rows were cut.
"""

from collections.abc import Iterator

import lap
import numpy as np

from .geometry import box_iou
from .options import Options
from .types import Bodies, Tracks

# A person's box in units of its own height: how well a detector places it, how it starts and changes its motion.
CENTER_SIGMA = 0.08
SIDE_SIGMA = 0.12
START_SPEED_SIGMA = 1.0  # per second; walking is about 0.8 heights a second
ACCELERATION_SIGMA = 1.0  # per second squared
SIDE_ACCELERATION_SIGMA = 0.2
WIDEN = 0.3  # of the box's own width and height, on each side


class Tracker:
    """Identities from boxes, frame by frame. State is a row per live track."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._next_id = 1
        self._time_s = 0.0
        self._ids = np.zeros(0, np.int32)
        self._seen_s = np.zeros(0)
        self._mean = np.zeros((0, 4, 2))  # center x, y, width, height: value and speed per second
        self._cov = np.zeros((0, 4, 3))  # their variance, covariance with the speed, variance of the speed

    def update(self, time_s: float, boxes: np.ndarray, score: np.ndarray) -> np.ndarray:
        """The track ids (P,) int32 of one frame's people, from 1. Frames must come in the order of their time."""
        self._predict(time_s)
        boxes = boxes.astype(np.float64)
        track_of = np.full(len(boxes), -1)
        strong = score >= self.options.track_score_strong
        for rows, iou_min in (
            (np.flatnonzero(strong), self.options.track_iou_min),
            (np.flatnonzero(~strong), self.options.track_iou_min_weak),
        ):
            free = np.setdiff1d(np.arange(len(self._ids)), track_of)
            self._match(boxes, rows, free, iou_min, track_of)
        seen = np.flatnonzero(track_of >= 0)
        self._correct(track_of[seen], boxes[seen], time_s)
        ids = np.where(track_of >= 0, self._ids[track_of] if len(self._ids) else 0, 0).astype(np.int32)
        new = np.flatnonzero(track_of < 0)
        ids[new] = self._start(boxes[new], time_s)
        return ids

    def _match(self, boxes: np.ndarray, rows: np.ndarray, free: np.ndarray, iou_min: float, track_of) -> None:
        if not len(rows) or not len(free):
            return
        cost = 1 - box_iou(_widened(boxes[rows]), _widened(self._boxes()[free]))
        chosen = lap.lapjv(cost, extend_cost=True, cost_limit=1 - iou_min, return_cost=False)[0]
        matched = chosen >= 0
        track_of[rows[matched]] = free[chosen[matched]]

    def _boxes(self) -> np.ndarray:
        center, side = self._mean[:, :2, 0], np.maximum(self._mean[:, 2:, 0], 1.0)
        return np.concatenate([center - side / 2, center + side / 2], axis=1)

    def _sigmas(self, height: np.ndarray, center: float, side: float) -> np.ndarray:
        return height[:, None] * np.array([center, center, side, side])

    def _predict(self, time_s: float) -> None:
        alive = time_s - self._seen_s <= self.options.track_memory_s
        self._ids, self._seen_s = self._ids[alive], self._seen_s[alive]
        self._mean, self._cov = self._mean[alive], self._cov[alive]
        dt, self._time_s = time_s - self._time_s, time_s
        noise = self._sigmas(self._mean[:, 3, 0], ACCELERATION_SIGMA, SIDE_ACCELERATION_SIGMA) ** 2
        var, cross, speed = np.moveaxis(self._cov, -1, 0)
        self._mean[..., 0] += dt * self._mean[..., 1]
        self._cov = np.stack(
            [
                var + 2 * dt * cross + dt**2 * speed + noise * dt**4 / 4,
                cross + dt * speed + noise * dt**3 / 2,
                speed + noise * dt**2,
            ],
            axis=-1,
        )

    def _correct(self, tracks: np.ndarray, boxes: np.ndarray, time_s: float) -> None:
        seen = _center_side(boxes)
        var, cross, speed = np.moveaxis(self._cov[tracks], -1, 0)
        total = var + self._sigmas(seen[:, 3], CENTER_SIGMA, SIDE_SIGMA) ** 2
        gain, gain_speed = var / total, cross / total
        error = seen - self._mean[tracks, :, 0]
        self._mean[tracks] += np.stack([gain * error, gain_speed * error], axis=-1)
        self._cov[tracks] = np.stack([var * (1 - gain), cross * (1 - gain), speed - gain_speed * cross], axis=-1)
        self._seen_s[tracks] = time_s

    def _start(self, boxes: np.ndarray, time_s: float) -> np.ndarray:
        n = len(boxes)
        ids = np.arange(self._next_id, self._next_id + n, dtype=np.int32)
        self._next_id += n
        start = _center_side(boxes)
        height = start[:, 3]
        cov = np.zeros((n, 4, 3))
        cov[..., 0] = self._sigmas(height, CENTER_SIGMA, SIDE_SIGMA) ** 2
        cov[..., 2] = self._sigmas(height, START_SPEED_SIGMA, START_SPEED_SIGMA / 4) ** 2
        self._ids = np.concatenate([self._ids, ids])
        self._seen_s = np.concatenate([self._seen_s, np.full(n, time_s)])
        self._mean = np.concatenate([self._mean, np.stack([start, np.zeros_like(start)], axis=-1)])
        self._cov = np.concatenate([self._cov, cov])
        return ids


def _center_side(boxes: np.ndarray) -> np.ndarray:
    low, high = boxes[:, :2], boxes[:, 2:]
    return np.concatenate([(low + high) / 2, high - low], axis=1)


def _widened(boxes: np.ndarray) -> np.ndarray:
    margin = (boxes[:, 2:] - boxes[:, :2]) * WIDEN
    return np.concatenate([boxes[:, :2] - margin, boxes[:, 2:] + margin], axis=1)


class Tracking:
    """Bodies of one video into tracks, however its rows are cut."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self._waiting: Bodies | None = None  # of the last frame: more of it may come

    def feed(self, bodies: Bodies) -> Tracks | None:
        """The tracks of all frames that are whole by now, sorted by frame and track id; None if there are none."""
        if self._waiting is not None:
            bodies = Bodies.concat([self._waiting, bodies])
        cut = int(np.searchsorted(bodies.frame_idx, bodies.frame_idx[-1])) if len(bodies) else 0
        self._waiting = bodies[cut:] if len(bodies) else None
        return self._identified(bodies[:cut]) if cut else None

    def finish(self) -> Tracks | None:
        """The tracks of the last frame."""
        rest, self._waiting = self._waiting, None
        return None if rest is None else self._identified(rest)

    def _identified(self, bodies: Bodies) -> Tracks:
        starts = np.flatnonzero(np.diff(bodies.frame_idx, prepend=-1))
        ids = [
            self.tracker.update(float(bodies.time_s[a]), bodies.bbox_xyxy[a:b], bodies.det_score[a:b])
            for a, b in zip(starts, [*starts[1:], len(bodies)], strict=True)
        ]
        ids = np.concatenate(ids)
        order = np.lexsort((ids, bodies.frame_idx))
        columns = {name: column[order] for name, column in bodies.columns().items()}
        return Tracks(**columns, track_id=ids[order])


def by_frame(tracks: Tracks) -> Iterator[Tracks]:
    """The same rows, a table for each frame."""
    starts = np.flatnonzero(np.diff(tracks.frame_idx, prepend=-1))
    for start, stop in zip(starts, [*starts[1:], len(tracks)], strict=True):
        yield tracks[start:stop]


def track(bodies: Iterator[Bodies], tracker: Tracker) -> Iterator[Tracks]:
    """The tracks of a video, in tables of one or more whole frames, rows sorted by frame and track id."""
    tracking = Tracking(tracker)
    for table in bodies:
        if (tracks := tracking.feed(table)) is not None:
            yield tracks
    if (tracks := tracking.finish()) is not None:
        yield tracks
