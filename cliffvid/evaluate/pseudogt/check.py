"""Summarize and validate a pseudo-ground-truth file."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ... import tables
from ...errors import InputError
from ...geometry import Array
from ...tables import Bool, Int64
from ...video.image_files import image_size
from .files import PELVIS, WIDTHS, CliffGT

LEAST_JOINTS = 4  # minimum number of joints to solve for a person's position
NUMBERS = [name for name in WIDTHS if name != "imgname"]
# Violations of the layout. The box side is 200 * scale pixels.
RULES = {
    "not_finite": "has a number that is none",
    "no_smpl": "has_smpl is not 1",
    "scale": "scale is not positive",
    "focal": "focal_l is not positive",
    "depth": "stands nearer than 0.1 m or farther than 1 km (global_t)",
    "betas": "a shape coefficient is over 5",
    "pose": "a joint turns by more than a full turn",
    "confidence": "a confidence of part or S is outside 0 to 2",
    "pelvis": "S does not have the pelvis at 0, within 1 mm",
    "box": "a confident keypoint of part is more than a box from the center",
    "reprojection": "S is over 5 % of the box from part, mean of the joints",
    "image": "the image is not there",
    "size": "focal_l is over 1 px from the diagonal of the image",
    "outside": "a confident keypoint of part is over 2 px outside the image",
}


@dataclass
class Info:
    """Counts, ranges and violations."""

    rows: int
    images: int
    subjects_most: int  # in one image
    body: str
    dtypes: dict[str, str]
    ranges: dict[str, tuple[float, float]]
    keypoints: Int64  # (24,) number of rows in which each keypoint has a positive confidence
    bad: dict[str, int] = field(default_factory=dict)  # number of rows that violate each rule
    first: dict[str, list[int]] = field(default_factory=dict)  # up to five of these rows
    reprojection_px: dict[str, float] = field(default_factory=dict)
    principal_point: str = ""


def info(path: Path, images: Path | None = None) -> Info:
    """Check every row of a file, read in blocks; ``images`` adds the rules that need the images.

    Raises InputError for a file of another layout or a missing folder.
    """
    if images and not images.is_dir():
        raise InputError(f"{images}: no such folder")
    counts: dict[str, int] = {}
    errors, start = [], 0
    low = {name: np.inf for name in NUMBERS}
    high = {name: -np.inf for name in NUMBERS}
    keypoints = np.zeros(24, np.int64)
    bad: dict[str, list[int]] = {name: [] for name in RULES if images or name not in ("image", "size", "outside")}
    with CliffGT(path) as gt:
        for block in gt.blocks():
            names = [
                str(name) if block["imgname"].dtype.kind == "U" else name.decode() for name in _flat(block["imgname"])
            ]
            for name in names:
                counts[name] = counts.get(name, 0) + 1
            sizes = np.array([_size(images, name) for name in names]) if images else None
            found, error = check(block, sizes)
            errors.append(error)
            keypoints += (block["part"].reshape(-1, 24, 3)[..., 2] > 0).sum(axis=0)
            for name in NUMBERS:
                values = block[name].astype(np.float64)
                finite = values[np.isfinite(values)]
                low[name] = min(low[name], finite.min(initial=np.inf))
                high[name] = max(high[name], finite.max(initial=-np.inf))
            for name, mask in found.items():
                bad[name] += (np.flatnonzero(mask) + start).tolist()
            start += len(names)
        error = np.concatenate([np.zeros(0), *errors])
        error = error[np.isfinite(error)]
        info = Info(
            rows=gt.rows,
            images=len(counts),
            subjects_most=max(counts.values(), default=0),
            body=body_of(gt),
            dtypes={name: f"{c.dtype.name}[{', '.join(map(str, c.shape))}]" for name, c in gt.columns.items()},
            ranges={name: (float(low[name]), float(high[name])) for name in NUMBERS if gt.rows},
            keypoints=keypoints,
            bad={name: len(rows) for name, rows in bad.items()},
            first={name: rows[:5] for name, rows in bad.items() if rows},
            principal_point="the middle of each image" if images else "fitted with the position",
        )
    if len(error):
        for name, value in zip(("median", "p95", "max"), np.percentile(error, (50, 95, 100)), strict=True):
            info.reprojection_px[name] = float(value)
    return info


def body_of(gt: CliffGT) -> str:
    """Return the name of a file's body: SMPL, unless cliffvid made the file with another body."""
    return (gt.meta or {}).get("body", {}).get("name", "smpl")


def _flat(column: tables.Array) -> tables.Array:
    return column.reshape(len(column))


def _size(images: Path, name: str) -> tuple[int, int]:
    """Return the width and height of an image, 0 if it is missing or unreadable."""
    path = image_path(images, name)
    return (path.is_file() and image_size(path)) or (0, 0)


