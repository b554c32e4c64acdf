"""Write an HTML page to inspect a pseudo-ground-truth file: image, keypoints, front and side view of the bodies."""

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ... import tables
from ...errors import InputError
from ...files import claims, write_whole
from ...geometry import Array, camera_to_side
from ...tables import Tracks
from ...video.open import open_source
from ...video.reader import DecodeCounts
from ...view.draw import Pixels, pen_px
from ...view.html import page, script_json
from ...view.options import OverlayOptions
from ...view.overlay import BACKDROP, Painter, SideCamera, mean_depth_m
from ..options import PseudoGTViewOptions
from .check import body_of, image_path, placed, reprojection_px
from .files import HEAD_TOP, CliffGT

SIDE_PX = 720  # longer side of an image on the page
SHOWN = ("center", "scale", "part", "pose", "shape", "global_t", "focal_l", "S")
# Bones between keypoints as the data sets draw them: MPII's if the head top has a positive confidence, else COCO's.
LIMBS = ((8, 7), (7, 6), (2, 1), (1, 0), (3, 4), (4, 5), (9, 10), (10, 11))
MPII_BONES = (*LIMBS, (14, 15), (15, 12), (12, 13), (15, 9), (15, 8), (14, 2), (14, 3))
COCO_BONES = (
    *LIMBS,
    (9, 8),
    (8, 2),
    (2, 3),
    (3, 9),
    (23, 21),
    (21, 19),
    (19, 20),
    (20, 22),
    (20, 21),
    (9, 22),
    (8, 23),
)
RIGHT = {0, 1, 2, 6, 7, 8, 21, 23}
LEFT = {3, 4, 5, 9, 10, 11, 20, 22}
COLORS = {"right": (236, 112, 70), "left": (64, 150, 228), "middle": (240, 200, 70)}


@dataclass(frozen=True)
class ViewReport:
    """Result of writing one page."""

    out: Path
    shown: int
    total: int  # images or subjects in the file
    missing: int  # skipped because their image is missing or unreadable
    bytes: int


@dataclass(frozen=True, eq=False)
class Item:
    """One entry of the page: an image and some of its rows."""

    name: str
    rows: NDArray[np.integer]


@claims
def view(
    path: Path, images: Path, out: Path, options: PseudoGTViewOptions | None = None, overwrite: bool = False
) -> ViewReport:
    """Write a page of some images, sorted by name, or of some subjects, in file order.

    Raises UsageError if the body is missing, InputError if the file or images are unreadable, BackendError if no
    renderer works, OutputError.
    """
    options = options or PseudoGTViewOptions()
    per, start, skeleton_only = options.per, options.start, options.skeleton_only
    if not images.is_dir():
        raise InputError(f"{images}: no such folder; name the one that the file's images lie in")
    with CliffGT(path) as gt:
        painter = None
        if not skeleton_only:
            painter = Painter(
                OverlayOptions(view="both", renderer=options.renderer, alpha=0.95), options.body or body_of(gt)
            )
        total, items = _items(gt, per, options.most, start)
        if not items:
            raise InputError(f"{path}: holds {total} {per}s, none from --start {start} on")
        names = [*SHOWN, *(["annot_id"] if "annot_id" in gt.columns else [])]
        wanted = np.unique(np.concatenate([item.rows for item in items]))
        values = gt.take(names, wanted)
    shown, missing = [], 0
    for item in items:
        image = _image(images, item.name)
        if image is None:
            missing += 1
            continue
        mine = {name: array[np.searchsorted(wanted, item.rows)] for name, array in values.items()}
        shown.append(_shown(item, mine, image, painter, near=per == "subject"))
    if not shown:
        raise InputError(f"{images}: none of the {missing} requested images exists, for example {items[0].name}")
    notes = [f"{missing} left out: their images are not there or cannot be read"] if missing else []
    if len(items) < total:
        notes.append(f"{len(items)} of {total} {per}s, from number {start} on; --max and --start show others")
    text = page(
        "pseudogt.html",
        path.name,
        file=escape(path.name),
        notes=escape(". ".join(notes)),
        solid="S" if painter is None else escape(painter.body.name),
        data=script_json(shown),
    )
    write_whole(out, text, overwrite)
    return ViewReport(out, len(shown), total, missing, len(text))


