"""Find which way is up and where the floor is, and stand people on it.

Nothing but the tracks is needed. Bodies that stand say which way is up, to some degrees. People's feet, all on one
plane, say it better the further apart they stand. Distances along the line of sight are the weak point of a single
camera; where a foot is seen and the floor is known, they follow. A camera that moves is taken to be level.
"""

from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from ..models.body import Body
from ..names import listed
from ..tables import BAD_CAMERA, NOT_DRAWN, Bool, Float64, Int64, Tracks
from .filters import running_median
from .meta import LevelFacts, Meta, shots_of

CAMERA_UP: Float64 = np.array([0.0, -1.0, 0.0])  # of a camera that is held level
LEGS = ((1, 4), (4, 7), (2, 5), (5, 8))  # thighs and shins, by their joints
HIPS, ANKLES, FEET, NECK = (1, 2), (7, 8), (7, 8, 10, 11), 12
JOINTS = 1 + NECK  # the first ones, which are all that is looked at
STRAIGHT = 0.93  # distance of neck and ankles over the length of body and legs of a person who stands
LEAN_MAX_DEG = 60.0  # a straight body further from the camera's own up does not stand: it is lying
STANDING_MIN = 5  # fewer rows of standing people say nothing
LEAN_DEG = 6.0  # standard deviation of how a person leans, of whom this is one look
VOTE_S = 2.0  # a track of this length is one look at a person
BIAS_DEG = 3.0  # of all bodies of a film, whose lean towards the camera networks underrate
OFF = 0.2  # standard deviation of a foot's height over the camera's: what is uncertain is the depth
LOOKS_S, LOOKS_MAX = 1.0, 5.0  # a track is a new look at the floor each second, and at most so many
SURE_DEG = 8.0  # standard error of up below which it is better than to believe that the camera is level
NEAR = 1.4  # a person's depth may be so many times too large or small, else they stand on another floor
AIRBORNE = 0.06  # a foot is off the ground if its depth on the floor is off by this share from that of the time around
CALM_S = 0.5  # half of that time
MOST_NEAR = 0.9  # share of such rows in a track that is on this floor
ROUNDS = 30
ROWS_MAX = 20_000  # beyond it only every second, third, ... row is looked at


@dataclass(frozen=True, eq=False)
class Level:
    """Which way is up in a camera's frame, and where the floor is."""

    up: Float64  # (3,) unit vector
    floor_m: float | None = None  # the floor's height along ``up``, seen from the camera: below 0; None: unknown
    sigma_deg: float | None = None  # standard error of ``up``; None: given
    moves: bool = False  # the camera does

    @property
    def axes(self) -> Float64:
        """Return the rotation (3,3) from the camera's frame to one that is level: y down, z ahead of the camera."""
        down = -self.up
        ahead = np.array([0.0, 0, 1]) - down[2] * down
        if np.linalg.norm(ahead) < 1e-6:  # the camera looks straight down or up
            ahead = np.array([0.0, 1, 0]) - down[1] * down
        ahead /= np.linalg.norm(ahead)
        return np.stack([np.cross(down, ahead), down, ahead])

    @property
    def sure(self) -> bool:
        """Return whether it is better than to believe that the camera is level."""
        return self.sigma_deg is None or self.sigma_deg <= SURE_DEG

    def words(self) -> str:
        """Return how the camera is held, in words."""
        moves = "the camera moves and" if self.moves else "the camera"
        if self.floor_m is None and self.up is CAMERA_UP:
            return f"{moves} is taken to be level"
        pitch = np.degrees(np.arcsin(np.clip(-self.up[2], -1, 1)))
        roll = np.degrees(np.arctan2(self.up[0], -self.up[1]))
        error = "" if self.sigma_deg is None else f" (by {self.sigma_deg:.0f} degrees)"
        way = "down" if pitch > 0 else "up"
        where = "no floor below it" if self.floor_m is None else f"{-self.floor_m:.1f} m above the floor"
        rolled = f", rolled {roll:.0f}" if abs(pitch) < 89 else ""
        return f"{moves} looks {abs(pitch):.0f} degrees {way}{error}{rolled}, {where}"


