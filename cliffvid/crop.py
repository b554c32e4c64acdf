"""People to the regressor's input: the crop, and the numbers that lead back to the frame."""

import math
from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np

from .detect import Found
from .geometry import bbox_info, crop_boxes, crop_corners, diagonal_focal_px
from .models import Manifest
from .options import Options
from .types import Crops


def crop(found: Iterator[Found], manifest: Manifest, options: Options) -> Iterator[Crops]:
    """The crops of each batch of frames, as the regressor's manifest wants them and the options change it."""
    rule, dtype = manifest.rules["crop"], manifest.inputs["crop"].dtype
    if options.box_scale is not None:
        rule = replace(rule, box_scale=options.box_scale)
    for batch in found:
        people = batch.people
        h, w = batch.frames.rgb.shape[1:3]
        center_size = crop_boxes(people.bbox_xyxy, rule)
        corners = crop_corners(center_size, rule)
        pixels = np.empty((len(people), rule.height_px, rule.width_px, 3), dtype)
        frame_of = np.searchsorted(batch.frames.frame_idx, people.frame_idx)
        for target, frame, corner in zip(pixels, frame_of, corners, strict=True):
            target[:] = crop_pixels(batch.frames.rgb[frame], corner, (rule.width_px, rule.height_px), dtype)
        focal_px = np.full(len(people), assumed_focal_px((w, h), options))
        frame_wh_px = np.full((len(people), 2), (w, h), np.float32)
        yield Crops(
            **people.columns(),
            crop_center_size_px=center_size.astype(np.float32),
            focal_px=focal_px.astype(np.float32),
            frame_wh_px=frame_wh_px,
            bbox_info=bbox_info(center_size, focal_px, frame_wh_px, manifest.rules["bbox_info"]),
            pixels=pixels,
        )


def assumed_focal_px(frame_wh: tuple[int, int], options: Options) -> float:
    """The focal length that the options give, or the frame's diagonal."""
    if options.focal_px is not None:
        return options.focal_px
    if options.fov_deg is not None:
        return frame_wh[0] / 2 / math.tan(math.radians(options.fov_deg) / 2)
    return diagonal_focal_px(frame_wh)


def crop_pixels(image: np.ndarray, corners: np.ndarray, size_wh: tuple[int, int], dtype: str = "uint8") -> np.ndarray:
    """The image between integer corners x0, y0, x1, y1, black outside the image, scaled to ``size_wh``.

    Bilinear between pixel centres without antialiasing, as CLIFF's crop; with ``float32`` values are not rounded.
    """
    x0, y0, x1, y1 = (int(v) for v in corners)
    inside = image[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)].astype(dtype, copy=False)
    patch = inside
    if inside.shape[:2] != (y1 - y0, x1 - x0):
        patch = np.zeros((max(y1 - y0, 1), max(x1 - x0, 1), 3), dtype)
        top, left = max(-y0, 0), max(-x0, 0)
        patch[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    return cv2.resize(patch, size_wh, interpolation=cv2.INTER_LINEAR)