def _items(gt: CliffGT, per: str, most: int, start: int) -> tuple[int, list[Item]]:
    """Return the total number of images or subjects, and the items to show."""
    if per == "subject":
        wanted = np.arange(start, min(start + most, gt.rows))
        names: Iterable[object] = gt.take(["imgname"], wanted)["imgname"] if len(wanted) else []
        return gt.rows, [Item(_text(name), wanted[i : i + 1]) for i, name in enumerate(names)]
    every = sorted({_text(name) for block in gt.blocks(["imgname"]) for name in block["imgname"].reshape(-1)})
    chosen: dict[str, list[int]] = {name: [] for name in every[start : start + most]}
    row = 0
    for block in gt.blocks(["imgname"]):
        for name in map(_text, block["imgname"].reshape(-1)):
            if name in chosen:
                chosen[name].append(row)
            row += 1
    return len(every), [Item(name, np.array(rows)) for name, rows in chosen.items()]


def _text(name: object) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


def _image(images: Path, name: str) -> Pixels | None:
    """Return the image as RGB (H,W,3), with its EXIF orientation applied; None if missing or unreadable."""
    path = image_path(images, name)
    if not path.is_file():
        return None
    try:
        with open_source(path) as source:
            image: Pixels = next(frames.images[0].rgb().copy() for frames in source.frames(1, DecodeCounts()))
            return image
    except (InputError, StopIteration):
        return None


def _shown(
    item: Item, values: dict[str, tables.Array], image: Pixels, painter: Painter | None, near: bool
) -> dict[str, object]:
    """Return an item's data for the page's script: text and four images; ``near`` crops them to the subject."""
    count, size = len(item.rows), np.array(image.shape[1::-1], float)
    part = values["part"].reshape(count, 24, 3).astype(np.float64)
    joints = values["S"].reshape(count, 24, 4).astype(np.float64)
    focal_px = values["focal_l"].reshape(count).astype(np.float64)
    middle = np.tile(size / 2, (count, 1))
    with np.errstate(all="ignore"):
        error = reprojection_px(part, joints, focal_px, middle)
        place = placed(part, joints, focal_px, middle)[0]
    flat = image.copy()
    for keypoints in part:
        draw_keypoints(flat, keypoints)
    front, side = _bodies(item, values, image, painter) if painter else _skeletons(image, part, joints, focal_px, place)
    subjects = []
    for i, row in enumerate(item.rows):
        fit = f"S is {error[i]:.1f} px from part" if np.isfinite(error[i]) else "S cannot be compared with part"
        depth = float(values["global_t"].reshape(count, 3)[i, 2])
        caption = f"row {row} · {depth:.2f} m away · {int((part[i, :, 2] > 0).sum())} keypoints · {fit}"
        if "annot_id" in values:
            caption += f" · annot_id {values['annot_id'].reshape(-1)[i]}"
        subjects.append(caption)
    pictures = [image, flat, front, side]
    if near:
        center, box_px = values["center"].reshape(-1, 2)[0], 200 * float(values["scale"].reshape(-1)[0])
        at = [(center[0], center[1])] * 3 + [(size[0] / 2, center[1])]  # the side camera is centred on the subject
        pictures = [_around(*both, box_px) for both in zip(pictures, at, strict=True)]
    return {
        "name": item.name,
        "caption": f"{image.shape[1]} × {image.shape[0]} · focal_l {focal_px[-1]:.1f} px",
        "subjects": subjects,
        "pictures": [_jpeg(picture) for picture in pictures],
    }


