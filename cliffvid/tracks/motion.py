"""Turn tracks into motion: continuous pieces of one person, at the video's timestamps or a fixed rate, in any axes."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..geometry import Array
from ..models.body import Body
from ..rotations import axis_angle, quaternion, rotation_matrix, rotation_vector, slerp
from ..tables import BAD_CAMERA, Float64, Int64, Tracks
from .level import Level, Levels, grounded

# From level axes as the camera's (x right, y down, z forward) to those of the target program.
Y_UP: Float64 = np.diag([1.0, -1.0, -1.0])  # x right, y up, z towards the camera
Z_UP: Float64 = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # x right, y away from the camera, z up


@dataclass(frozen=True, eq=False)
class Piece:
    """A continuous piece of one person's track. Rotations are unit quaternions x, y, z, w, parent-relative."""

    track_id: int
    number: int  # index among the track's pieces, from 1
    time_s: Float64  # (F,)
    turns: Array  # (F,J,4), consecutive frames in the same hemisphere
    pelvis_m: Array  # (F,3)
    betas: Float64  # (B,), one for all pieces of a track
    level: Level  # of the camera; if it has a floor, that is at height 0, else the camera

    def __len__(self) -> int:
        return len(self.time_s)

    def joints(self, body: Body) -> Float64:
        """Return the joints (F,J,3) in metres, in the axes of the piece."""
        turns = rotation_vector(self.turns)
        betas = np.broadcast_to(self.betas, (len(self), len(self.betas)))
        transl = self.pelvis_m - body.rest_joints(self.betas[None])[0, 0]
        return body.joints(turns[:, 0], turns[:, 1:].reshape(len(self), -1), betas, transl)


@dataclass(frozen=True, eq=False)
class SceneFacts:
    """What a file with several people's motion has in common."""

    body: Body
    name: str  # of the video
    rate: float  # rows of a track per second
    size_px: tuple[float, float]  # of the smallest frame around the principal point that holds the video
    focal_px: float
    skeleton_only: bool  # without the body's surface


@dataclass
class Gaps:
    """Counts of the gaps in tracks."""

    impossible: int = 0  # rows dropped because their translation is unusable
    bridged: int = 0  # gaps across which the motion is interpolated
    split: int = 0  # longer gaps, at which the motion is split

    def warnings(self, max_gap_s: float) -> list[str]:
        counts = [
            (self.impossible, "rows with an impossible camera left out"),
            (self.bridged, f"gaps of up to {max_gap_s:g} s interpolated"),
            (self.split, f"gaps longer than {max_gap_s:g} s, at which the motion is cut in pieces"),
        ]
        return [f"{count} {what}" for count, what in counts if count]


def pieces(tracks: Tracks, body: Body, axes: Float64, levels: Levels, max_gap_s: float, gaps: Gaps) -> Iterator[Piece]:
    """Yield the motion of each track in turn, split at gaps longer than ``max_gap_s``; gaps are counted in ``gaps``.

    It is levelled, and then turned by ``axes``. At low frame rates, the usual time between frames is no gap.
    """
    good = (tracks.flags & BAD_CAMERA) == 0
    gaps.impossible += int((~good).sum())
    tracks = grounded(_of_one_shape(tracks[good], body), body, levels)
    step, step_s = usual_step(tracks)
    limit_s = max(max_gap_s, 1.5 * step_s)
    for track_id in np.unique(tracks.track_id):
        rows = tracks[tracks.track_id == track_id]
        after_s, after = np.diff(rows.time_s), np.diff(rows.frame_idx)
        cuts = np.flatnonzero(after_s > limit_s) + 1
        gaps.split += len(cuts)
        gaps.bridged += int(((after_s <= limit_s) & (after > step)).sum())
        for number, part in enumerate(np.split(np.arange(len(rows)), cuts), start=1):
            yield _piece(rows[part], number, body, axes, levels.at(int(rows.frame_idx[part[0]])))


def _of_one_shape(tracks: Tracks, body: Body) -> Tracks:
    """Return the tracks with one body shape for each, which lets the feet stand still; the pelves stay."""
    betas = tracks.betas.copy()
    for track_id in np.unique(tracks.track_id):
        rows = tracks.track_id == track_id
        betas[rows] = weighted_median(tracks.betas[rows], tracks.det_score[rows])
    before, after = (body.rest_joints(each.astype(np.float64))[:, 0] for each in (tracks.betas, betas))
    transl = (tracks.transl + before - after).astype(tracks.transl.dtype)
    return replace(tracks, betas=betas, transl=transl)


def _piece(rows: Tracks, number: int, body: Body, axes: Float64, level: Level) -> Piece:
    betas = rows.betas.astype(np.float64)
    turns = joint_turns(rows)
    root = axes @ level.axes @ rotation_matrix(rows.global_orient)
    turns[:, 0] = quaternion(axis_angle(root))
    pelvis = (body.rest_joints(betas)[:, 0] + rows.transl) @ level.axes.T
    pelvis[:, 1] += level.floor_m or 0
    return Piece(int(rows.track_id[0]), number, rows.time_s, steady_signs(turns), pelvis @ axes.T, betas[0], level)


