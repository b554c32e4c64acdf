"""Detect shot boundaries, which no track crosses, and the shots in which the camera moves."""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from statistics import median

import numpy as np

from ..tables import Float32, Frames, Int64, UInt8
from .images.align import GRAY_WH, STILL, Reference
from .images.base import kind_of

CHANGE = 0.08  # mean difference of two thumbnails at a shot boundary, as a share of a channel's range; at least
UNLIKE = 0.6  # correlation of their grey values below which a sudden change is a boundary
FOREIGN = 0.15  # the same where all frames differ much, as the photos of a folder do
SUDDEN = 4.0  # a change is sudden above this many times the median change of the last frames
USUAL = 12  # frames in that median
FLASH = 4  # longest flash in frames
LOOKS_HZ, USUAL_HZ = 2.0, 25.0  # how often the camera's motion is looked for, and the frame rate if it is not known
MOVES = 0.015  # a motion from here on, as a share of the frame's width, moves the camera
AGAIN = 3  # images in a row that show such a motion, those without any left out
RENEWED = 40  # images after which the reference is replaced, as light and things change
LOST = 2  # images in a row that look like the reference by no motion, after which it is replaced


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


class CameraMotion:
    """Finds the shots of one video in which the camera moves: pans, tilts, zooms or is carried. Frames come in order.

    It does if nearly the whole frame has moved from where it was, by more than a camera shakes, several times in a row.
    What people before a standing camera do leaves the rest of the frame in its place. Images that look like the
    reference by no motion say nothing: somebody may stand before the camera, or it may move too fast.
    """

    def __init__(
        self, shots: Sequence[tuple[int, int]], moving: list[int], rate: float | None = None, stride: int = 1
    ) -> None:
        """Add what is found to ``moving``; ``shots``: see ``pipeline.track.Tracking``, ``rate``: with no stride."""
        self._shots, self.moving, self._stride = shots, moving, stride
        self._every = max(1, round((rate or USUAL_HZ) / LOOKS_HZ))
        self._shot: int | None = None
        self._motion, self._again, self._seen, self._lost = STILL, 0, 0, 0
        self.kept: list[tuple[int, UInt8]] | None = None  # set a list to record (frame_idx, image) of those looked at

    def watch(self, frames: Frames) -> None:
        """Look at the next frames."""
        due = frames.frame_idx % self._every < self._stride
        if due.any():
            images = frames.images[due]
            grays = (to_gray(thumb) for thumb in kind_of(images).thumbnails(images, GRAY_WH))
            self.watch_in(zip(frames.frame_idx[due].tolist(), grays, strict=True))

    def watch_in(self, grays: Iterable[tuple[int, UInt8]]) -> None:
        """Look at frames given as (frame_idx, gray image)."""
        for index, gray in grays:
            if self.kept is not None:
                self.kept.append((index, gray))
            at = bisect_right(self._shots, index, key=lambda begun: begun[0])
            shot = self._shots[at - 1][1] if at else 0
            if shot not in self.moving:
                self._see(gray.astype(np.float32) / np.float32(255), shot)

    def _see(self, gray: Float32, shot: int) -> None:
        if shot != self._shot:
            self._shot, self._again = shot, 0
            self._begin(gray)
            return
        self._seen += 1
        found = self._reference.motion_to(gray, self._motion)
        if found is None:
            self._lost, self._motion = self._lost + 1, STILL
        else:
            self._lost, self._motion = 0, found
            self._again = self._again + 1 if found.sure and found.size > MOVES else 0
        if self._again == AGAIN:
            self.moving.append(shot)
        if self._lost == LOST or self._seen == RENEWED:
            self._begin(gray)

    def _begin(self, gray: Float32) -> None:
        self._reference, self._motion = Reference(gray), STILL
        self._seen = self._lost = 0


def to_gray(thumb: Float32) -> UInt8:
    """Return the gray image (h,w) of a thumbnail."""
    gray: UInt8 = np.rint(thumb.mean(axis=2) * np.float32(255)).astype(np.uint8)
    return gray


def difference(a: Float32, b: Float32) -> Float32:
    """Return the mean absolute differences (...) of thumbnails (...,h,w,3)."""
    means: Float32 = np.abs(a - b).mean(axis=(-3, -2, -1))
    return means


def likeness(a: Float32, b: Float32) -> float:
    """Return the correlation of two thumbnails' grey values, -1 to 1; 0 if one of them is uniform."""
    a, b = (each.mean(axis=2).ravel() - each.mean() for each in (a, b))
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size > 1e-3 else 0.0
