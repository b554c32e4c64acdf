"""Crop people for the regressor, and record how each crop maps back to the frame."""

import math
from dataclasses import replace

import numpy as np

from ..errors import UsageError
from ..geometry import bbox_info, crop_boxes, crop_corners, diagonal_focal_px, lengthened
from ..models.manifest import Manifest
from ..options import Options
from ..tables import Crops
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
    known = found.frames.focal_px
    focal_px = np.full(len(people), assumed_focal_px(size_wh, options)) if known is None else known[rows]
    frame_wh_px = np.full((len(people), 2), size_wh, np.float32)
    return Crops(
        **people.columns(),
        crop_center_size_px=center_size.astype(np.float32),
        focal_px=focal_px.astype(np.float32),
        frame_wh_px=frame_wh_px,
        bbox_info=bbox_info(center_size, focal_px, frame_wh_px, manifest.rules["bbox_info"]),
        pixels=kind_of(images).cropped(images, rows, corners, rule, manifest.inputs["crop"].dtype),
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