def level_joints(tracks: Tracks, body: Body, axes: Float64, levels: Levels) -> Float64:
    """Return the joints (P,J,3) of a table's rows on the floor, turned by ``axes``; NaN without a usable camera."""
    joints = np.full((len(tracks), len(body.parents), 3), np.nan)
    good = np.flatnonzero((tracks.flags & BAD_CAMERA) == 0)
    rows = grounded(_of_one_shape(tracks[good], body), body, levels)
    span = np.searchsorted(levels.starts, rows.frame_idx, side="right") - 1
    for k in np.unique(span):
        some, level = rows[span == k], levels.levels[k]
        places = body.joints(some.global_orient, some.body_pose, some.betas, some.transl) @ level.axes.T
        places[..., 1] += level.floor_m or 0
        joints[good[span == k]] = places @ axes.T
    return joints


def joint_turns(rows: Tracks) -> Array:
    """Return the parent-relative rotations of a table's joints as unit quaternions (P,J,4)."""
    return quaternion(np.concatenate([rows.global_orient, rows.body_pose], axis=1).reshape(len(rows), -1, 3))


def steady_signs(turns: Array) -> Array:
    """Return the same rotations (F,J,4), with each quaternion in the same hemisphere as the previous one."""
    flips = np.where((turns[1:] * turns[:-1]).sum(axis=-1, keepdims=True) < 0, -1, 1)
    return np.concatenate([turns[:1], turns[1:] * np.cumprod(flips, axis=0)])


def on_even_clock(piece: Piece, fps: float) -> Piece:
    """Resample a piece to ``fps`` from its first row, by timestamp: rotations by slerp, positions linearly."""
    if len(piece) == 1:
        return piece
    count = int((piece.time_s[-1] - piece.time_s[0]) * fps + 1e-6) + 1
    times = piece.time_s[0] + np.arange(count) / fps
    after = np.clip(np.searchsorted(piece.time_s, times), 1, len(piece) - 1)
    before = after - 1
    share = (times - piece.time_s[before]) / (piece.time_s[after] - piece.time_s[before])
    share = np.clip(share, 0, 1)
    turns = slerp(piece.turns[before], piece.turns[after], share[:, None, None])
    pelvis = piece.pelvis_m[before] + share[:, None] * (piece.pelvis_m[after] - piece.pelvis_m[before])
    return replace(piece, time_s=times, turns=steady_signs(turns), pelvis_m=pelvis)


def usual_step(tracks: Tracks) -> tuple[int, float]:
    """Return the median step between consecutive rows of a track, in frames and seconds; 1 and 0 if there is none."""
    order = np.lexsort((tracks.frame_idx, tracks.track_id))
    same = np.diff(tracks.track_id[order]) == 0
    if not same.any():
        return 1, 0.0
    frames, times = (np.median(np.diff(column[order])[same]) for column in (tracks.frame_idx, tracks.time_s))
    return int(frames), float(times)


def usual_rate(tracks: Tracks) -> float:
    """Return the usual number of rows per second of a track, to six digits; 25 if there is none."""
    return float(f"{1 / (usual_step(tracks)[1] or 0.04):.6g}")


def derivative(places: Array, frame_idx: Int64, time_s: Float64, order: int, step: int = 1) -> Float64:
    """Return the mean norm (N-order,) of the time derivative of positions (N,J,3), by divided differences.

    Timestamps may be uneven. NaN where the rows are not ``step`` frames apart.
    """
    found = places
    for k in range(1, order + 1):
        span = time_s[k:] - time_s[:-k]
        found = k * np.diff(found, axis=0) / span[:, None, None]
    apart = frame_idx[order:] - frame_idx[: len(frame_idx) - order]
    return np.where(apart == order * step, np.linalg.norm(found, axis=2).mean(axis=1), np.nan)


def weighted_median(values: Array, weights: Array) -> Float64:
    """Return the weighted median (B,) of each column of values (N,B); unweighted if no weight is positive."""
    weights = np.where(weights > 0, weights, 0).astype(np.float64)
    weights = weights if weights.sum() > 0 else np.ones(len(values))
    order = np.argsort(values, axis=0, kind="stable")
    below = np.cumsum(weights[order], axis=0)
    total = weights.sum()
    low, high = ((below < total / 2 + shift * total).sum(axis=0) for shift in (-1e-9, 1e-9))
    column = np.arange(values.shape[1])
    pick = [values[order[np.minimum(i, len(values) - 1), column], column].astype(np.float64) for i in (low, high)]
    middle: Float64 = (pick[0] + pick[1]) / 2
    return middle
