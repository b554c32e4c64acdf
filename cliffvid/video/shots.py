"""Where a film cuts from one shot to another: no track goes on there."""

from collections import deque
from collections.abc import Iterable
from statistics import median

import cv2
import numpy as np

from ..tables import Float32, Frames
from .images.orientation import UInt8
from .images.yuv import YuvImage

THUMB_WH = (32, 18)
CHANGE = 0.08  # mean difference of two small pictures, of the range of a channel
UNLIKE = 0.6  # correlation of their grey below which they show something else, if that comes suddenly
FOREIGN = 0.15  # the same if all pictures differ much, as photos of a folder do
SUDDEN = 4.0  # how many times the usual change of the last frames
USUAL = 12  # frames
FLASH = 4  # frames


class ShotDetector:
    """Fed all frames in order; one for each video. Small pictures are compared, so it costs next to nothing."""

    def __init__(self) -> None:
        self._last: Float32 | None = None
        self._changes: deque[float] = deque(maxlen=USUAL)
        self._shot = self._shots = 0
        self._left: tuple[Float32, int] | None = None  # the picture before the last cut, and its shot
        self._since = 0
        self.kept: list[tuple[int, UInt8]] | None = None  # a list here takes (frame_idx, thumbnail) of all frames

    def find(self, frames: Frames, thumbs: Iterable[Float32] | None = None) -> list[tuple[int, int]]:
        """(frame_idx, shot from 0) of those frames that begin another shot than the frame before.

        A cut is a change that is large, sudden and leaves no likeness: a moving camera changes every frame, and light
        that goes on leaves edges where they were. After a flash of a few frames the shot before goes on. Fades and
        dissolves are not cuts, and are not found. ``thumbs``: their thumbnails, where those were made already.
        """
        thumbs = map(thumbnail, frames.images) if thumbs is None else thumbs
        return self.find_in(zip(frames.frame_idx.tolist(), thumbs, strict=True))

    def find_in(self, thumbs: Iterable[tuple[int, Float32]]) -> list[tuple[int, int]]:
        """The same of (frame_idx, thumbnail)."""
        found = []
        for index, thumb in thumbs:
            before = self._shot
            self._see(thumb)
            self._last = thumb
            if self.kept is not None:
                self.kept.append((index, np.rint(thumb * 255).astype(np.uint8)))
            if self._shot != before:
                found.append((index, self._shot))
        return found

    def _see(self, thumb: Float32) -> None:
        if self._last is None:
            return
        change = difference(thumb, self._last)
        usual = median(self._changes) if self._changes else change
        self._changes.append(change)
        self._since += 1
        unlike = UNLIKE if change > SUDDEN * usual else FOREIGN
        if change <= CHANGE or likeness(thumb, self._last) >= unlike:
            return
        if self._left and self._since <= FLASH and difference(thumb, self._left[0]) < CHANGE:
            self._shot, self._left = self._left[1], None
            return
        self._left, self._since = (self._last, self._shot), 0
        self._shots += 1
        self._shot = self._shots


def difference(a: Float32, b: Float32) -> float:
    return float(np.abs(a - b).mean())


def thumbnail(image: UInt8 | YuvImage) -> Float32:
    """The frame at THUMB_WH, 0 to 1; of large frames from every n-th pixel."""
    sides = list(zip(image.shape[1::-1], THUMB_WH, strict=True))
    if isinstance(image, YuvImage):
        some = image.scaled(tuple(min(side, 4 * small) for side, small in sides), cv2.INTER_NEAREST)
    else:
        right, down = (every(side, small) for side, small in sides)
        some = np.ascontiguousarray(image[::down, ::right])
    return cv2.resize(some, THUMB_WH, interpolation=cv2.INTER_AREA).astype(np.float32) / np.float32(255)


def every(side: int, small: int) -> int:
    """Of how many pixels one is enough for a thumbnail."""
    return max(1, side // (4 * small))


def likeness(a: Float32, b: Float32) -> float:
    """The correlation of two pictures' grey, -1 to 1; 0 where one of them shows nothing."""
    a, b = (each.mean(axis=2).ravel() - each.mean() for each in (a, b))
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size > 1e-3 else 0.0
