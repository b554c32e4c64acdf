"""Convert tracks of images to the layout of CLIFF's pseudo-ground-truth."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ... import tables
from ...errors import InputError, UsageError
from ...files import claims
from ...geometry import Array, project
from ...inputs import open_input
from ...models.body import Body, load_body
from ...names import label
from ...npz import load_npy
from ...tables import BAD_CAMERA, Bool, Float64, Tracks
from ...tracks.formats.cliff import PICKED, SMPL_VERTICES, with_vertices
from ...tracks.meta import Meta, center_px
from ...tracks.read import read_both
from ...video.image_files import image_size
from .check import image_path
from .files import KIND, PELVIS, write_npz

BLOCK = 256
# Keypoint -> SMPL joint. Hips, neck and pelvis match the data sets' definition only with a joint regressor.
FROM_SKELETON = {0: 8, 1: 5, 2: 2, 3: 1, 4: 4, 5: 7, 6: 21, 7: 19, 8: 17, 9: 16, 10: 18, 11: 20, 12: 12, 14: 0}
FROM_REGRESSOR = (2, 3, 12, 13, 14, 15, 16, 17, 18)  # the rows of SPIN's J_regressor_extra.npy
FROM_FACE = {19: 0, 20: 2, 21: 1, 22: 4, 23: 3}  # keypoint -> PICKED: nose, left eye, right eye, left ear, right ear
NOTE = (
    "hips, neck and pelvis are the skeleton's own joints; head top, thorax, spine, jaw and head have confidence 0. "
    "--joint-regressor J_regressor_extra.npy (from SPIN's data) makes them those of the official files"
)


@dataclass(frozen=True)
class MakeReport:
    """Result of creating one file."""

    out: Path
    rows: int
    images: int
    left_out: int  # rows dropped for an impossible camera
    note: str


@claims
def make(tracks: Path, images: Path, out: Path, regressor: Path | None = None, overwrite: bool = False) -> MakeReport:
    """Write the people in images as pseudo-ground-truth, with the same meaning as in CLIFF's released files.

    ``center`` and ``scale`` are those of the detected box, at 4:3 and not enlarged. ``part`` is the projection of
    ``S``, with confidence 1 inside the image. Raises UsageError for tracks of a video or of a body that is not
    SMPL-like, InputError, OutputError.
    """
    rows, meta = read_both(tracks)
    files, name = meta["video"].get("files"), meta["body"]["name"]
    if not files:
        raise UsageError(f"{tracks}: tracks of a video; process a folder of images")
    if (rows.body_pose.shape[1], rows.betas.shape[1]) != (69, 10):
        raise UsageError(f"{tracks}: bodies of {name!r}; the layout holds 24 joints and 10 betas")
    if not images.is_dir():
        raise InputError(f"{images}: no such folder; name the one that the tracks were made of")
    body = load_body(name)
    extra = read_regressor(regressor, (9, len(body.rest_m) // 3)) if regressor else None
    whole = len(rows)
    rows = rows[(rows.flags & BAD_CAMERA) == 0]
    named = {label(file.name): file.name for file in images.iterdir()}
    names = [named.get(name, name) for name in files]
    seen = {index: _size(images, names[index], tracks) for index in np.unique(rows.frame_idx).tolist()}
    parts = [
        _arrays(rows[start : start + BLOCK], meta, body, extra, files, seen)
        for start in range(0, max(len(rows), 1), BLOCK)
    ]
    arrays = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    facts = {"kind": KIND, "software": meta.get("software", ""), "body": meta["body"], "models": meta.get("models", [])}
    note = "" if extra is not None else NOTE
    write_npz(out, arrays, facts | {"note": note}, overwrite)
    return MakeReport(out, len(rows), len(seen), whole - len(rows), note)


def _size(images: Path, name: str, tracks: Path) -> tuple[int, int]:
    path = image_path(images, name)
    size = image_size(path) if path.is_file() else None
    if size is None:
        raise InputError(f"{path}: no readable image there, but {tracks} holds people in it")
    return size


def _arrays(
    rows: Tracks, meta: Meta, body: Body, extra: Array | None, files: list[str], seen: dict[int, tuple[int, int]]
) -> dict[str, tables.Array]:
    """Return the arrays of the file for some rows."""
    count = len(rows)
    joints, there = keypoints(rows, body, extra)
    sizes = np.array([seen[index] for index in rows.frame_idx.tolist()], float).reshape(count, 2)
    centers = np.array([center_px(meta, seen[index]) for index in rows.frame_idx.tolist()]).reshape(count, 2)
    with np.errstate(invalid="ignore"):  # keypoints that the body does not have are at 0
        at = np.nan_to_num(project(joints, rows.focal_px, (0, 0)) + centers[:, None])
    pixels = np.concatenate([at, np.zeros((count, 24, 1))], axis=2)
    inside = ((pixels[..., :2] >= 0) & (pixels[..., :2] <= sizes[:, None])).all(axis=2) & (joints[..., 2] > 0)
    pixels[..., 2] = inside & there
    low, high = rows.bbox_xyxy[:, :2].astype(float), rows.bbox_xyxy[:, 2:].astype(float)
    width, height = (high - low).T
    solid = np.concatenate([joints - joints[:, PELVIS : PELVIS + 1], np.ones((count, 24, 1))], axis=2)
    return {
        "imgname": np.array([files[index] for index in rows.frame_idx.tolist()], dtype=f"<U{max(map(len, files))}"),
        "center": (low + high) / 2,
        "scale": np.maximum(width * 4 / 3, height) / 200,
        "part": (pixels * there[:, None]).astype(np.float32),
        "pose": np.hstack([rows.global_orient, rows.body_pose]),
        "shape": rows.betas,
        "has_smpl": np.ones(count, np.uint8),
        "global_t": rows.transl,
        "focal_l": rows.focal_px,
        "S": (solid * there[:, None]).astype(np.float32),
    }


def keypoints(rows: Tracks, body: Body, extra: Array | None) -> tuple[Array, Bool]:
    """Return the 24 keypoints (P,24,3) in metres in the camera frame, and a mask (24,) of those this body has."""
    given = rows.global_orient, rows.body_pose, rows.betas, rows.transl
    skeleton = body.joints(*given)
    points, there = np.zeros((len(rows), 24, 3)), np.zeros(24, bool)
    taken: list[tuple[list[int], Array]] = [(list(FROM_SKELETON), skeleton[:, list(FROM_SKELETON.values())])]
    if extra is not None:
        taken.append((list(FROM_REGRESSOR), extra @ body.surface(*given)[0].astype(np.float64)))
    if body.name.split("-")[0] == "smpl" and body.weights.shape[1] == SMPL_VERTICES:
        face = with_vertices(body, list(PICKED[:5])).surface(*given)[0]
        taken.append((list(FROM_FACE), face[:, list(FROM_FACE.values())]))
    for places, found in taken:
        points[:, places], there[places] = found, True
    return points, there


def read_regressor(path: Path, shape: tuple[int | None, int]) -> Float64:
    """Return a joint regressor (J,V) float64 from an .npy file. Raises InputError if it does not fit the body."""
    try:
        with open_input(path) as file:
            matrix = load_npy(file)
        good = matrix.ndim == 2 and matrix.shape[1] == shape[1] and shape[0] in (None, matrix.shape[0])
        if not good or matrix.dtype.kind != "f" or not np.isfinite(matrix).all():
            raise ValueError(f"{matrix.dtype} {matrix.shape}, expected numbers ({shape[0] or 'joints'}, {shape[1]})")
    except (OSError, ValueError, EOFError, AttributeError, TypeError) as error:
        raise InputError(f"{path}: no regressor of this body's joints ({error})") from error
    weights: Float64 = matrix.astype(np.float64)
    return weights
