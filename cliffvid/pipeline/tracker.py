"""Track people by matching boxes to their predicted positions (Kalman filter) and by appearance.

A frame has few people, so this is plain Python on numbers: numpy's calls took four times as long.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeAlias, TypeVar

import lap
import numpy as np

from ..options import Options
from ..tables import Bodies, Float64, Int32
from .appearance import Appearance, appearance_cost, appearances

# Kalman filter noise, in units of the box height: measurement, initial speed and acceleration.
CENTER_SIGMA = 0.08
SIDE_SIGMA = 0.12
START_SPEED_SIGMA = 1.0  # per second; walking is about 0.8 heights a second
ACCELERATION_SIGMA = 1.0  # per second squared
SIDE_ACCELERATION_SIGMA = 0.2
# On tests/support/crossings.py, four kinds of four seeds: IDF1 0.65 -> 0.79, switches 524 -> 143; ByteTrack 0.61, 345.
COST_MAX = 1.0  # maximum of 1 - IoU plus appearance cost
RELINK_MAX = 0.6  # maximum of distance plus appearance cost when a lost track is linked again
REACH = 0.3  # offset from a lost track's predicted or last position, in heights, that counts as distance 1
REACH_S = 0.8  # its increase per second unseen
TALLER = 0.3  # difference in log height that counts as distance 1
WIDEN = 0.3  # margin on each side, as a fraction of the box's width and height

N = TypeVar("N", float, Float64)
Place: TypeAlias = tuple[float, float, float, float]  # of a box: center x and y, width, height
Powers: TypeAlias = tuple[
    float, float, float, float
]  # of the seconds since the last frame: 1st, 2nd, half the 3rd, a quarter of the 4th
Costs: TypeAlias = list[tuple[float, int]]  # of a row's possible pairs: cost and column
WideBox: TypeAlias = tuple[float, float, float, float, float]  # a box xyxy with its margins, and its area


class Person(NamedTuple):
    """One person of one frame."""

    place: Place
    wide: WideBox
    strong: bool  # detected with a high score
    looks: Appearance


class Filter:
    """Kalman filter of two numbers that share their noise: the center's x and y, or width and height."""

    __slots__ = ("a", "b", "cross", "speed_a", "speed_b", "speed_var", "var")

    def __init__(self, a: float, b: float, sigma: float, speed_sigma: float) -> None:
        self.a, self.b, self.speed_a, self.speed_b = a, b, 0.0, 0.0
        # of either: variance, covariance with its speed, and the speed's variance
        self.var, self.cross, self.speed_var = sigma * sigma, 0.0, speed_sigma * speed_sigma

    def predict(self, powers: Powers, acceleration_sigma: float) -> None:
        dt, dt2, half_dt3, quarter_dt4 = powers
        noise, cross, speed_var = acceleration_sigma * acceleration_sigma, self.cross, self.speed_var
        self.a += dt * self.speed_a
        self.b += dt * self.speed_b
        self.var = self.var + 2 * dt * cross + dt2 * speed_var + noise * quarter_dt4
        self.cross = cross + dt * speed_var + noise * half_dt3
        self.speed_var = speed_var + noise * dt2

    def correct(self, a: float, b: float, sigma: float) -> None:
        var, cross = self.var, self.cross
        total = var + sigma * sigma
        gain, gain_speed = var / total, cross / total
        off_a, off_b = a - self.a, b - self.b
        self.a += gain * off_a
        self.b += gain * off_b
        self.speed_a += gain_speed * off_a
        self.speed_b += gain_speed * off_b
        self.speed_var -= gain_speed * cross
        self.var, self.cross = var * (1 - gain), cross * (1 - gain)