@dataclass(frozen=True, eq=False)
class Levels:
    """The level of each shot of a video."""

    starts: tuple[int, ...]  # the first frame of each span, ascending, from 0
    levels: tuple[Level, ...]

    def at(self, frame_idx: int) -> Level:
        """Return the level of a frame."""
        return self.levels[bisect_right(self.starts, frame_idx) - 1]

    def words(self) -> str:
        """Return how the camera is held in each shot, in words."""
        names = [""] if len(self.levels) == 1 else [f"from frame {start} on " for start in self.starts]
        return "; ".join(name + level.words() for name, level in zip(names, self.levels, strict=True))

    def warnings(self) -> list[str]:
        """Return a warning if up and the floor were found for a camera that moves."""
        pairs = zip(self.starts, self.levels, strict=True)
        at = [str(start) for start, level in pairs if level.moves and level.sigma_deg is not None]
        where = "" if len(self.levels) == 1 else f" in the shots from frame {listed(at[:3], len(at))} on"
        return (
            [f"the camera moves{where}: no one up and floor hold for a whole shot; --up auto takes none"] if at else []
        )

    def facts(self) -> list[LevelFacts]:
        """Return the level from each of ``starts`` on as plain values, for metadata."""
        pairs = zip(self.starts, self.levels, strict=True)
        return [
            {
                "from_frame": at,
                "up": level.up.tolist(),
                "floor_m": level.floor_m,
                "up_sigma_deg": level.sigma_deg,
                "camera_moves": level.moves,
            }
            for at, level in pairs
        ]

    @classmethod
    def find(cls, tracks: Tracks, body: Body, up: str, meta: Meta | None = None) -> Self:
        """Return the levels of a video's shots, by ``--up``: ``auto``, ``floor``, ``camera`` or a vector.

        ``auto`` takes what the people of a shot say where it is sure and the camera stands, else the camera's own axes.
        ``meta``: that of the tracks, where shots and moving cameras are named; without it there is one shot.
        """
        meta = meta or {}
        shots, moving = shots_of(meta), meta.get("counts", {}).get("moving", [])
        starts, shot_of = [0, *(first for first, _ in shots)], [0, *(shot for _, shot in shots)]
        which = np.array(shot_of)[np.searchsorted(starts, tracks.frame_idx, side="right") - 1]
        order = np.argsort(which, kind="stable")
        tracks, which = tracks[order], which[order]
        found = {}
        for shot in set(shot_of):
            first, end = np.searchsorted(which, (shot, shot + 1)).tolist()
            moves = shot in moving
            level = _level(tracks[first:end], body, "camera" if moves and up == "auto" else up)
            found[shot] = replace(level, moves=moves)
        return cls(tuple(starts), tuple(found[shot] for shot in shot_of))


def _level(tracks: Tracks, body: Body, up: str) -> Level:
    if up == "camera":
        return Level(CAMERA_UP)
    if up in ("auto", "floor"):
        level = find_level(tracks, body)
        return level if level and (level.sure or up == "floor") else Level(CAMERA_UP)
    vector = np.array([float(part) for part in up.split(",")])
    return on_floor(tracks, body, vector / np.linalg.norm(vector))


def find_level(tracks: Tracks, body: Body) -> Level | None:
    """Return up and the floor as the people of one shot show them; None if nobody stands below the camera."""
    tracks, joints = posed_rows(tracks, body)
    standing, axis = _standing(joints)
    standing &= axis @ CAMERA_UP >= np.cos(np.radians(LEAN_MAX_DEG))
    if standing.sum() < STANDING_MIN:
        return None
    up, looks = _upright(tracks, axis, standing)
    sigma = np.radians(np.hypot(BIAS_DEG, LEAN_DEG / np.sqrt(looks)))
    level = _on_plane(tracks, joints, up, sigma, body)
    return level if level.floor_m is not None and level.floor_m < 0 else None


