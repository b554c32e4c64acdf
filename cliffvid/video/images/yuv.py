"""A frame as the decoder stored it, in planes of brightness and colour: only what is looked at becomes RGB."""

from dataclasses import dataclass
from functools import cache
from typing import overload

import cv2
import numpy as np

from ...tables import Float32, Float64
from .orientation import UPRIGHT, Orientation, UInt8

# Shares of red and blue in the brightness: ITU-R BT.601, BT.709 and BT.2020.
WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}
BLACK = {False: 16, True: 0}  # of brightness, by whether it has the full range
GREY = 128  # of colour


@dataclass(frozen=True, eq=False)
class YuvImage:
    """One 8-bit 4:2:0 frame: views of the decoder's own memory, which nobody may write to."""

    y: UInt8  # (H,W), as stored; both sides even
    u: UInt8  # (H/2,W/2)
    v: UInt8
    matrix: str  # one of WEIGHTS
    full_range: bool
    orientation: Orientation

    @property
    def shape(self) -> tuple[int, int, int]:
        """That of the frame as an RGB image, as displayed: (H,W,3)."""
        width, height = self.orientation.size(self.y.shape[::-1])
        return height, width, 3

    @property
    def nbytes(self) -> int:
        return self.y.nbytes + self.u.nbytes + self.v.nbytes

    def shown(self) -> tuple[UInt8, UInt8, UInt8]:
        """The planes as displayed; views."""
        y, u, v = (self.orientation.show(plane[..., None])[..., 0] for plane in (self.y, self.u, self.v))
        return y, u, v

    def rgb(self) -> UInt8:
        """The whole frame as displayed, (H,W,3) uint8."""
        return self.scaled(self.shape[1::-1], cv2.INTER_NEAREST)

    @overload
    def scaled(
        self, size_wh: tuple[int, int], interpolation: int, corners: tuple[int, int, int, int] | None = None
    ) -> UInt8: ...
    @overload
    def scaled(
        self,
        size_wh: tuple[int, int],
        interpolation: int,
        corners: tuple[int, int, int, int] | None = None,
        out: UInt8 | Float32 | None = None,
    ) -> UInt8 | Float32: ...
    def scaled(
        self,
        size_wh: tuple[int, int],
        interpolation: int,
        corners: tuple[int, int, int, int] | None = None,
        out: UInt8 | Float32 | None = None,
    ) -> UInt8 | Float32:
        """The frame, or what lies between corners x0, y0, x1, y1 of it as displayed, at another size: RGB uint8.

        Black outside the frame. It is scaled before it becomes RGB, so that far fewer pixels are converted; the colours
        are scaled from their own, half resolution. A scaled RGB image differs by that. ``out``: an array to fill, which
        is returned.
        """
        y, u, v = self.y, self.u, self.v
        if corners is not None:
            x0, y0, x1, y1 = self.orientation.stored(corners, self.shape[1::-1])
            half = x0 // 2, y0 // 2, (x1 + 1) // 2, (y1 + 1) // 2
            y = part(y, (x0, y0, x1, y1), BLACK[self.full_range])
            u, v = part(u, half, GREY), part(v, half, GREY)
        wh = self.orientation.size(size_wh)
        # Of colours that shrink the nearest takes a third of the time (large crops differ from exact ones by 1.5 of 255
        # in place of 1.4, 10 in place of 8 for 99 %); a cubic looks for detail that they do not have.
        shrink = u.shape[1] >= wh[0] and u.shape[0] >= wh[1]
        of_colour = cv2.INTER_NEAREST_EXACT if shrink or interpolation == cv2.INTER_CUBIC else interpolation
        yuv = cv2.merge(
            (
                cv2.resize(y, wh, interpolation=interpolation),
                cv2.resize(u, wh, interpolation=of_colour),
                cv2.resize(v, wh, interpolation=of_colour),
            )
        )
        direct = out if out is not None and out.dtype == np.uint8 and self.orientation == UPRIGHT else None
        shown = cv2.transform(yuv, to_rgb(self.matrix, self.full_range), dst=direct)
        rgb = self.orientation.show(np.asarray(shown, np.uint8))
        if out is None or direct is not None:
            return rgb
        out[:] = rgb
        return out


def part(plane: UInt8, corners: tuple[int, int, int, int], outside: int) -> UInt8:
    """What lies between corners x0, y0, x1, y1 of a plane, at least one pixel; a view where that is possible."""
    x0, y0, x1, y1 = corners
    if 0 <= x0 < x1 <= plane.shape[1] and 0 <= y0 < y1 <= plane.shape[0]:
        return plane[y0:y1, x0:x1]
    inside = plane[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
    shape = max(y1 - y0, 1), max(x1 - x0, 1)
    whole = np.full(shape, outside, np.uint8)
    top, left = max(-y0, 0), max(-x0, 0)
    whole[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    return whole


@cache
def to_rgb(matrix: str, full_range: bool) -> Float64:
    """(3,4): R, G and B of Y, U, V and 1, all 0 to 255 (ITU-T H.273, equations 35 to 39)."""
    red, blue = WEIGHTS[matrix]
    green = 1 - red - blue
    bright, colour = (1, 1) if full_range else (255 / 219, 255 / 224)
    r, b = 2 * (1 - red) * colour, 2 * (1 - blue) * colour
    rows = np.array([[bright, 0, r], [bright, -b * blue / green, -r * red / green], [bright, b, 0]])
    return np.column_stack([rows, -rows @ [BLACK[full_range], GREY, GREY]])
