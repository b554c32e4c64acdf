"""Crop people for the regressor, and record how each crop maps back to the frame."""

import math
from dataclasses import replace

import cv2
import numpy as np

from ..errors import UsageError
from ..geometry import bbox_info, crop_boxes, crop_corners, diagonal_focal_px, lengthened
from ..models.manifest import Manifest
from ..options import Options
from ..rules import CropRule
from ..tables import Array, Crops
from ..video.images.gpu import DeviceImage, cuts
from ..video.images.yuv import YuvImage
from .detect import Found


def crop(found: list[Found], manifest: Manifest, options: Options) -> list[Crops]:
    """Return the crops of the people in each of several tables, by the manifest's rule and the options."""
    return [crops(each, manifest, options) for each in found]


def crops(found: Found, manifest: Manifest, options: Options) -> Crops:
    """Return the crops of all people found in some frames."""
    rule, dtype = manifest.rules["crop"], manifest.inputs["crop"].dtype
    if options.box_scale is not None:
        rule = replace(rule, box_scale=options.box_scale)
    people, size_wh = found.people, found.frames.size_wh
    center_size = crop_boxes(lengthened(people.bbox_xyxy, size_wh, rule), rule)
    corners = crop_corners(center_size, rule)
    frames = found.frames.images[np.searchsorted(found.frames.frame_idx, people.frame_idx)]
    if isinstance(found.frames.images[0], DeviceImage):
        pixels = cuts(frames, corners, rule)
    else:
        if all(isinstance(frame, YuvImage) for frame in found.frames.images):
            dtype = "uint8"  # pixels from YUV planes are rounded anyway; this takes a quarter of the memory
        pixels = np.empty((len(people), rule.height_px, rule.width_px, 3), dtype)
        scratch = Scratch(dtype)
        for target, frame, corner in zip(pixels, frames, corners, strict=True):
            crop_pixels(frame, corner, rule, dtype, scratch, target)
    focal_px = np.full(len(people), assumed_focal_px(size_wh, options))
    frame_wh_px = np.full((len(people), 2), size_wh, np.float32)
    return Crops(
        **people.columns(),
        crop_center_size_px=center_size.astype(np.float32),
        focal_px=focal_px.astype(np.float32),
        frame_wh_px=frame_wh_px,
        bbox_info=bbox_info(center_size, focal_px, frame_wh_px, manifest.rules["bbox_info"]),
        pixels=pixels,
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


class Scratch:
    """Buffer reused for all patches; allocating each one would cost as much as the crop itself."""

    def __init__(self, dtype: str) -> None:
        self._memory = np.empty(0, dtype)

    def patch(self, shape: tuple[int, int, int]) -> Array:
        """Return an array of that shape, valid until the next call."""
        size = math.prod(shape)
        if size > len(self._memory):
            self._memory = np.empty(size, self._memory.dtype)
        return self._memory[:size].reshape(shape)


def crop_pixels(
    image: Array | YuvImage,
    corners: Array,
    rule: CropRule,
    dtype: str = "uint8",
    scratch: Scratch | None = None,
    out: Array | None = None,
) -> Array:
    """Return the image (H,W,3) uint8 between corners x0, y0, x1, y1 at the rule's size, black outside the image.

    With ``float32`` values are not rounded, with two exceptions. Exact corners are warped in uint8, as MMHuman3D does.
    YuvImages are resampled in uint8; ``check_crop`` rejects rules that do not allow them.
    """
    size_wh = rule.width_px, rule.height_px
    if out is None:
        out = np.empty((rule.height_px, rule.width_px, 3), dtype)
    x0, y0, x1, y1 = corners.tolist()
    if isinstance(image, YuvImage):
        return image.scaled(size_wh, cv2.INTER_LINEAR, (x0, y0, x1, y1), out)
    if rule.corners == "exact":
        out[:] = warp(image, corners, size_wh)
        return out
    patch = inside = image[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
    is_cut = inside.shape[:2] != (y1 - y0, x1 - x0)
    if is_cut or inside.dtype != dtype:
        patch = (scratch or Scratch(dtype)).patch((max(y1 - y0, 1), max(x1 - x0, 1), 3))
        if is_cut:
            patch[:] = 0
        top, left = max(-y0, 0), max(-x0, 0)
        patch[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    if rule.resample == "antialias":
        pixels = resize_antialiased(patch, size_wh)
        out[:] = np.rint(pixels) if dtype == "uint8" else pixels
    else:
        cv2.resize(patch, size_wh, dst=out, interpolation=cv2.INTER_LINEAR)
    return out


def warp(image: Array, corners: Array, size_wh: tuple[int, int]) -> Array:
    """Return the image between sub-pixel corners, by OpenCV's affine warp, in the image's dtype.

    Corners are treated as pixel-centre coordinates, half a pixel off, as in MMHuman3D's MeshAffine.
    """
    x0, y0, x1, y1 = corners
    scale_x, scale_y = size_wh[0] / (x1 - x0), size_wh[1] / (y1 - y0)
    to_crop = np.array([[scale_x, 0, -scale_x * x0], [0, scale_y, -scale_y * y0]])
    return cv2.warpAffine(image, to_crop, size_wh, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def resize_antialiased(patch: Array, size_wh: tuple[int, int]) -> Array:
    """Return the patch (h,w,3) resized, float32, as skimage.transform.resize does (BEDLAM crops with it)."""
    (h, w), (new_w, new_h) = patch.shape[:2], size_wh
    rows: Array = resampling(h, new_h) @ patch.reshape(h, w * 3).astype(np.float32, copy=False)
    rows = np.ascontiguousarray(rows.reshape(new_h, w, 3).transpose(1, 0, 2)).reshape(w, new_h * 3)
    pixels: Array = resampling(w, new_w) @ rows
    return pixels.reshape(new_w, new_h, 3).transpose(1, 0, 2)


def resampling(size: int, new_size: int) -> Array:
    """Return weights (new_size, size) float32 that blur and resample a line of pixels.

    When downscaling by a factor f, blur with a Gaussian of sigma (f-1)/2, truncated at four sigma. Then interpolate
    linearly between pixel centres. The line is mirrored about its outermost pixel centres.
    """
    factor = size / new_size
    sigma = max((factor - 1) / 2, 1e-9)
    reach = int(4 * sigma + 0.5)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    place = (np.arange(new_size) + 0.5) * factor - 0.5
    low = np.floor(place).astype(np.int64)
    weights = np.zeros((new_size, size))
    period = max(2 * (size - 1), 1)
    for step, part in ((0, 1 - (place - low)), (1, place - low)):
        for offset, tap in zip(range(-reach, reach + 1), taps / taps.sum(), strict=True):
            source = np.abs(low + step + offset) % period
            np.add.at(weights, (np.arange(new_size), np.minimum(source, (period - source) % period)), tap * part)
    return weights.astype(np.float32)
