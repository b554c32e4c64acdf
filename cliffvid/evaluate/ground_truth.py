"""Read ground truth in the published layouts of 3DPW, EMDB and AGORA, without executing their pickles."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, UsageError
from ..geometry import Array
from ..inputs import open_input
from ..models.body import load_body
from ..models.safe_pickle import Plain, load_pickle, plain
from ..models.smpl_files import how_to_get
from ..tables import Bool, Float64
from . import agora
from .agora import entries, fields

Table: TypeAlias = Mapping[Plain, Plain]
Indices: TypeAlias = NDArray[np.integer]
GENDERS = {"m": "male", "f": "female", "n": "neutral", "male": "male", "female": "female", "neutral": "neutral"}
HIPS = (1, 2)
SMPL_JOINTS = 45  # including the vertices that the smplx package appends


@dataclass(frozen=True, eq=False)
class Truth:
    """The people of one sequence, or of one file of images; a row is one person in one frame.

    People with ``evaluated=False`` are ignored, and so are predictions matched to them.
    """

    name: str
    dataset: str
    frame_idx: Indices  # (P,) index of the image in natural order, or in ``files`` if given
    person: Indices  # (P,) identity within the sequence
    evaluated: Bool  # (P,) bool
    bbox_xyxy: Array  # (P,4) pixels
    joints_m: Array  # (P,J,3) SMPL's 24 joints, or the first 22, shared with SMPL-X; metres, camera frame
    focal_px: Array  # (P,) the true focal length, mean of fx and fy
    size_wh: tuple[float, float]  # frame size that the pixel coordinates refer to
    surface: Callable[[Indices], Array] | None  # rows -> vertices (n,V,3), metres, camera frame
    no_surface: str  # why ``surface`` is None
    files: tuple[str, ...] = ()  # names of the images, if frames are not numbered
    everybody: bool = False  # whether all people in the images are annotated

    def __len__(self) -> int:
        return len(self.frame_idx)


def truth_files(path: Path) -> list[Path]:
    """Return the .pkl files of a path, a file or a folder. Raises InputError if there are none."""
    found = sorted(path.rglob("*.pkl")) if path.is_dir() else [path] if path.exists() else []
    if not found:
        raise InputError(f"{path}: {'no .pkl files in it' if path.is_dir() else 'no such file or folder'}")
    return found


def read_truth(path: Path, body: str | None = None) -> Truth:
    """Read a ground-truth file; ``body``: pose this body instead of the gendered ones.

    Raises InputError for an unknown layout or a damaged file, UsageError if a required body is missing.
    """
    try:
        with open_input(path) as stream:
            table = load_pickle(stream)
        if agora.is_frame(table):
            table = agora.table(table)
        if not isinstance(table, dict):
            raise ValueError("it holds no table")
        return _checked(_by_layout(table, path, body))
    except (UsageError, InputError):
        raise
    except MemoryError as error:
        raise InputError(f"{path}: asks for more memory than there is") from error
    except Exception as error:  # a damaged pickle can raise almost any exception
        raise InputError(f"{path}: not ground truth as 3DPW, EMDB or AGORA publish it, or damaged ({error})") from error


def _by_layout(table: Table, path: Path, body: str | None) -> Truth:
    if "jointPositions" in table:
        return _pw3d(table, body)
    if "good_frames_mask" in table:
        return _emdb(table, body)
    if "gt_joints_3d" in table:
        return _agora(table, path.stem)
    raise ValueError(f"its keys are {', '.join(map(str, list(table)[:8]))}")


def _checked(truth: Truth) -> Truth:
    """Return the truth; raise ValueError for NaN or infinity in an evaluated person, or a bad frame size."""
    for name in ("joints_m", "focal_px"):
        column = getattr(truth, name)
        bad = truth.evaluated & ~np.isfinite(column).all(axis=tuple(range(1, column.ndim)))
        if bad.any():
            raise ValueError(f"{name} of frame {truth.frame_idx[bad.argmax()]} is NaN or infinite")
    if not all(math.isfinite(side) and side >= 1 for side in truth.size_wh):
        raise ValueError(f"its frames are {' x '.join(map(str, truth.size_wh))} pixels")
    return truth


def _pw3d(table: Table, body: str | None) -> Truth:
    """Read 3DPW's sequenceFiles: world joints, one camera per frame; those with an invalid camera are not evaluated."""
    cameras = plain(table["cam_poses"]).astype(np.float64)
    matrix = plain(table["cam_intrinsics"]).astype(np.float64)
    positions, pose, moved, shapes = (entries(table[key]) for key in ("jointPositions", "poses", "trans", "betas"))
    people = len(pose)
    frames, valid = len(cameras), [plain(mask).astype(bool) for mask in entries(table["campose_valid"])]
    genders = entries(table.get("genders", table.get("gender")))
    joints, poses, parts = [], [], []
    for k in range(people):
        world = plain(positions[k]).astype(np.float64).reshape(-1, 24, 3)
        if not len(world) == len(valid[k]) == len(plain(pose[k])) == len(plain(moved[k])) == frames:
            raise ValueError(f"person {k} has {len(world)} frames, the camera {frames}")
        joints.append(_to_camera(cameras, world))
        betas = np.broadcast_to(plain(shapes[k]).reshape(-1)[:10], (frames, 10))
        poses.append(np.hstack([plain(pose[k]).reshape(frames, 72), plain(moved[k]), betas]))
        parts.append(_body_name(GENDERS[str(genders[k])], body))
    order = np.argsort(np.tile(np.arange(frames), people), kind="stable")  # by frame, then person
    frame_idx, person = np.tile(np.arange(frames), people)[order], np.repeat(np.arange(people), frames)[order]
    joints_m = np.concatenate(joints)[order]
    surface, why = _surface(parts, person, np.concatenate(poses)[order], cameras, frame_idx)
    return Truth(
        name=str(table["sequence"]),
        dataset="3dpw",
        frame_idx=frame_idx,
        person=person,
        evaluated=np.concatenate(valid)[order],
        bbox_xyxy=_boxes(_pixels(joints_m, matrix)),
        joints_m=joints_m,
        focal_px=np.full(len(person), (matrix[0, 0] + matrix[1, 1]) / 2),
        size_wh=(2 * matrix[0, 2], 2 * matrix[1, 2]),
        surface=surface,
        no_surface=why,
    )


