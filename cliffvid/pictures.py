"""Letterbox and crops made where the networks run: frames go there once, as they are, and no picture comes back.

A picture's pixel is a weighted sum of pixels of a frame, of a few columns in each of a few rows. Which and how much is
computed here, as OpenCV does it for ``detect.letterboxed`` and ``crop.crop_pixels``; one small graph does the rest, see
export/picture_graph.py. OpenCV rounds weights for uint8, so that one pixel in some is another by 1 of 255.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from .backends import Session
from .cuts import THUMB_WH, every
from .errors import BackendError
from .geometry import letterbox_layout
from .orientation import UPRIGHT, Orientation
from .planes import Planes, to_rgb
from .rules import CropRule, Letterbox
from .tables import Frames, Piece, image_column

# Of frames, which stay on the device until their people were regressed: where these are few, their batch is not full.
BATCHES_HELD = 4
CUBIC = -0.75  # OpenCV's coefficient


@dataclass(frozen=True, eq=False, slots=True)
class DeviceImage:
    """A frame that lies on a device, among others of its size."""

    nbytes: ClassVar[int] = 0  # of this machine's memory
    shape: tuple[int, int, int]  # (H,W,3), of uint8, as displayed
    frames: Any  # all of them, (F,H,W,3), as the backend holds them
    row: int  # which of them
    orientation: Orientation = UPRIGHT  # of what is stored there


@dataclass(frozen=True, eq=False, slots=True)
class Taps:
    """Which lines of an image (n,K) int64 each line of a picture is made of, and how much of each (n,K) float32; of
    several pictures (P,n,K).
    """

    line: np.ndarray
    weight: np.ndarray

    def __getitem__(self, picture: int) -> "Taps":
        return Taps(self.line[picture], self.weight[picture])


@dataclass(frozen=True, eq=False, slots=True)
class Picture:
    """A picture yet to be made: what becomes a row of a network's input."""

    nbytes: ClassVar[int] = 0
    image: DeviceImage
    rows: Taps
    columns: Taps
    fill: float  # where weights are 0

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.rows.line), len(self.columns.line), 3


def on_device(detector: Session, regressor: Session) -> bool:
    """Whether letterbox and crops can be made where both networks run, and are worth it: not on the CPU."""
    both = detector, regressor
    bilinear = regressor.manifest.rules["crop"].resample == "bilinear"
    return bilinear and all(session.device != "cpu" and session.pictures is not None for session in both)


def uploaded(batches: Iterator[list[Piece]], session: Session) -> Iterator[list[Piece]]:
    """The same pieces of Frames, with images that lie where the session runs."""
    for batch in batches:
        yield [replace(piece, rows=_uploaded(piece.rows, session)) if len(piece) else piece for piece in batch]


def _uploaded(frames: Frames, session: Session) -> Frames:
    if isinstance(frames.images[0], DeviceImage):
        return frames
    with _told(f"{len(frames)} frames cannot be put on {session.device}"):
        there = _sent(frames.images, session.pictures)
    images = [DeviceImage(image.shape, there, row) for row, image in enumerate(frames.images)]
    return replace(frames, images=image_column(images))


def landed(frames: Frames, session: Session, path: Path | str) -> tuple[Frames, np.ndarray]:
    """Frames of Surfaces with RGB in the device's memory in their place, and the ``cuts.thumbnail`` of each, the one
    thing that comes back. The Surfaces can be let go then. Raises BackendError, which names the video at ``path``.
    """
    surfaces = frames.images
    with _told(f"{path}: {len(frames)} frames that {session.device} decoded cannot become RGB there"):
        matrices = np.stack([to_rgb(surface.matrix, surface.full_range) for surface in surfaces])
        there = session.pictures.take_surfaces(list(surfaces), matrices)
        images = image_column([DeviceImage(s.shape, there, row, s.orientation) for row, s in enumerate(surfaces)])
        thumbs = session.pictures.make(thumbnails(images), "uint8").numpy()
    return replace(frames, images=images), thumbs.astype(np.float32) / 255


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # each runtime has its own; a full memory is one of them
        raise BackendError(f"{what} ({error}); end what else runs there, or take a smaller --frame-batch") from error


def _sent(images: np.ndarray, pictures: Any) -> Any:
    """Frames as the backend holds them. Planes cross as they are: half the bytes, and RGB is made there."""
    if not all(isinstance(image, Planes) for image in images):
        return pictures.upload(np.stack([image.rgb() if isinstance(image, Planes) else image for image in images]))
    planes = map(np.stack, zip(*(image.shown() for image in images), strict=True))
    return pictures.upload_planes(*planes, np.stack([to_rgb(image.matrix, image.full_range) for image in images]))