def on_floor(tracks: Tracks, body: Body, up: Float64) -> Level:
    """Return the level with that ``up``, (3,) of length 1, and the floor below people's feet."""
    tracks, joints = posed_rows(tracks, body)
    if not len(tracks):
        return Level(up)
    _, height = _lower_foot(joints, up)
    floor = _middle(height, _looks(tracks))[0] - sole_m(body)
    return Level(up, floor if floor < 0 else None)


def sole_m(body: Body) -> float:
    """Return the height of the foot's joint above the sole."""
    return float(body.rest_joints_m[FEET[-1], 1] - body.rest_m.reshape(3, -1)[1].min())


def grounded(tracks: Tracks, body: Body, levels: Levels) -> Tracks:
    """Return the tracks with people moved along their lines of sight until their lower feet are on the floor.

    That gives them the distance that the place of a foot on a known floor has, which is far more exact than one from a
    person's size, so they walk straight and at the right speed. Who jumps keeps the height; tracks that are on no floor
    are left as they are.
    """
    transl = tracks.transl.astype(np.float64)
    sole = sole_m(body)
    order = np.lexsort((tracks.time_s, tracks.track_id))
    for rows in np.split(order, np.flatnonzero(np.diff(tracks.track_id[order])) + 1) if len(order) else []:
        level = levels.at(int(tracks.frame_idx[rows[0]]))
        rows = rows[(tracks.flags[rows] & BAD_CAMERA) == 0]
        if level.floor_m is None or not len(rows):
            continue
        some = tracks[rows]
        joints = body.joints(some.global_orient, some.body_pose, some.betas, some.transl, JOINTS)
        foot, height = _lower_foot(joints, level.up)
        seen = (height < 0) & ((some.flags & NOT_DRAWN) == 0)
        times = (level.floor_m + sole) / np.where(seen, height, np.nan)
        usual = running_median(times, some.time_s, CALM_S)
        near = (usual < NEAR) & (usual > 1 / NEAR)  # NaN is not
        if near.mean() < MOST_NEAR:
            continue
        times = np.where((times < NEAR) & (times > 1 / NEAR), times, np.nan)
        depth = times * foot[:, 2]
        around = running_median(depth, some.time_s, CALM_S)
        depth = np.where(np.abs(np.log(depth / around)) <= AIRBORNE, depth, around)
        known = np.isfinite(depth)
        if not known.any():
            continue
        depth = np.interp(some.time_s, some.time_s[known], depth[known])
        transl[rows] += (depth / foot[:, 2] - 1)[:, None] * foot
    columns = tracks.columns() | {"transl": transl.astype(tracks.transl.dtype)}
    return Tracks(**columns)


