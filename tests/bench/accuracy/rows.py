"""Rows of tracks that no person can have, and how tracks jitter: what needs no truth."""

import numpy as np

from cliffvid.geometry import box_iou, project
from cliffvid.models.body import Body
from cliffvid.tables import AT_BORDER, BAD_CAMERA, NOT_DRAWN, Tracks
from cliffvid.tracks.smooth import steadiness

Array = np.ndarray
APART_IOU = 0.3  # of the posed body's box and the detected one
LYING_DEG, UPRIGHT_DEG = 60.0, 30.0  # from neck to pelvis against the film's usual direction; where most are upright
SCALE_OFF = 1.7  # times as large, or as small, as people in the film usually are
NECK, PELVIS = 12, 0
BLOCK = 64  # people posed at once


def implausible(rows: Tracks, body: Body, size_wh: tuple[int, int]) -> dict[str, Array]:
    """Return masks (P,) by reason of rows that no person can have."""
    joints = body.joints(rows.global_orient, rows.body_pose, rows.betas, rows.transl)
    return {
        "apart": _apart(rows, body, size_wh),
        "lying": _lying(joints[:, NECK] - joints[:, PELVIS]),
        "scale": _scale_off(rows),
    }


def _apart(rows: Tracks, body: Body, size_wh: tuple[int, int]) -> Array:
    """Whether the posed body's box in the frame and the detected box hardly overlap."""
    apart = (rows.flags & BAD_CAMERA) > 0
    for start in range(0, len(rows), BLOCK):
        some = rows[start : start + BLOCK]
        surface = body.surface(some.global_orient, some.body_pose, some.betas, some.transl)[0]
        pixels = np.clip(project(surface, some.focal_px, (size_wh[0] / 2, size_wh[1] / 2)), 0, size_wh)
        posed = np.hstack([pixels.min(axis=1), pixels.max(axis=1)])
        apart[start : start + BLOCK] |= np.diagonal(box_iou(posed, some.bbox_xyxy)) < APART_IOU
    return apart


def _lying(up: Array) -> Array:
    """Whether the trunks ``up`` (P,3) of few lie where those of most are upright."""
    angle = np.degrees(np.arctan2(np.linalg.norm(up[:, [0, 2]], axis=1), -up[:, 1]))
    if not len(angle) or np.median(angle) > UPRIGHT_DEG:
        return np.zeros(len(angle), bool)
    return angle > LYING_DEG


def _scale_off(rows: Tracks) -> Array:
    """Whether the box, at the body's depth, spans far more or fewer metres than the boxes of the film usually do."""
    low, high = rows.bbox_xyxy[:, :2], rows.bbox_xyxy[:, 2:]
    metres = (high - low).max(axis=1) * rows.transl[:, 2] / rows.focal_px
    whole = (rows.flags & AT_BORDER) == 0
    if not whole.any():
        return np.zeros(len(rows), bool)
    ratio = np.maximum(metres, 1e-9) / np.median(metres[whole])
    return whole & (np.maximum(ratio, 1 / ratio) > SCALE_OFF)


def holes(rows: Tracks) -> float | None:
    """Return the share of frames, between a track's first and last, in which it has no row."""
    spans = [np.ptp(rows.frame_idx[rows.track_id == track]) + 1 for track in np.unique(rows.track_id)]
    return float(1 - len(rows) / sum(spans)) if spans else None


def facts(name: str, rows: Tracks, body: Body, size_wh: tuple[int, int]) -> dict[str, str | int | float | None]:
    """Return the figures of one film as plain values."""
    found = implausible(rows, body, size_wh)
    steady = steadiness(rows, body)
    numbers = {reason: int(mask.sum()) for reason, mask in found.items()}
    odd = np.any(list(found.values()), axis=0)
    numbers |= {"implausible": int(odd.sum()), "unflagged": int((odd & ((rows.flags & NOT_DRAWN) == 0)).sum())}
    return {"name": name, "rows": len(rows), **numbers, "holes": holes(rows)} | {
        key: steady[key] for key in ("acceleration_m_s2", "foot_skate_m_s")
    }