def _emdb(table: Table, body: str | None) -> Truth:
    """Read EMDB's *_data.pkl: SMPL parameters and one camera per frame; people out of view are not evaluated."""
    smpl, camera, seen = (fields(table[key]) for key in ("smpl", "camera", "bboxes"))
    cameras, matrix = (plain(camera[key]).astype(np.float64) for key in ("extrinsics", "intrinsics"))
    frames = int(plain(table["n_frames"]))
    pose = np.hstack([plain(smpl["poses_root"]), plain(smpl["poses_body"])])
    betas = np.broadcast_to(plain(smpl["betas"]).reshape(-1)[:10], (frames, 10))
    given = np.hstack([pose, plain(smpl["trans"]), betas]).astype(np.float64)
    evaluated = plain(table["good_frames_mask"]).astype(bool)
    if not len(given) == len(cameras) == len(evaluated) == frames:
        raise ValueError(f"{frames} frames, {len(given)} bodies, {len(cameras)} cameras")
    boxes = plain(seen["bboxes"]).astype(np.float64)
    evaluated[plain(seen["invalid_idxs"]).astype(int).reshape(-1)] = False
    name = _body_name(GENDERS[str(table["gender"])], body)
    world = load_body(name).joints(given[:, :3], given[:, 3:72], given[:, 75:], given[:, 72:75])[:, :24]
    frame_idx = np.arange(frames)
    surface, why = _surface([name], np.zeros(frames, int), given, cameras, frame_idx)
    return Truth(
        name=str(table["name"]),
        dataset="emdb",
        frame_idx=frame_idx,
        person=np.zeros(frames, np.int64),
        evaluated=evaluated,
        bbox_xyxy=boxes,
        joints_m=_to_camera(cameras, world),
        focal_px=np.full(frames, (matrix[0, 0] + matrix[1, 1]) / 2),
        size_wh=(float(plain(camera["width"])), float(plain(camera["height"]))),
        surface=surface,
        no_surface=why,
    )


