"""Frames as the decoder stored them, in planes of luma and chroma: only what is looked at becomes RGB."""

from dataclasses import dataclass

import cv2
import numpy as np

from ...rules import CropRule
from ...tables import Array, Objects, UInt8
from .base import Device, HostImage
from .gpu import Block
from .matrix import BLACK, GREY, to_rgb
from .orientation import UPRIGHT, Orientation


@dataclass(frozen=True, eq=False)
class YuvImage(HostImage):
    """One 8-bit 4:2:0 frame: views of the decoder's own memory, which nobody may write to."""

    y: UInt8  # (H,W), as stored; both sides even
    u: UInt8  # (H/2,W/2)
    v: UInt8
    matrix: str  # one of matrix.WEIGHTS
    full_range: bool
    orientation: Orientation

    @property
    def size_wh(self) -> tuple[int, int]:
        height, width = self.y.shape
        return self.orientation.size((width, height))

    @property
    def nbytes(self) -> int:
        return self.y.nbytes + self.u.nbytes + self.v.nbytes

    @property
    def kind(self) -> object:
        return YuvImage, self.size_wh, self.orientation, self.matrix, self.full_range

    def rgb(self) -> UInt8:
        return self.scaled(self.size_wh, cv2.INTER_NEAREST)

    def scale(self, size_wh: tuple[int, int], interpolation: int, out: UInt8) -> None:
        self.scaled(size_wh, interpolation, out=out)

    def sparse(self, thumb_wh: tuple[int, int]) -> UInt8:
        width, height = (min(side, 4 * small) for side, small in zip(self.size_wh, thumb_wh, strict=True))
        return self.scaled((width, height), cv2.INTER_NEAREST)

    @classmethod
    def cropped(cls, images: Objects, rows: Array, corners: Array, rule: CropRule, dtype: str) -> UInt8:
        """Return crops as the other kinds do, but always uint8: they are rounded anyway, and take less memory so.

        Crops that are exact or antialiased cannot be made: see ``pipeline.crop.check_crop``.
        """
        pixels = np.empty((len(rows), rule.height_px, rule.width_px, 3), np.uint8)
        for row, corner, out in zip(rows, corners.tolist(), pixels, strict=True):
            images[row].scaled((rule.width_px, rule.height_px), cv2.INTER_LINEAR, corner, out)
        return pixels

    @classmethod
    def uploaded(cls, images: Objects, device: Device) -> Objects:
        """Return the images on the device. Their planes are sent as they are, half the bytes of RGB."""
        first: YuvImage = images[0]
        count, (height, width) = len(images), first.y.shape
        pairs: list[UInt8] = [np.asarray(cv2.merge((image.u, image.v)), np.uint8) for image in images]
        samples = device.upload([*(image.y for image in images), *pairs])
        colors = first.matrix, first.full_range
        return Block(samples, count, (width, height), device, first.orientation, colors).images()

    def scaled(
        self,
        size_wh: tuple[int, int],
        interpolation: int,
        corners: tuple[int, int, int, int] | None = None,
        out: UInt8 | None = None,
    ) -> UInt8:
        """Return the frame, or its part between corners x0, y0, x1, y1 as displayed, at another size in RGB.

        It is black outside the frame. It is scaled before it becomes RGB, so that far fewer pixels are converted, and
        chroma is scaled from its own, half resolution: a scaled RGB image differs by that. ``out``: an array to fill,
        which is returned.
        """
        y, u, v = self.y, self.u, self.v
        if corners is not None:
            x0, y0, x1, y1 = self.orientation.stored(corners, self.size_wh)
            half = x0 // 2, y0 // 2, (x1 + 1) // 2, (y1 + 1) // 2
            y = part(y, (x0, y0, x1, y1), BLACK[self.full_range])
            u, v = part(u, half, GREY), part(v, half, GREY)
        wh = self.orientation.size(size_wh)
        # Where chroma shrinks, nearest neighbours take a third of the time. Large crops differ from exact ones by 1.5
        # of 255 on average, not 1.4; the 99th percentile is 10, not 8. Cubic would look for detail that chroma lacks.
        shrink = u.shape[1] >= wh[0] and u.shape[0] >= wh[1]
        of_chroma = cv2.INTER_NEAREST_EXACT if shrink or interpolation == cv2.INTER_CUBIC else interpolation
        yuv = cv2.merge(
            (
                cv2.resize(y, wh, interpolation=interpolation),
                cv2.resize(u, wh, interpolation=of_chroma),
                cv2.resize(v, wh, interpolation=of_chroma),
            )
        )
        direct = out if self.orientation == UPRIGHT else None
        shown = cv2.transform(yuv, to_rgb(self.matrix, self.full_range), dst=direct)
        rgb = self.orientation.show(np.asarray(shown, np.uint8))
        if out is None or direct is not None:
            return rgb
        out[:] = rgb
        return out


def part(plane: UInt8, corners: tuple[int, int, int, int], outside: int) -> UInt8:
    """Return the plane between corners x0, y0, x1, y1, at least one pixel; a view where that is possible."""
    x0, y0, x1, y1 = corners
    if 0 <= x0 < x1 <= plane.shape[1] and 0 <= y0 < y1 <= plane.shape[0]:
        return plane[y0:y1, x0:x1]
    inside = plane[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
    shape = max(y1 - y0, 1), max(x1 - x0, 1)
    whole = np.full(shape, outside, np.uint8)
    top, left = max(-y0, 0), max(-x0, 0)
    whole[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    return whole