class Track:
    """A live track, begun by a person."""

    __slots__ = ("center", "last", "looks", "seen_s", "shot", "sides", "track_id", "wide")

    def __init__(self, track_id: int, person: Person, time_s: float, shot: int) -> None:
        x, y, width, height = self.last = person.place  # when last seen
        self.center = Filter(x, y, height * CENTER_SIGMA, height * START_SPEED_SIGMA)
        self.sides = Filter(width, height, height * SIDE_SIGMA, height * (START_SPEED_SIGMA / 4))
        self.track_id, self.looks, self.seen_s, self.shot = track_id, person.looks, time_s, shot
        self.wide = person.wide  # of the predicted box

    def predict(self, powers: Powers) -> None:
        center, sides = self.center, self.sides
        height = sides.b
        center.predict(powers, height * ACCELERATION_SIGMA)
        sides.predict(powers, height * SIDE_ACCELERATION_SIGMA)
        half_w, half_h = max(sides.a, 1.0) / 2, max(sides.b, 1.0) / 2
        self.wide = widened(center.a - half_w, center.b - half_h, center.a + half_w, center.b + half_h)

    def take(self, person: Person, time_s: float) -> int:
        """Update the track with the person it was matched to, and return its id."""
        x, y, width, height = self.last = person.place
        self.center.correct(x, y, height * CENTER_SIGMA)
        self.sides.correct(width, height, height * SIDE_SIGMA)
        self.looks, self.seen_s = self.looks.learned(person.looks), time_s
        return self.track_id


Rule: TypeAlias = Callable[[Person, list[Track], float], Costs]  # of a person among tracks at a time


class Tracker:
    """Assigns track ids to people, frame by frame. Its state is the live tracks, in the order of their ids."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._next_id = 1
        self._time_s = 0.0
        self._tracks: list[Track] = []

    def update(self, bodies: Bodies, starts: Sequence[int], shots: Sequence[int]) -> Int32:
        """Return the track ids (P,), from 1, of the people of whole frames; a track never crosses a shot boundary.

        ``starts`` are the frames' first rows, ``shots`` their shots. Call it in time order.
        """
        people = people_of(bodies, self.options.track_score_strong)
        spans, times = pairwise([*starts, len(people)]), bodies.time_s[starts].tolist()
        frames = zip(spans, times, shots, strict=True)
        ids = [each for (a, b), time_s, shot in frames for each in self._frame(people[a:b], time_s, shot)]
        return np.array(ids, np.int32)

    def _frame(self, people: list[Person], time_s: float, shot: int) -> list[int]:
        dt, self._time_s = time_s - self._time_s, time_s
        self._tracks = [track for track in self._tracks if time_s - track.seen_s <= self.options.track_memory_s]
        powers = dt, dt**2, dt**3 / 2, dt**4 / 4
        for track in self._tracks:
            track.predict(powers)
        free = [track for track in self._tracks if track.shot == shot]
        ids = [0] * len(people)

        def match(strong: bool, places: Rule, most: float) -> None:
            """Match the rest of the strong or weak people to free tracks at minimum total cost."""
            rows = [row for row, person in enumerate(people) if person.strong == strong and not ids[row]]
            if not (rows and free):
                return
            pairs = [(people[row], places(people[row], free, time_s)) for row in rows]
            columns = [cheapest(*each, free, time_s, most) for each in pairs]
            taken = {column for column in columns if column >= 0}
            if len(taken) + columns.count(-1) < len(columns):
                columns = assigned([in_full(*each, free, time_s, most) for each in pairs])
                taken = set(columns)
            for row, column in zip(rows, columns, strict=True):
                if column >= 0:
                    ids[row] = free[column].take(people[row], time_s)
            free[:] = [track for column, track in enumerate(free) if column not in taken]

        match(True, self._near, COST_MAX)
        match(False, self._near, COST_MAX)
        match(True, _far, RELINK_MAX)
        for row, person in enumerate(people):
            if not ids[row]:
                ids[row] = self._next_id
                self._tracks.append(Track(self._next_id, person, time_s, shot))
                self._next_id += 1
        return ids

    def _near(self, person: Person, tracks: list[Track], time_s: float) -> Costs:
        """Return 1 - IoU of the tracks whose predicted box overlaps the person's enough."""
        most = 1 - (self.options.track_iou_min if person.strong else self.options.track_iou_min_weak)
        x0, y0, x1, y1, area = person.wide
        costs = []
        for column, track in enumerate(tracks):
            left, top, right, bottom, track_area = track.wide
            if left < x1 and x0 < right and top < y1 and y0 < bottom:
                wide = (x1 if x1 < right else right) - (x0 if x0 > left else left)
                inter = wide * ((y1 if y1 < bottom else bottom) - (y0 if y0 > top else top))
                cost = 1 - inter / (area + track_area - inter)
                if cost <= most:
                    costs.append((cost, column))
        return costs


