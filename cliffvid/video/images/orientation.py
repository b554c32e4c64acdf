"""Rotate and mirror stored frames for display: there are eight orientations."""

from typing import NamedTuple, Self

from ...tables import Int32, UInt8


class Orientation(NamedTuple):
    """How a stored frame is displayed: transposed first, then mirrored."""

    exchanged: bool = False
    left_right: bool = False
    up_down: bool = False

    @classmethod
    def of(cls, matrix: Int32) -> Self:
        """Return the orientation of an FFmpeg display matrix (3,3).

        The matrix maps pixel (x, y) to (a x + c y, b x + d y) with rows (a, b, _), (c, d, _): libavutil/display.h.
        """
        (a, b), (c, d) = matrix[:2, :2].tolist()
        exchanged = abs(a) + abs(d) < abs(b) + abs(c)
        x, y = (c, b) if exchanged else (a, d)
        return cls(exchanged, x < 0, y < 0)

    def size(self, wh: tuple[int, int]) -> tuple[int, int]:
        """Return the displayed width and height of a stored size; the same function maps back."""
        return wh[::-1] if self.exchanged else wh

    def show(self, image: UInt8) -> UInt8:
        """Return the image (H,W,3) as displayed; a view."""
        if self.exchanged:
            image = image.transpose(1, 0, 2)
        return image[:: -1 if self.up_down else 1, :: -1 if self.left_right else 1]

    def stored(self, corners: tuple[int, int, int, int], shown_wh: tuple[int, int]) -> tuple[int, int, int, int]:
        """Return corners x0, y0, x1, y1 of the displayed frame as corners of the stored one."""
        x0, y0, x1, y1 = corners
        if self.left_right:
            x0, x1 = shown_wh[0] - x1, shown_wh[0] - x0
        if self.up_down:
            y0, y1 = shown_wh[1] - y1, shown_wh[1] - y0
        return (y0, x0, y1, x1) if self.exchanged else (x0, y0, x1, y1)


UPRIGHT = Orientation()
