"""Detect shot boundaries; no track continues across one."""

from collections import deque
from statistics import median

import numpy as np

from ..tables import Float32, Frames, Int64, UInt8
from .images.base import kind_of

CHANGE = 0.08  # mean difference of two thumbnails at a shot boundary, as a share of a channel's range; at least
UNLIKE = 0.6  # correlation of their grey values below which a sudden change is a boundary
FOREIGN = 0.15  # the same where all frames differ much, as the photos of a folder do
SUDDEN = 4.0  # a change is sudden above this many times the median change of the last frames
USUAL = 12  # frames in that median
FLASH = 4  # longest flash in frames


class ShotDetector:
    """Detects the shot boundaries of one video, whose frames come in order. It compares thumbnails, which is cheap."""

    def __init__(self) -> None:
        self._last: Float32 | None = None
        self._changes: deque[float] = deque(maxlen=USUAL)
        self._shot = self._shots = 0
        self._left: tuple[Float32, int] | None = None  # the thumbnail before the last boundary, and its shot
        self._since = 0
        self.kept: list[tuple[int, UInt8]] | None = None  # set a list to record (frame_idx, thumbnail) of all frames

    def find(self, frames: Frames) -> list[tuple[int, int]]:
        """Return (frame_idx, shot) of the frames whose shot differs from the frame before; shots count from 0.

        At a boundary the change is large and sudden, and the two frames do not correlate. A moving camera changes every
        frame, and a change of light leaves edges where they were. After a flash of a few frames the earlier shot
        continues. Fades and dissolves are not detected.
        """
        thumbs = kind_of(frames.images).thumbnails(frames.images)
        return self.find_in(frames.frame_idx, thumbs)

    def find_in(self, frame_idx: Int64, thumbs: Float32) -> list[tuple[int, int]]:
        """Return the same, from the frames' indices (N,) and thumbnails (N,h,w,3)."""
        found = []
        last = thumbs[:1] if self._last is None else self._last[None]
        changes = [*difference(thumbs[:1], last).tolist(), *difference(thumbs[1:], thumbs[:-1]).tolist()]
        for index, thumb, change in zip(frame_idx.tolist(), thumbs, changes, strict=True):
            before = self._shot
            self._see(thumb, change)
            self._last = thumb
            if self.kept is not None:
                self.kept.append((index, np.rint(thumb * 255).astype(np.uint8)))
            if self._shot != before:
                found.append((index, self._shot))
        return found

    def _see(self, thumb: Float32, change: float) -> None:
        if self._last is None:
            return
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


def difference(a: Float32, b: Float32) -> Float32:
    """Return the mean absolute differences (...) of thumbnails (...,h,w,3)."""
    means: Float32 = np.abs(a - b).mean(axis=(-3, -2, -1))
    return means


def likeness(a: Float32, b: Float32) -> float:
    """Return the correlation of two thumbnails' grey values, -1 to 1; 0 if one of them is uniform."""
    a, b = (each.mean(axis=2).ravel() - each.mean() for each in (a, b))
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size > 1e-3 else 0.0
