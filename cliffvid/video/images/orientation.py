"""How a stored frame is turned and mirrored to be seen: one of eight ways."""

from typing import NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...tables import Int32

UInt8: TypeAlias = NDArray[np.uint8]


class Orientation(NamedTuple):
    """First the sides are exchanged (transposed), then what results is mirrored."""

    exchanged: bool = False
    left_right: bool = False
    up_down: bool = False

    @classmethod
    def of(cls, matrix: Int32) -> Self:
        """That of an FFmpeg display matrix (3,3).

        The matrix sends pixel (x, y) to (a x + c y, b x + d y) with rows (a, b, _), (c, d, _): libavutil/display.h.
        """
        (a, b), (c, d) = matrix[:2, :2].tolist()
        exchanged = abs(a) + abs(d) < abs(b) + abs(c)
        x, y = (c, b) if exchanged else (a, d)
        return cls(exchanged, x < 0, y < 0)

    def size(self, wh: tuple[int, int]) -> tuple[int, int]:
        """Width and height as displayed of a frame stored so, and the other way round."""
        return wh[::-1] if self.exchanged else wh

    def show(self, image: UInt8) -> UInt8:
        """The image (H,W,3) as displayed; a view."""
        if self.exchanged:
            image = image.transpose(1, 0, 2)
        return image[:: -1 if self.up_down else 1, :: -1 if self.left_right else 1]

    def stored(self, corners: tuple[int, int, int, int], shown_wh: tuple[int, int]) -> tuple[int, int, int, int]:
        """Corners x0, y0, x1, y1 of the displayed frame as those of the stored one."""
        x0, y0, x1, y1 = corners
        if self.left_right:
            x0, x1 = shown_wh[0] - x1, shown_wh[0] - x0
        if self.up_down:
            y0, y1 = shown_wh[1] - y1, shown_wh[1] - y0
        return (y0, x0, y1, x1) if self.exchanged else (x0, y0, x1, y1)


UPRIGHT = Orientation()