def draw_keypoints(image: Pixels, keypoints: Array) -> None:
    """Draw those of 24 keypoints (24,3) with positive confidence, and bones, in ``image``, coloured by body side."""
    sure = (keypoints[:, 2] > 0) & np.isfinite(keypoints).all(axis=1) & (np.abs(keypoints[:, :2]) < 1e5).all(axis=1)
    points = np.where(sure[:, None], keypoints[:, :2], 0)
    height = np.ptp(points[sure, 1]) if sure.any() else 0
    width = max(1, round(min(2.5 * pen_px(image), height / 60)))
    fine = np.rint(points * 16 - 8).astype(int)  # 4 fractional bits, from pixel edges to pixel centres
    for a, b in MPII_BONES if sure[HEAD_TOP] else COCO_BONES:
        if sure[a] and sure[b]:
            cv2.line(image, fine[a].tolist(), fine[b].tolist(), _color(a, b), width, cv2.LINE_AA, 4)
    for i in np.flatnonzero(sure).tolist():
        cv2.circle(image, fine[i].tolist(), 16 * (width + 1), _color(i), -1, cv2.LINE_AA, 4)


def _color(*points: int) -> tuple[int, int, int]:
    sides = {"right" if p in RIGHT else "left" if p in LEFT else "middle" for p in map(int, points)}
    return COLORS[sides.pop() if len(sides) == 1 else "middle"]


def _bodies(item: Item, values: dict[str, tables.Array], image: Pixels, painter: Painter) -> tuple[Pixels, Pixels]:
    """Return the posed bodies drawn on the image, and from the side."""
    count = len(item.rows)
    pose = values["pose"].reshape(count, 72).astype(np.float32)
    columns = {
        n: np.zeros((count, *c.shape[1:]), c.dtype) for n, c in Tracks.empty(pose=69, shape=10).columns().items()
    }
    columns |= {
        "track_id": np.arange(1, count + 1, dtype=np.int32),
        "global_orient": pose[:, :3],
        "body_pose": pose[:, 3:],
        "betas": values["shape"].reshape(count, 10).astype(np.float32),
        "transl": values["global_t"].reshape(count, 3).astype(np.float32),
        "focal_px": values["focal_l"].reshape(count).astype(np.float32),
    }
    people = Tracks(**columns)
    finite = np.all([np.isfinite(columns[n]).all(axis=1) for n in ("global_orient", "body_pose", "betas", "transl")], 0)
    people = people[finite & (people.transl[:, 2] > 0.1) & (people.focal_px > 0)]
    surface = painter.body.surface(people.global_orient, people.body_pose, people.betas, people.transl)
    side = SideCamera(mean_depth_m(people), painter.levels(people).at(0).axes)
    drawn = painter.views(image.copy(), people, *surface, side)
    return drawn["front"], drawn["side"]


def _skeletons(image: Pixels, part: Array, joints: Array, focal_px: Array, place: Array) -> tuple[Pixels, Pixels]:
    """Return S at its best fit to part, drawn on the image and from the side."""
    front, side = image.copy(), np.full_like(image, BACKDROP)
    there = np.isfinite(place).all(axis=1) & (place[:, 2] > 0.1)
    depth_m = float(place[there, 2].mean()) if there.any() else 0.0
    for k in np.flatnonzero(there):
        points = joints[k, :, :3] + place[k]
        for picture, at in ((front, points), (side, camera_to_side(points, depth_m))):
            with np.errstate(all="ignore"):
                seen = at[:, :2] / at[:, 2:] * focal_px[k] + np.array(image.shape[1::-1]) / 2
            draw_keypoints(picture, np.column_stack([seen, (joints[k, :, 3] > 0) & (at[:, 2] > 0)]))
    return front, side


def _around(image: Pixels, center: tuple[float, float], box_px: float) -> Pixels:
    """Return the image cropped around a box, up to twice its height; uncropped if the box is invalid."""
    height, width = image.shape[:2]
    if not (np.isfinite([*center, box_px]).all() and box_px > 0):
        return image
    half_w, half_h = min(box_px * 1.4, width / 2), min(box_px, height / 2)
    x, y = np.clip(center[0], half_w, width - half_w), np.clip(center[1], half_h, height - half_h)
    return image[int(y - half_h) : int(np.ceil(y + half_h)), int(x - half_w) : int(np.ceil(x + half_w))]


def _jpeg(image: Pixels) -> str:
    scale = min(1.0, SIDE_PX / max(image.shape[:2]))
    size = tuple(max(1, round(side * scale)) for side in image.shape[1::-1])
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else np.ascontiguousarray(image)
    data = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 84])[1].tobytes()
    return base64.b64encode(data).decode("ascii")
