"""The true places of a scene's people: landmarks triangulated, refined over time, and how far off that is."""

import warnings
from dataclasses import dataclass

import numpy as np

from cliffvid.evaluate.ground_truth import Truth
from cliffvid.export.open.landmarks import AT_JOINT
from cliffvid.tracks.filters import savgol

from .follow import Sightings
from .scenes import Camera, Scene
from .triangulate import left_out

Array = np.ndarray
LANDMARKS = list(AT_JOINT)  # those that are joints
JOINTS = list(AT_JOINT.values())  # of SMPL
HIPS = [LANDMARKS.index(23), LANDMARKS.index(24)]
SIGMA_S = 0.05  # of the smoothing
GAP_FRAMES = 5  # a point that is not known for longer stays so
LEAST_FRAMES = 10  # of a person
INSIDE = 0.9  # share of the landmarks' box that lies in the frame of somebody who is evaluated


@dataclass(frozen=True, eq=False)
class People:
    """The people of a scene; a row is one person in one frame."""

    frame_idx: Array  # (P,)
    person: Array  # (P,)
    points_m: Array  # (P,33,3) world; NaN where not known
    raw_m: Array  # (P,33,3) before the refinement
    off_px: Array  # (P,C,33,2) of each view left out, see ``left_out``
    error_m: Array  # (P,33) standard error of raw_m

    def __len__(self) -> int:
        return len(self.frame_idx)


def refine(seen: Sightings, cameras: list[Camera], rate: float) -> People:
    """Return the people with points smoothed over time and short gaps filled."""
    numbers, counts = np.unique(seen.person, return_counts=True)
    parts = [_one(seen, k, cameras, rate) for k in numbers[counts >= LEAST_FRAMES]]
    return People(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _one(seen: Sightings, number: int, cameras: list[Camera], rate: float) -> tuple[Array, ...]:
    rows = np.flatnonzero(seen.person == number)
    frames = np.arange(seen.frame_idx[rows[0]], seen.frame_idx[rows[-1]] + 1)
    at = seen.frame_idx[rows] - frames[0]
    raw = np.full((len(frames), *seen.points.shape[1:]), np.nan)
    off = np.full((len(frames), *seen.pixels.shape[1:]), np.nan)
    error = np.full(raw.shape[:2], np.nan)
    raw[at] = seen.points[rows]
    for k, row in zip(at, rows, strict=True):
        off[k], error[k] = left_out(cameras, seen.pixels[row], seen.used[row])
    return frames, np.full(len(frames), number), smoothed(raw, rate), raw, off, error


def smoothed(points: Array, rate: float) -> Array:
    """Return points (F,N,3) smoothed over time with short gaps filled; in longer ones NaN stays."""
    frames = np.arange(len(points))
    found = np.full(points.shape, np.nan)
    for n in range(points.shape[1]):
        known = np.isfinite(points[:, n, 0])
        at = np.flatnonzero(known)
        if not len(at):
            continue
        after = np.searchsorted(at, frames)
        inside = (after > 0) & (after < len(at))
        gap = np.diff(at)[np.clip(after - 1, 0, max(len(at) - 2, 0))] - 1 if len(at) > 1 else frames
        filled = known | (inside & (gap <= GAP_FRAMES))
        values = savgol(np.nan_to_num(points[:, n]), frames / rate, known.astype(np.float64), SIGMA_S)
        found[filled, n] = values[filled]
    return found


def truth_of(people: People, scene: Scene, c: int, size_wh: tuple[float, float]) -> Truth:
    """Return the people as one camera sees them; who is not known or not seen whole is there and not evaluated."""
    camera = scene.cameras[c]
    pixels = camera.project(people.points_m)
    with warnings.catch_warnings():  # of people none of whose points is known
        warnings.simplefilter("ignore", RuntimeWarning)
        boxes = np.hstack([np.nanmin(pixels, axis=1), np.nanmax(pixels, axis=1)])
    joints = camera.seen(people.points_m[:, LANDMARKS])
    clipped = np.clip(boxes, 0, [*size_wh, *size_wh])
    share = np.prod(clipped[:, 2:] - clipped[:, :2], axis=1) / np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    joints_px = pixels[:, LANDMARKS]
    whole = ((joints_px >= 0) & (joints_px < size_wh)).all(axis=(1, 2))  # False where NaN
    clipped[share <= 0] = np.nan  # not in the frame
    return Truth(
        name=f"{scene.name} {camera.name}",
        dataset="pose2sim",
        frame_idx=people.frame_idx,
        person=people.person,
        evaluated=whole & (share > INSIDE),
        bbox_xyxy=clipped,
        joints_m=joints,
        focal_px=np.full(len(people), camera.focal_px),
        size_wh=size_wh,
        surface=None,
        no_surface="joints alone are known",
        everybody=True,  # whoever stands where fewer than three cameras see them is told apart, see false_positives.py
    )


def own_error(people: People, scene: Scene) -> dict[str, float | dict[str, list[float | None]] | None]:
    """Return how far the truth itself is off, by leaving one camera out; joints alone."""
    known = np.isfinite(people.points_m[:, LANDMARKS, 0])
    error_mm = 1000 * people.error_m[:, LANDMARKS]
    off = people.off_px[:, :, LANDMARKS]
    moved_mm = 1000 * np.linalg.norm(people.points_m - people.raw_m, axis=-1)[:, LANDMARKS]
    kinds = {"standard_error_mm": error_mm, "left_out_px": np.linalg.norm(off, axis=-1), "smoothing_moved_mm": moved_mm}
    figures = {"rows": len(people), "joints_known": float(known.mean())}
    figures["joints_of_all_views"] = float(np.isfinite(error_mm).mean())
    for kind, values in kinds.items():
        figures |= {f"{kind}_median": _quantile(values, 0.5), f"{kind}_p90": _quantile(values, 0.9)}
    figures["left_out_px_bias"] = {
        camera.name: [_quantile(off[:, c, :, axis], 0.5) for axis in (0, 1)] for c, camera in enumerate(scene.cameras)
    }
    return figures


def _quantile(values: Array, share: float) -> float | None:
    values = values[np.isfinite(values)]
    return float(np.quantile(values, share)) if values.size else None
