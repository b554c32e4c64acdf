"""Smooth tracks: rotations as quaternions, positions as image direction and depth, one body shape per track."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import numpy as np

from ..errors import UsageError
from ..files import check_free, claims
from ..geometry import Array
from ..models.body import Body, load_body
from ..models.smpl_files import BETAS_MAX
from ..option import given
from ..rotations import rotation_vector, slerp
from ..tables import BAD_CAMERA, IMPLAUSIBLE, INTERPOLATED, ODD_DEPTH, Bool, Float32, Float64, Int64, Tracks
from .filters import one_euro, one_euro_turns, savgol, savgol_turns
from .level import Levels
from .motion import derivative, joint_turns, usual_step, weighted_median
from .options import SmoothKeywords, SmoothOptions
from .read import read_both
from .write import open_writer, output_format

FEET = (10, 11)
STAND_IN = "open-body"
LEAST_TRUST = 0.05
FIGURES = {
    "acceleration_m_s2": ("acceleration about the pelvis", "m/s2"),
    "jerk_m_s3": ("jerk about the pelvis", "m/s3"),
    "pelvis_acceleration_m_s2": ("acceleration of the pelvis", "m/s2"),
    "pelvis_jerk_m_s3": ("jerk of the pelvis", "m/s3"),
    "foot_skate_m_s": ("speed of the lower foot (skating)", "m/s"),
}


@dataclass(frozen=True)
class SmoothReport:
    """Result of one smoothing."""

    out: Path
    rows: int
    tracks: int
    filled: int  # rows added in gaps
    before: dict[str, float | None]
    after: dict[str, float | None]  # for the same rows
    warnings: list[str]

    def as_dict(self) -> dict[str, object]:
        """Return the report as plain values, for JSON."""
        return dataclasses.asdict(self) | {"out": str(self.out)}

    def lines(self) -> list[str]:
        """Return the report as lines of text."""
        head = f"{self.out}: {self.rows:,} rows, {self.tracks} tracks; {self.filled} rows filled in"
        return [head] + [
            f"  {title:34} {_number(self.before[name]):>7} -> {_number(self.after[name]):>7} {unit}"
            for name, (title, unit) in FIGURES.items()
        ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


@claims
def smooth(
    tracks: str | Path, out: str | Path, options: SmoothOptions | None = None, **keywords: Unpack[SmoothKeywords]
) -> SmoothReport:
    """Smooth the tracks of a file and write them to another file; the input file is not changed.

    Args:
        tracks: The tracks file to read.
        out: The tracks file to write.
        options: The filter and its settings; the defaults if None.
        **keywords: The fields of SmoothOptions, instead of ``options``.

    Raises:
        UsageError: ``out`` exists.
        InputError: The tracks cannot be read.
        OutputError: ``out`` cannot be written.
    """
    options, tracks, out = given(SmoothOptions, options, keywords), Path(tracks), Path(out)
    format = output_format(out)
    check_free(out, options.overwrite, tracks)
    rows, meta = read_both(tracks)
    body, warnings = _body(meta["body"]["name"])
    steady = smoothed(rows, body, options)
    same = steady[(steady.flags & INTERPOLATED) == 0]
    before, after = steadiness(rows[(rows.flags & INTERPOLATED) == 0], body), steadiness(same, body)
    filled = len(steady) - len(rows)
    settings = {k: v for k, v in dataclasses.asdict(options).items() if k != "overwrite"}
    meta["smoothing"] = settings | {"filled": filled, "before": before, "after": after}
    if not warnings:  # the body is known
        meta["level"] = Levels.find(steady, body, "auto", meta).facts()
    meta.setdefault("counts", {})["rows"] = len(steady)
    meta["counts"].setdefault("flags", {})["interpolated"] = int((steady.flags & INTERPOLATED != 0).sum())
    with open_writer(format, out, rows, meta, options.overwrite) as writer:
        writer.write(steady)
        writer.finish()
    return SmoothReport(out, len(steady), len(np.unique(rows.track_id)), filled, before, after, warnings)


def _body(name: str) -> tuple[Body, list[str]]:
    try:
        return load_body(name), []
    except UsageError:
        plain = load_body(STAND_IN)
        shapeless = dataclasses.replace(plain, joint_dirs_m=np.zeros((*plain.rest_joints_m.shape, BETAS_MAX)))
        return shapeless, [f"the body {name!r} is not here: figures are those of {STAND_IN!r}'s skeleton"]


def smoothed(tracks: Tracks, body: Body, options: SmoothOptions) -> Tracks:
    """Return smoothed tracks in the usual order; short gaps are filled with rows flagged ``interpolated``.

    Boxes, crops and crop cameras are not changed. A row with an impossible camera keeps its ``transl``. A row of odd
    depth is positioned from its neighbours. An implausible row between plausible ones takes its pose from them and
    loses its flag.
    """
    clock = _Clock(tracks)
    limit_s = max(options.max_gap_s, 1.5 * clock.step_s)
    parts = [tracks[:0]]
    for track_id in np.unique(tracks.track_id):
        rows = tracks[tracks.track_id == track_id]
        betas = weighted_median(rows.betas, rows.det_score).astype(np.float32)
        for start, stop in _unbroken(rows.time_s, limit_s):
            parts.append(_piece(clock.filled(rows[start:stop]), betas, body, options))
    whole = Tracks.concat(parts)
    return whole[np.lexsort((whole.track_id, whole.frame_idx))]


def _unbroken(time_s: Float64, limit_s: float) -> Iterator[tuple[int, int]]:
    cuts = np.flatnonzero(np.diff(time_s) > limit_s) + 1
    yield from zip([0, *cuts], [*cuts, len(time_s)], strict=True)


class _Clock:
    """The frames and timestamps between the rows of a track, interpolated from all tracks of the video."""

    def __init__(self, tracks: Tracks) -> None:
        self._frames, first = np.unique(tracks.frame_idx, return_index=True)
        self._pts, self._time_s = tracks.pts[first], tracks.time_s[first]
        self.step, self.step_s = usual_step(tracks)

    def filled(self, rows: Tracks) -> Tracks:
        """Return the rows of one piece, with an interpolated and flagged row for each missing frame."""
        gaps = np.diff(rows.frame_idx)
        missing = [
            np.arange(frame + self.step, frame + gap, self.step)
            for frame, gap in zip(rows.frame_idx, gaps, strict=False)
            if gap > self.step
        ]
        if not missing:
            return rows
        frames = np.concatenate(missing)
        after = np.searchsorted(rows.frame_idx, frames)
        time_s = np.interp(frames, self._frames, self._time_s)
        share = (time_s - rows.time_s[after - 1]) / (rows.time_s[after] - rows.time_s[after - 1])
        first, second = rows[after - 1], rows[after]
        columns = first.columns()
        for name in ("bbox_xyxy", "betas", "transl", "pred_cam", "crop_center_size_px", "focal_px"):
            low, high = getattr(first, name), getattr(second, name)
            part = share.reshape(-1, *[1] * (low.ndim - 1))
            columns[name] = (low + part * (high - low)).astype(np.float32)
        turns = slerp(joint_turns(first), joint_turns(second), share[:, None, None])
        columns |= _rotations(turns)
        columns["frame_idx"], columns["time_s"] = frames, time_s
        columns["pts"] = np.rint(np.interp(frames, self._frames, self._pts)).astype(np.int64)
        for name in ("det_score", *Tracks.optional()):
            if name in columns:
                columns[name] = np.zeros_like(columns[name])
        bad = (first.flags | second.flags) & (BAD_CAMERA | ODD_DEPTH | IMPLAUSIBLE)
        columns["flags"] = (bad | INTERPOLATED).astype(np.uint16)
        both = Tracks.concat([rows, Tracks(**columns)])
        return both[np.argsort(both.frame_idx, kind="stable")]


def _rotations(turns: Array) -> dict[str, Float32]:
    vectors = rotation_vector(turns).astype(np.float32).reshape(len(turns), -1)
    return {"global_orient": vectors[:, :3].copy(), "body_pose": vectors[:, 3:].copy()}


def _piece(rows: Tracks, betas: Float32, body: Body, options: SmoothOptions) -> Tracks:
    turns, good = joint_turns(rows), (rows.flags & BAD_CAMERA) == 0
    mended = _between_others((rows.flags & IMPLAUSIBLE) != 0)
    told = ((rows.flags & (BAD_CAMERA | ODD_DEPTH)) == 0) & ~mended  # rows whose position is reliable
    shape = np.tile(betas, (len(rows), 1))
    pelvis = rows.transl + body.rest_joints(rows.betas.astype(np.float64))[:, 0]
    depth = np.where(good, pelvis[:, 2], 1)
    # The pelvis as image direction and log depth: depth has the largest errors, and they leave the direction intact.
    seen = np.column_stack([pelvis[:, 0] / depth, pelvis[:, 1] / depth, np.log(np.maximum(depth, 1e-3))])
    if options.method == "savgol":
        unseen = (rows.flags & INTERPOLATED > 0) | mended
        weight = np.where(unseen, 0, np.maximum(rows.det_score, 0.05) * _trust(rows))
        turns = savgol_turns(turns, rows.time_s, weight, options.sigma_s)
        seen = savgol(seen, rows.time_s, weight * told, options.sigma_s)
    else:
        turns[mended] = turns[np.maximum.accumulate(np.where(mended, -1, np.arange(len(rows))))[mended]]
        turns = one_euro_turns(turns, rows.time_s, options)
        before = np.maximum.accumulate(np.where(told, np.arange(len(rows)), -1))
        odd = np.flatnonzero(good & ~told & (before >= 0))
        seen[odd] = seen[before[odd]]
        seen[good] = one_euro(seen[good], np.exp(seen[good, 2:]), rows.time_s[good], options)
    depth = np.exp(seen[:, 2])
    steady = np.column_stack([seen[:, 0] * depth, seen[:, 1] * depth, depth])
    steady -= body.rest_joints(shape.astype(np.float64))[:, 0]
    transl = np.where(good[:, None], steady, rows.transl).astype(np.float32)
    flags = rows.flags & ~(mended * np.uint16(IMPLAUSIBLE))
    return Tracks(**(rows.columns() | _rotations(turns) | {"betas": shape, "transl": transl, "flags": flags}))


def _trust(rows: Tracks) -> Float64:
    """Return by how much rows (N,) count in a mean: the root of their confidence, which is 1 if they have none."""
    told = np.ones(len(rows)) if rows.confidence is None else rows.confidence.astype(np.float64)
    trust: Float64 = np.sqrt(np.clip(np.nan_to_num(told), LEAST_TRUST, 1))
    return trust


def _between_others(bad: Bool) -> Bool:
    """Return the mask (N,) of ``bad`` rows that have a good row somewhere before and after them."""
    sound = np.flatnonzero(~bad)
    place = np.arange(len(bad))
    return bad & (place > sound[0]) & (place < sound[-1]) if len(sound) else np.zeros_like(bad)


def steadiness(tracks: Tracks, body: Body) -> dict[str, float | None]:
    """Return metrics of jitter and foot skating in the camera frame; None where there is nothing to measure.

    ``acceleration_m_s2`` and ``jerk_m_s3``: mean over the joints relative to the pelvis; ``pelvis_...``: of the pelvis.
    ``foot_skate_m_s``: mean horizontal speed of the lower foot, which stands still in walking. All are measured over
    consecutive frames and assume a level camera.
    """
    step = usual_step(tracks)[0]
    found: dict[str, list[Float64]] = {name: [] for name in FIGURES}
    for track_id in np.unique(tracks.track_id):
        rows = tracks[(tracks.track_id == track_id) & ((tracks.flags & BAD_CAMERA) == 0)]
        joints = body.joints(rows.global_orient, rows.body_pose, rows.betas.astype(np.float64), rows.transl)
        at = rows.frame_idx, rows.time_s
        for order, kind in ((2, "acceleration_m_s2"), (3, "jerk_m_s3")):
            if len(rows) > order:
                found[kind].append(derivative(joints[:, 1:] - joints[:, :1], *at, order, step))
                found[f"pelvis_{kind}"].append(derivative(joints[:, :1], *at, order, step))
        if len(rows) > 1:
            found["foot_skate_m_s"].append(_skate(joints[:, FEET], *at, step))
    return {name: _mean(parts) for name, parts in found.items()}


def _skate(feet: Array, frame_idx: Int64, time_s: Float64, step: int) -> Float64:
    """Return the horizontal speed (N-1,) of the foot that is lower on average over both frames; NaN across gaps."""
    lower = (feet[1:, :, 1] + feet[:-1, :, 1]).argmax(axis=1)
    moved = np.linalg.norm(np.diff(feet[..., [0, 2]], axis=0), axis=-1)
    speed = np.take_along_axis(moved, lower[:, None], axis=1)[:, 0] / np.diff(time_s)
    return np.where(np.diff(frame_idx) == step, speed, np.nan)


def _mean(parts: list[Float64]) -> float | None:
    values = np.concatenate([np.zeros(0), *parts])
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else None
