"""Images in RGB, and how they are cropped and resampled."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from ...rules import CropRule
from ...tables import Array, Objects, UInt8
from .base import Device, HostImage, thumbnail_step
from .gpu import Block


@dataclass(frozen=True, eq=False, slots=True)
class RgbImage(HostImage):
    """A frame as displayed in RGB; nobody else writes to its memory."""

    pixels: UInt8  # (H,W,3)

    @property
    def size_wh(self) -> tuple[int, int]:
        height, width, _ = self.pixels.shape
        return width, height

    @property
    def nbytes(self) -> int:
        return self.pixels.nbytes

    def rgb(self) -> UInt8:
        return self.pixels

    def scale(self, size_wh: tuple[int, int], interpolation: int, out: UInt8) -> None:
        cv2.resize(self.pixels, size_wh, dst=out, interpolation=interpolation)

    def sparse(self, thumb_wh: tuple[int, int]) -> UInt8:
        right, down = map(thumbnail_step, self.size_wh, thumb_wh)
        return np.ascontiguousarray(self.pixels[::down, ::right])

    @classmethod
    def cropped(cls, images: Objects, rows: Array, corners: Array, rule: CropRule, dtype: str) -> Array:
        pixels: Array = np.empty((len(rows), rule.height_px, rule.width_px, 3), dtype)
        scratch = Scratch(dtype)
        for row, corner, out in zip(rows, corners, pixels, strict=True):
            crop_pixels(images[row].pixels, corner, rule, dtype, scratch, out)
        return pixels

    @classmethod
    def uploaded(cls, images: Objects, device: Device) -> Objects:
        stored = device.upload([image.pixels for image in images])
        return Block(stored, len(images), images[0].size_wh, device).images()


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
    image: Array,
    corners: Array,
    rule: CropRule,
    dtype: str = "uint8",
    scratch: Scratch | None = None,
    out: Array | None = None,
) -> Array:
    """Return the image (H,W,3) uint8 between corners x0, y0, x1, y1 at the rule's size, black outside the image.

    With ``float32`` values are not rounded, except for exact corners: they are warped in uint8, as MMHuman3D does.
    """
    size_wh = rule.width_px, rule.height_px
    if out is None:
        out = np.empty((rule.height_px, rule.width_px, 3), dtype)
    if rule.corners == "exact":
        out[:] = warp(image, corners, size_wh)
        return out
    x0, y0, x1, y1 = corners.tolist()
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