def _far(person: Person, tracks: list[Track], time_s: float) -> Costs:
    """Return the distances of lost tracks."""
    costs = []
    for column, track in enumerate(tracks):
        cost = distance(person.place, track.last, (track.center.a, track.center.b), time_s - track.seen_s)
        if cost <= RELINK_MAX:
            costs.append((cost, column))
    return costs


def cheapest(person: Person, places: Costs, tracks: list[Track], time_s: float, most: float) -> int:
    """Return the column of the least cost with appearance, -1 if all exceed ``most``; ``places`` are costs without."""
    least, found = most, -1
    for place, column in sorted(places):
        if place > least:
            break  # so does every later cost, as appearance only adds
        track = tracks[column]
        cost = place + appearance_cost(person.looks, track.looks, time_s - track.seen_s)
        if cost < least or (cost == least and not 0 <= found < column):
            least, found = cost, column
    return found


def in_full(person: Person, places: Costs, tracks: list[Track], time_s: float, most: float) -> Costs:
    """Return all costs with appearance that do not exceed ``most``."""
    looks = person.looks
    costs = (
        (place + appearance_cost(looks, tracks[column].looks, time_s - tracks[column].seen_s), column)
        for place, column in places
    )
    return [(cost, column) for cost, column in costs if cost <= most]


def distance(place: Place, last: Place, predicted: tuple[float, float], unseen_s: float) -> float:
    """Return the distance of a box from a lost one's last or predicted center, whichever is nearer.

    1 is the limit in position (REACH, REACH_S) or height (TALLER); the larger of the two counts.
    """
    away = min(math.dist(place[:2], last[:2]), math.dist(place[:2], predicted))
    taller = abs(math.log(place[3] / last[3])) / TALLER
    return max(away / ((REACH + REACH_S * unseen_s) * last[3]), taller)


def assigned(costs: list[Costs]) -> list[int]:
    """Return each row's column, -1 for none, at minimum total cost, where COST_MAX is the cost of staying alone."""
    chosen = [min(row)[1] if row else -1 for row in costs]
    taken = [column for column in chosen if column >= 0]
    if len(set(taken)) == len(taken):
        return chosen  # every row has its cheapest pair
    columns = sorted({column for row in costs for _, column in row})
    place = {column: number for number, column in enumerate(columns)}
    dense = np.full((len(costs), len(columns)), 10 * COST_MAX)
    for row, pairs in enumerate(costs):
        for cost, column in pairs:
            dense[row, place[column]] = cost
    numbers = lap.lapjv(dense, extend_cost=True, cost_limit=COST_MAX, return_cost=False)[0]
    return [columns[number] if number >= 0 else -1 for number in numbers.tolist()]


def people_of(bodies: Bodies, strong_score: float) -> list[Person]:
    """Return the rows as people."""
    boxes = bodies.bbox_xyxy.astype(np.float64)
    wide = zip(*(column.tolist() for column in widened(*boxes.T)), strict=True)
    strong = (bodies.det_score >= strong_score).tolist()
    return list(map(Person, places_of(boxes), wide, strong, appearances(bodies)))


def places_of(boxes: Float64) -> list[Place]:
    """Return the center and the sides of each box."""
    low, high = boxes[:, :2], boxes[:, 2:]
    return list(map(tuple, np.concatenate([(low + high) / 2, high - low], axis=1).tolist()))


def widened(x0: N, y0: N, x1: N, y1: N) -> tuple[N, N, N, N, N]:
    """Return a box, or the columns of many, with margins, and its area."""
    margin_x, margin_y = (x1 - x0) * WIDEN, (y1 - y0) * WIDEN
    x0, y0, x1, y1 = x0 - margin_x, y0 - margin_y, x1 + margin_x, y1 + margin_y
    return x0, y0, x1, y1, (x1 - x0) * (y1 - y0)