def image_path(images: Path, name: str) -> Path:
    """Return the path of an image. Raises InputError for a name that points outside the folder."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise InputError(f"{name!r}: an image's name that leads out of {images}")
    return images / name


def check(block: dict[str, tables.Array], sizes: NDArray[np.integer] | None) -> tuple[dict[str, Bool], Array]:
    """Return a mask (N,) of the rows that violate each rule, and the reprojection error (N,) of S in pixels, or NaN.

    ``sizes``: width and height (N,2) of each row's image, 0 where it is missing.
    """
    rows = len(block["imgname"])
    flat = {name: block[name].reshape(rows, -1).astype(np.float64) for name in NUMBERS}
    part, joints = flat["part"].reshape(rows, 24, 3), flat["S"].reshape(rows, 24, 4)
    box_px, focal_px = 200 * flat["scale"][:, 0], flat["focal_l"][:, 0]
    sure = part[..., 2] > 0
    middle = None if sizes is None else np.where(sizes > 0, sizes, np.nan) / 2
    with np.errstate(all="ignore"):
        error = reprojection_px(part, joints, focal_px, middle)
        away = np.abs(part[..., :2] - flat["center"][:, None]).max(axis=2)
        turns = np.linalg.norm(flat["pose"].reshape(rows, 24, 3), axis=2)
        confidence = np.concatenate([part[..., 2], joints[..., 3]], axis=1)
        found = {
            "not_finite": ~np.all([np.isfinite(values).all(axis=1) for values in flat.values()], axis=0),
            "no_smpl": flat["has_smpl"][:, 0] != 1,
            "scale": ~(box_px > 0),
            "focal": ~(focal_px > 0),
            "depth": ~((flat["global_t"][:, 2] > 0.1) & (flat["global_t"][:, 2] < 1000)),
            "betas": (np.abs(flat["shape"]) > 5).any(axis=1),
            "pose": (turns > 2 * np.pi).any(axis=1),
            "confidence": ((confidence < 0) | (confidence > 2)).any(axis=1),
            "pelvis": (joints[:, PELVIS, 3] > 0) & (np.abs(joints[:, PELVIS, :3]).max(axis=1) > 1e-3),
            "box": (sure & (away > box_px[:, None])).any(axis=1),
            "reprojection": error > 0.05 * box_px,
        }
        if sizes is not None:
            there = sizes[:, 0] > 0
            beyond = np.maximum(-part[..., :2], part[..., :2] - sizes[:, None]).max(axis=2)
            found["image"] = ~there
            found["size"] = there & (np.abs(np.hypot(*sizes.T) - focal_px) > 1)
            found["outside"] = there & (sure & (beyond > 2)).any(axis=1)
    return found, error


def reprojection_px(part: Array, joints: Array, focal_px: Array, middle: Array | None) -> Array:
    """Return the mean reprojection error (N,) in pixels of joints (N,24,4), at their best-fitting position.

    The reference is the keypoints (N,24,3). Only joints with positive confidence in both count; NaN if there are fewer
    than four. ``middle``: the principal points (N,2); if None, they are estimated too.
    """
    sure = (part[..., 2] > 0) & (joints[..., 3] > 0)
    place, center = placed(part, joints, focal_px, middle)
    points = joints[..., :3] + place[:, None]
    seen = points[..., :2] / points[..., 2:] * focal_px[:, None, None] + center[:, None]
    away = np.linalg.norm(seen - part[..., :2], axis=2)
    count = sure.sum(axis=1)
    mean = np.where(sure, away, 0).sum(axis=1) / np.maximum(count, 1)
    return np.where(count >= LEAST_JOINTS, mean, np.nan)


def placed(part: Array, joints: Array, focal_px: Array, middle: Array | None) -> tuple[Array, Array]:
    """Return the least-squares position (N,3) of the origin of ``joints`` in the camera frame, and principal points.

    It solves (u - cx)(Z + tz) = f (X + tx), linear in the unknowns tx, ty, tz. With unknown principal points (N,2), the
    unknowns are f tx + cx tz, f ty + cy tz, tz, cx, cy. NaN where an input is not finite.
    """
    sure = ((part[..., 2] > 0) & (joints[..., 3] > 0)).astype(float)
    focal, (x, y, z) = focal_px[:, None], np.moveaxis(np.where(sure[..., None] > 0, joints[..., :3], 0), 2, 0)
    u, v = np.moveaxis(np.where(sure[..., None] > 0, part[..., :2], 0), 2, 0)
    one, none = np.ones_like(u), np.zeros_like(u)
    if middle is not None:
        u, v = u - middle[:, :1], v - middle[:, 1:]
        rows = [[one * focal, none, -u], [none, one * focal, -v]]
    else:
        rows = [[one, none, -u, z, none], [none, one, -v, none, z]]
    matrix = np.concatenate([np.stack(row, axis=2) * sure[..., None] for row in rows], axis=1)
    target = np.concatenate([(u * z - focal * x) * sure, (v * z - focal * y) * sure], axis=1)
    good = np.isfinite(matrix).all(axis=(1, 2)) & np.isfinite(target).all(axis=1)
    matrix, target = np.where(good[:, None, None], matrix, 0), np.where(good[:, None], target, 0)
    size = np.maximum(np.linalg.norm(matrix, axis=1), 1e-12)  # column scaling: pixels and metres differ by 1000
    found = (np.linalg.pinv(matrix / size[:, None]) @ target[..., None])[..., 0] / size
    found[~good] = np.nan
    if middle is not None:
        return found, middle
    center, depth = found[:, 3:], found[:, 2:3]
    return np.concatenate([(found[:, :2] - center * depth) / focal, depth], axis=1), center