def posed_rows(tracks: Tracks, body: Body) -> tuple[Tracks, Float64]:
    """Return the rows that are looked at, and their first JOINTS joints (P,J,3)."""
    if len(tracks) > ROWS_MAX:  # every nth row of each track: those of a frame are in the order of their tracks
        tracks = tracks[np.sort(np.argsort(tracks.track_id, kind="stable")[:: 1 + len(tracks) // ROWS_MAX])]
    given = tracks.global_orient, tracks.body_pose, tracks.betas, tracks.transl
    good = (tracks.flags & NOT_DRAWN) == 0
    tracks = tracks[good & np.all([np.isfinite(column).all(axis=1) for column in given], axis=0)]
    return tracks, body.joints(tracks.global_orient, tracks.body_pose, tracks.betas, tracks.transl, JOINTS)


def _standing(joints: Float64) -> tuple[Bool, Float64]:
    """Return who stands (P,), legs and back straight, and the direction (P,3) from the ankles to the neck."""
    ankles, hips, neck = joints[:, ANKLES].mean(axis=1), joints[:, HIPS].mean(axis=1), joints[:, NECK]
    legs = sum(np.linalg.norm(joints[:, a] - joints[:, b], axis=1) for a, b in LEGS) / 2
    axis = neck - ankles
    length = np.linalg.norm(axis, axis=1)
    standing: Bool = length >= STRAIGHT * (legs + np.linalg.norm(neck - hips, axis=1))
    return standing, axis / np.maximum(length, 1e-9)[:, None]


def _upright(tracks: Tracks, axis: Float64, standing: Bool) -> tuple[Float64, float]:
    """Return the robust mean of the directions of those who stand, and how many looks at people it is made of."""
    track, seconds = _seen_s(tracks)
    vote = np.clip(seconds / VOTE_S, 0.1, 1)
    rows = np.bincount(track, standing)
    weight = (vote / np.maximum(rows, 1))[track] * standing
    up = weight @ axis
    for _ in range(10):
        off_deg = np.degrees(np.arccos(np.clip(axis @ up / np.linalg.norm(up), -1, 1)))
        up = (weight / (1 + (off_deg / LEAN_DEG) ** 2)) @ axis
    return up / np.linalg.norm(up), float(vote[rows > 0].sum())


def _on_plane(tracks: Tracks, joints: Float64, prior: Float64, sigma: float, body: Body) -> Level:
    """Return the level whose floor fits the lower feet and whose up fits the bodies', which is off by ``sigma`` rad."""
    up, looks = prior, _looks(tracks)
    for _ in range(ROUNDS):
        foot, height = _lower_foot(joints, up)
        floor, off, weight = _middle(height, looks)
        first = np.cross(up, [1.0, 0, 0])
        first /= np.linalg.norm(first)
        tangents = np.stack([first, np.cross(up, first)])
        away = foot - weight @ foot / weight.sum()
        slope = away @ tangents.T
        normal = (slope.T * weight) @ slope / off**2 + np.eye(2) / sigma**2
        step = np.linalg.solve(normal, tangents @ prior / sigma**2 - (slope.T * weight) @ (away @ up) / off**2)
        step *= min(1, 0.2 / max(float(np.linalg.norm(step)), 1e-9))
        up = up + step @ tangents
        up /= np.linalg.norm(up)
        if np.abs(step).max() < 1e-7:
            break
    error = np.degrees(np.sqrt(np.linalg.eigvalsh(np.linalg.inv(normal))[-1]))
    return Level(up, floor - sole_m(body), float(error))


def _looks(tracks: Tracks) -> Float64:
    """Return how much each row counts: all rows of a track together as many looks as it has seconds, and a few."""
    track, seconds = _seen_s(tracks)
    return (np.clip(seconds / LOOKS_S, 0.2, LOOKS_MAX) / np.bincount(track))[track]


def _seen_s(tracks: Tracks) -> tuple[Int64, Float64]:
    """Return the number of each row's track (P,), and the seconds between first and last row of each track (T,)."""
    ids, track = np.unique(tracks.track_id, return_inverse=True)
    first, last = np.full(len(ids), np.inf), np.full(len(ids), -np.inf)
    np.minimum.at(first, track, tracks.time_s)
    np.maximum.at(last, track, tracks.time_s)
    return track.astype(np.int64), last - first


def _lower_foot(joints: Float64, up: Float64) -> tuple[Float64, Float64]:
    """Return the lowest joint (P,3) of each person's feet, and its height along ``up`` (P,)."""
    feet = joints[:, FEET]
    which = (feet @ up).argmin(axis=1)
    foot = feet[np.arange(len(feet)), which]
    return foot, foot @ up


def _middle(height: Float64, looks: Float64) -> tuple[float, float, Float64]:
    """Return the robust mean of heights, their standard deviation, and the weights by which it is made."""
    weight, middle = looks, float(np.average(height, weights=looks))
    for _ in range(5):
        off = OFF * abs(middle) + 0.02
        weight = looks / (1 + ((height - middle) / (2 * off)) ** 2)
        middle = float(np.average(height, weights=weight))
    return middle, off, weight
