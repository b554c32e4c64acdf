"""Crop people for the regressor, and record how each crop maps back to the frame."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import InputError, UsageError
from ..geometry import bbox_info, crop_boxes, crop_corners, diagonal_focal_px, lengthened, principal_point_px
from ..models.manifest import Manifest
from ..options import Options
from ..tables import Crops, Frames
from ..video.images.base import kind_of
from .detect import Found


def crop(found: list[Found], manifest: Manifest, options: Options) -> list[Crops]:
    """Return the crops of the people in each of several tables, by the manifest's rule and the options."""
    return [crops(each, manifest, options) for each in found]


def crops(found: Found, manifest: Manifest, options: Options) -> Crops:
    """Return the crops of all people found in some frames."""
    rule = manifest.rules["crop"]
    if options.box_scale is not None:
        rule = replace(rule, box_scale=options.box_scale)
    people, images, size_wh = found.people, found.frames.images, found.frames.size_wh
    center_size = crop_boxes(lengthened(people.bbox_xyxy, size_wh, rule), rule)
    corners = crop_corners(center_size, rule)
    rows = np.searchsorted(found.frames.frame_idx, people.frame_idx)
    frames = with_camera(found.frames, options)
    assert frames.focal_px is not None and frames.center_px is not None
    focal_px, center_px = frames.focal_px[rows], frames.center_px[rows]
    frame_wh_px = np.full((len(people), 2), size_wh, np.float32)
    return Crops(
        **people.columns(),
        crop_center_size_px=center_size.astype(np.float32),
        focal_px=focal_px.astype(np.float32),
        frame_wh_px=frame_wh_px,
        center_px=center_px.astype(np.float32),
        bbox_info=bbox_info(center_size, focal_px, center_px, manifest.rules["bbox_info"]),
        pixels=kind_of(images).cropped(images, rows, corners, rule, manifest.inputs["crop"].dtype),
    )


def with_camera(frames: Frames, options: Options) -> Frames:
    """Return the frames with the focal length and principal point of the options, where they have none."""
    focal_px, center_px = frames.focal_px, frames.center_px
    if focal_px is None:
        focal_px = np.full(len(frames), assumed_focal_px(frames.size_wh, options), np.float64)
    if center_px is None:
        point = principal_point_px(frames.size_wh, options.cx_px, options.cy_px)
        center_px = np.tile(np.array(point, np.float64), (len(frames), 1))
    return replace(frames, focal_px=focal_px, center_px=center_px)


def check_camera(options: Options, video: Path | str, frame_wh: tuple[int, int]) -> None:
    """Raise InputError if the options' camera is not that of a video with frames of this size."""
    width, height = frame_wh
    known = options.camera_wh_px
    if known not in (None, frame_wh):
        raise InputError(
            f"{video}: frames of {width} x {height}, the camera is of frames of {known[0] if known else 0} x "
            f"{known[1] if known else 0}; give the camera of this size"
        )
    cx_px, cy_px = principal_point_px(frame_wh, options.cx_px, options.cy_px)
    if not (-width <= cx_px <= 2 * width and -height <= cy_px <= 2 * height):
        raise InputError(
            f"{video}: the camera's principal point {cx_px:g}, {cy_px:g} is far outside the frame of {width} x "
            f"{height}; give it in pixels of the frame as displayed"
        )


def assumed_focal_px(frame_wh: tuple[int, int], options: Options) -> float:
    """Return the focal length given by the options, else the frame's diagonal, in pixels."""
    if options.focal_px is not None:
        return options.focal_px
    if options.fov_deg is not None:
        return frame_wh[0] / 2 / math.tan(math.radians(options.fov_deg) / 2)
    return diagonal_focal_px(frame_wh)


def check_crop(manifest: Manifest, options: Options) -> None:
    """Raise UsageError if the regressor's crop rule does not work with the options' pixel format."""
    rule = manifest.rules["crop"]
    if options.pixels == "planes" and (rule.corners == "exact" or rule.resample == "antialias"):
        raise UsageError(f"--pixels planes: {manifest.folder} needs crops of RGB frames; use --pixels exact")
