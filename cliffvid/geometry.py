"""Compute letterbox layouts, crop corners, bounding-box info, camera transforms, projection and IoU in numpy.

Conventions: pixel coordinates with x = 0 at the left edge of the first pixel. Bounding boxes are xyxy. The camera has
x right, y down, z forward, and its principal point at the exact centre of the frame (W/2, H/2) unless it is known.
"""

from dataclasses import replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from .rules import BboxInfo, CropRule, Letterbox

Array: TypeAlias = NDArray[np.floating]
LONGEST = 2.3  # largest factor by which a truncated box is lengthened
CUT_NEAR = 0.02  # tolerance for touching the frame's bottom, in box heights: detectors are not exact


def letterbox_layout(frame_wh: tuple[int, int], rule: Letterbox) -> tuple[float, tuple[int, int], tuple[int, int]]:
    """Return ``(ratio, (new_w, new_h), (left, top))`` of a frame on the detector's letterbox canvas.

    Sizes are truncated and the paste offset is floored, as in pytorch-yolo-v3's preprocess.py.
    """
    w, h = frame_wh
    ratio = min(rule.width_px / w, rule.height_px / h)
    new_w, new_h = max(int(w * ratio), 1), max(int(h * ratio), 1)
    return ratio, (new_w, new_h), ((rule.width_px - new_w) // 2, (rule.height_px - new_h) // 2)


def shrunk(rule: Letterbox, frame_wh: tuple[int, int]) -> Letterbox:
    """Return the rule with the smallest canvas that holds the frame at the scale of the full canvas.

    Integer arithmetic makes ``letterbox_layout`` return bit-identical scales.
    """
    w, h = frame_wh

    def side_px(whole_px: int, scaled: int, by: int) -> int:
        steps = -(-scaled // (by * rule.step_px))
        return min(whole_px, max(rule.least_px or 0, steps * rule.step_px))

    width_px = side_px(rule.width_px, w * rule.height_px, h)
    return replace(rule, width_px=width_px, height_px=side_px(rule.height_px, h * rule.width_px, w))


def canvas_to_frame(boxes: Array, frame_wh: tuple[int, int], rule: Letterbox) -> Array:
    """Return canvas boxes (P,4) in frame coordinates (P,4), clamped to the frame; float32.

    The unrounded margin is subtracted, as in the official code: it is at most one canvas pixel off the paste offset.
    """
    w, h = frame_wh
    ratio = letterbox_layout(frame_wh, rule)[0]
    margin = np.array([(rule.width_px - ratio * w) / 2, (rule.height_px - ratio * h) / 2] * 2)
    placed: Array = np.clip((boxes - margin) / ratio, 0, np.array([w, h, w, h])).astype(np.float32)
    return placed


def lengthened(boxes: Array, frame_wh: tuple[int, int], rule: CropRule) -> Array:
    """Return the boxes (P,4) for the regressor's crops: boxes truncated by the frame's bottom are extended downwards.

    The more of a person is outside the frame, the wider the rest of the box is for its height. Such a box gets the
    height it would have untruncated: ``rule.cut_aspect`` times its width, at most LONGEST times its own height.
    """
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    cut = boxes[:, 3] >= frame_wh[1] - CUT_NEAR * height
    whole = np.clip(np.float32(rule.cut_aspect) * width, height, LONGEST * height)
    return np.column_stack([boxes[:, :3], boxes[:, 3] + cut * (whole - height)])


def crop_boxes(boxes: Array, rule: CropRule) -> Array:
    """Return centre and size (P,3) of each box's crop in pixels, float64: cx, cy and the length of ``rule.size_side``.

    The crop has the network's aspect ratio and holds the box enlarged by ``rule.box_scale`` (CLIFF, common/imutils.py).
    """
    low, high = boxes[:, :2], boxes[:, 2:]
    center = ((low + high) / 2).astype(np.float64)  # summed in the boxes' float32, as in the official code
    width, height = (high - low).astype(np.float64).T
    aspect = rule.width_px / rule.height_px
    if rule.fit == "square":
        size = np.maximum(width, height) * rule.box_scale
    else:
        size = np.maximum(width / aspect, height) * rule.box_scale * (aspect if rule.size_side == "width" else 1)
    return np.concatenate([center, size[:, None]], axis=1)


def crop_corners(center_size: Array, rule: CropRule) -> Array | NDArray[np.int64]:
    """Return corners x0, y0, x1, y1 (P,4) of each crop, possibly outside the frame: int64, or float64 if exact.

    The official crop rounds half to even in float64: see tests/golden/cliff_preprocessing.npz.
    """
    cx, cy, size = center_size.T
    aspect = rule.width_px / rule.height_px
    height = size if rule.size_side == "height" else size / aspect
    half_w, half_h = height * aspect / 2, height / 2
    corners = np.stack([cx - half_w, cy - half_h, cx + half_w, cy + half_h], axis=1)
    if rule.corners == "exact":
        return corners
    whole: NDArray[np.int64] = (np.rint if rule.corners == "round" else np.trunc)(corners).astype(np.int64)
    return whole


def diagonal_focal_px(frame_wh: tuple[int, int]) -> float:
    """Return CLIFF's focal length for an unknown camera: the frame's diagonal (a diagonal field of view of 53 deg)."""
    return float(np.hypot(*frame_wh))


def principal_point_px(
    frame_wh: tuple[int, int], cx_px: float | None = None, cy_px: float | None = None
) -> tuple[float, float]:
    """Return a camera's principal point in pixels: as known, else the centre of the frame."""
    return frame_wh[0] / 2 if cx_px is None else cx_px, frame_wh[1] / 2 if cy_px is None else cy_px


def symmetric_size(frame_wh: tuple[int, int], center_px: tuple[float, float]) -> tuple[float, float]:
    """Return the size of the smallest frame around the principal point that holds the frame."""
    width, height = (2 * max(center, side - center) for side, center in zip(frame_wh, center_px, strict=True))
    return width, height


def bbox_info(center_size: Array, focal_px: Array, center_px: Array, rule: BboxInfo) -> Array:
    """Return CLIFF's bounding-box info (P,3), float32: where each crop is in the frame (paper, eq. 2, normalised).

    ``center_px`` (P,2) is the principal point.
    """
    offset = (center_size[:, :2] - center_px) / focal_px[:, None] * rule.centre_scale
    size = (center_size[:, 2] / focal_px - rule.size_offset) / rule.size_scale
    return np.concatenate([offset, size[:, None]], axis=1).astype(np.float32)


def camera_to_transl(camera: Array, center_size: Array, focal_px: Array, center_px: Array) -> Array:
    """Return the crop cameras s, tx, ty (P,3) as translations (P,3) in the full-frame camera, in metres, float64.

    ``center_px`` (P,2) is the principal point. From CLIFF, common/utils.py. A scale of zero or less gives an
    implausible or negative depth: see ``camera_is_bad``.
    """
    camera, center_size = camera.astype(np.float64), center_size.astype(np.float64)
    bs = center_size[:, 2] * camera[:, 0] + 1e-9
    xy = 2 * (center_size[:, :2] - center_px) / bs[:, None] + camera[:, 1:]
    return np.concatenate([xy, (2 * focal_px / bs)[:, None]], axis=1)


def camera_is_bad(transl: Array, nearest_m: float = 0.1, farthest_m: float = 1000.0) -> NDArray[np.bool_]:
    """Return a mask (P,) of translations that are not finite or whose depth is implausible."""
    depth = transl[:, 2]
    return ~(np.isfinite(transl).all(axis=1) & (depth > nearest_m) & (depth < farthest_m))


def project(points: Array, focal_px: Array, center_px: tuple[float, float]) -> Array:
    """Project camera-space points (P,J,3) in metres to frame pixels (P,J,2), by the principal point."""
    xy = points[..., :2] / points[..., 2:]
    pixels: Array = xy * focal_px[:, None, None] + np.array(center_px)
    return pixels


def camera_to_side(points: Array, depth_m: float, axes: Array | None = None) -> Array:
    """Return camera points (...,3) in a camera rotated by +90 degrees about the vertical axis through (0, 0, depth_m).

    As in CLIFF, common/renderer_pyrd.py: far points move left, points on the right become far. Use depth_m 0 for
    normals. ``axes`` (3,3) rotates the camera's frame to a level one; None: the camera is level.
    """
    x, y, z = np.moveaxis(points - np.array([0, 0, depth_m], points.dtype), -1, 0)
    if axes is not None:
        x, y, z = (row[0] * x + row[1] * y + row[2] * z for row in axes.astype(points.dtype))
    return np.stack([-z, y, depth_m + x], axis=-1)


def box_iou(a: Array, b: Array, offset_px: float = 0.0) -> Array:
    """Return the IoU (...,A,B) of boxes (...,A,4) and (...,B,4); ``offset_px`` 1: the corners are inclusive pixels."""
    a, b = by_corner(a)[..., :, None], by_corner(b)[..., None, :]
    return iou_by_corner(a, b, area(a, offset_px), area(b, offset_px), offset_px)


def iou_by_corner(a: Array, b: Array, area_a: Array, area_b: Array, offset_px: float) -> Array:
    """Return the IoU (...) of boxes as columns (4,...), whose areas are known."""
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    width, height = np.maximum(high - low + offset_px, 0)
    inter = width * height
    union = area_a + area_b - inter
    iou: Array = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)
    return iou


def by_corner(boxes: Array) -> Array:
    """Return boxes (...,4) as contiguous columns (4,...), which take half the time to compare."""
    return np.ascontiguousarray(boxes.transpose(-1, *range(boxes.ndim - 1)))


def area(boxes: Array, offset_px: float) -> Array:
    """Return the area (...) of boxes as columns (4,...)."""
    width, height = boxes[2:] - boxes[:2] + offset_px
    size: Array = width * height
    return size