def _agora(table: Table, name: str) -> Truth:
    """Read AGORA's Camera dataframe with joints, optionally vertices; people over 90 % occluded are not evaluated."""
    files = tuple(str(path).split("/")[-1] for path in entries(table["imgPath"]))
    count = [len(entries(joints)) for joints in entries(table["gt_joints_3d"])]
    frame_idx = np.repeat(np.arange(len(files)), count)

    def each(key: str) -> list[Plain]:
        return [value for values in entries(table[key]) for value in entries(values)]

    whole = [plain(j).reshape(-1, 3) for j in each("gt_joints_3d")]
    width = 24 if all(len(j) <= SMPL_JOINTS for j in whole) else 22  # SMPL-X differs from joint 22 on
    joints = np.array([j[:width] for j in whole], np.float64).reshape(-1, width, 3)
    seen = [plain(p).reshape(-1, 2)[:width] for p in each("gt_joints_2d")]
    points = np.array(seen, np.float64).reshape(-1, width, 2)
    hidden = np.array(each("occlusion"), np.float64) if "occlusion" in table else np.zeros(len(joints))
    evaluated = np.array(each("isValid"), bool) & (hidden >= 0) & (hidden <= 90)
    vertices = each("gt_verts") if "gt_verts" in table else []
    return Truth(
        name=name,
        dataset="agora",
        frame_idx=frame_idx,
        person=np.concatenate([np.arange(n) for n in [*count, 0]]),
        evaluated=evaluated,
        bbox_xyxy=_boxes(points),
        joints_m=joints,
        focal_px=_focal(joints, points),
        size_wh=(3840.0, 2160.0),
        surface=(lambda rows: np.array([plain(vertices[i]).reshape(-1, 3) for i in rows])) if vertices else None,
        no_surface="" if vertices else "the file is the one without vertices",
        files=files,
        everybody=True,
    )


def _focal(joints: Array, points: Array) -> Array:
    """Return the focal length (P,) that projects joints to points: the least-squares slope of pixels over X/Z."""
    slope: Array = (joints[..., :2] / joints[..., 2:]).transpose(0, 2, 1)  # (P,2,J)
    slope = slope - slope.mean(axis=2, keepdims=True)
    pixels = points.transpose(0, 2, 1) - points.mean(axis=1)[..., None]
    focal: Array = (slope * pixels).sum(axis=(1, 2)) / np.maximum((slope**2).sum(axis=(1, 2)), 1e-12)
    return focal


def _body_name(gender: str, body: str | None) -> str:
    return body or ("smpl" if gender == "neutral" else f"smpl-{gender}")


def _surface(
    names: list[str], which: Indices, given: Float64, cameras: Float64, frame_idx: Indices
) -> tuple[Callable[[Indices], Array] | None, str]:
    """Return a function that poses bodies in the camera frame, or None and the reason.

    ``given`` (P,85): pose, transl, betas; ``which``: index into ``names`` for each row.
    """
    try:
        bodies = [load_body(name) for name in names]
    except UsageError as error:
        return None, how_to_get(next(n for n in names if how_to_get(n))) or str(error)

    def surface(chosen: Indices) -> Array:
        out: Float64 | None = None
        for k in np.unique(which[chosen]):
            mine = np.flatnonzero(which[chosen] == k)
            g = given[chosen[mine]]
            found = bodies[k].surface(g[:, :3], g[:, 3:72], g[:, 75:], g[:, 72:75])[0]
            out = np.zeros((len(chosen), *found.shape[1:])) if out is None else out
            out[mine] = found
        assert out is not None, "somebody is asked for"
        return _to_camera(cameras[frame_idx[chosen]], out)

    return surface, ""


def _to_camera(cameras: Array, points: Array) -> Array:
    """Return world points (F,J,3) in the camera frame, with one camera matrix (F,4,4) per frame."""
    seen: Array = points @ cameras[:, :3, :3].transpose(0, 2, 1) + cameras[:, None, :3, 3]
    return seen


def _pixels(joints: Array, matrix: Array) -> Array:
    with np.errstate(all="ignore"):
        seen = joints @ matrix.T
        points: Array = seen[..., :2] / seen[..., 2:]
    return points


def _boxes(points: Array) -> Array:
    """Return the tight bounding boxes (P,4) of projected joints (P,J,2)."""
    return np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)