def canvases(frames: np.ndarray, rule: Letterbox) -> np.ndarray:
    """``detect.letterboxed`` of DeviceImages (N,), as Pictures (N,)."""
    h, w, _ = frames[0].shape
    _, (new_w, new_h), (left, top) = letterbox_layout((w, h), rule)
    rows = _placed(resized(h, new_h, rule.interpolation), top, rule.height_px)
    columns = _placed(resized(w, new_w, rule.interpolation), left, rule.width_px)
    return image_column([Picture(image, rows, columns, float(rule.fill)) for image in frames])


def thumbnails(frames: np.ndarray) -> np.ndarray:
    """``cuts.thumbnail`` of DeviceImages (N,), times 255, as Pictures (N,)."""
    sides = zip(frames[0].shape[1::-1], THUMB_WH, strict=True)
    columns, rows = (_sampled(side, small) for side, small in sides)
    return image_column([Picture(image, rows, columns, 0.0) for image in frames])


def _sampled(size: int, new_size: int) -> Taps:
    """The taps of a line of every n-th pixel made ``new_size`` long."""
    step = every(size, new_size)
    taps = resized(len(range(0, size, step)), new_size, "area")
    return Taps(taps.line * step, taps.weight)


def cuts(frames: np.ndarray, corners: np.ndarray, rule: CropRule) -> np.ndarray:
    """``crop.crop_pixels`` of DeviceImages (P,) of one size between corners (P,4), without antialiasing, as Pictures
    (P,).
    """
    if not len(frames):
        return frames
    h, w, _ = frames[0].shape
    x0, y0, x1, y1 = corners.T
    rows = _within(_cut(y0, y1, rule.height_px, rule.corners), h)
    columns = _within(_cut(x0, x1, rule.width_px, rule.corners), w)
    return image_column([Picture(image, rows[i], columns[i], 0.0) for i, image in enumerate(frames)])


def resized(sizes: np.ndarray, new_size: int, interpolation: str) -> Taps:
    """The taps (...,new_size,K) of lines of ``sizes`` (...) pixels made ``new_size`` long, as cv2.resize: beyond its
    ends a line goes on as at its ends.
    """
    sizes = np.asarray(sizes)[..., None, None]
    step = sizes / new_size
    if interpolation == "area":  # of each pixel what the new one covers
        low = np.arange(new_size)[:, None] * step
        line = np.floor(low).astype(np.int64) + np.arange(int(np.ceil(step.max())) + 1)
        weight = np.clip(np.minimum(line + 1, low + step) - np.maximum(line, low), 0, None) / step
    else:
        place = (np.arange(new_size)[:, None] + 0.5) * step - 0.5
        line = np.floor(place).astype(np.int64) + (np.arange(2) if interpolation == "linear" else np.arange(-1, 3))
        weight = _kernel(np.abs(place - line), interpolation)
    return Taps(np.clip(line, 0, sizes - 1), weight.astype(np.float32))


def _kernel(distance: np.ndarray, interpolation: str) -> np.ndarray:
    """The weight of a pixel at that distance, below 2 (Keys 1981 for ``cubic``)."""
    if interpolation == "linear":
        return 1 - distance
    d, a = distance, CUBIC
    return np.where(d <= 1, ((a + 2) * d - (a + 3)) * d * d + 1, ((d - 5) * d + 8) * d * a - 4 * a)


def _placed(taps: Taps, start: int, size: int) -> Taps:
    """The taps of a line of ``size`` that is empty but for those from ``start`` on."""
    around = ((start, size - start - len(taps.line)), (0, 0))
    return Taps(np.pad(taps.line, around), np.pad(taps.weight, around))


def _cut(low: np.ndarray, high: np.ndarray, size: int, corners: str) -> Taps:
    """The taps (P,size,K) of what lies between two corners (P,), in lines of the frame; they may lie outside."""
    if corners == "exact":  # see crop.warp
        place = low[:, None, None] + np.arange(size)[:, None] * ((high - low) / size)[:, None, None]
        line = np.floor(place).astype(np.int64) + np.arange(2)
        return Taps(line, _kernel(np.abs(place - line), "linear").astype(np.float32))
    taps = resized(np.maximum(high - low, 1), size, "linear")
    return Taps(taps.line + low[:, None, None], taps.weight)


def _within(taps: Taps, size: int) -> Taps:
    """The taps without those outside of a frame, which is black there."""
    outside = (taps.line < 0) | (taps.line >= size)
    return Taps(np.where(outside, 0, taps.line), np.where(outside, np.float32(0), taps.weight))
