"""Frames that lie on a GPU, and the pictures that become of them there: letterboxed frames, crops, thumbnails.

A picture's pixel is a weighted sum of pixels of a frame, of a few columns in each of a few rows. Which and how much is
computed here, as OpenCV does it for ``detect.letterboxed`` and ``crop.crop_pixels``; one small graph does the rest, see
export/folder/image_graphs.py. OpenCV rounds weights for uint8, so that one pixel in some is another by 1 of 255.
"""

from dataclasses import dataclass
from typing import ClassVar

import av
import numpy as np
from numpy.typing import NDArray

from ...geometry import letterbox_layout
from ...rules import CropRule, Letterbox
from ...tables import Float32, Float64, Int64, Objects, image_column
from ..shots import THUMB_WH, every
from .orientation import UPRIGHT, Orientation


@dataclass(frozen=True, eq=False, slots=True)
class Surface:
    """One 8-bit 4:2:0 frame as NVDEC stores it, NV12, both sides even; its memory is the GPU's until this is let go.

    FFmpeg copies a frame out of NVDEC's own few surfaces before it hands it on (its hwaccel_flags lack unsafe_output),
    so a frame that is held takes memory, and does not keep NVDEC from decoding.
    """

    nbytes: ClassVar[int] = 0  # of this machine's memory
    frame: av.VideoFrame  # one that stayed on the device
    matrix: str  # one of yuv.WEIGHTS
    full_range: bool
    orientation: Orientation

    @property
    def shape(self) -> tuple[int, int, int]:
        """That of the frame as an RGB image, as displayed: (H,W,3)."""
        width, height = self.orientation.size((self.frame.width, self.frame.height))
        return height, width, 3

    def planes(self) -> dict[str, tuple[int, int]]:
        """Of ``y``, the brightness, and of ``uv``, both colours of a pixel side by side: address, and bytes a line."""
        return {n: (p.buffer_ptr, p.line_size) for n, p in zip(("y", "uv"), self.frame.planes, strict=True)}


CUBIC = -0.75  # OpenCV's coefficient


@dataclass(frozen=True, eq=False, slots=True)
class DeviceImage:
    """A frame that lies on a device, among others of its size."""

    nbytes: ClassVar[int] = 0  # of this machine's memory
    shape: tuple[int, int, int]  # (H,W,3), of uint8, as displayed
    frames: object  # all of them, (F,H,W,3), as the backend holds them
    row: int  # which of them
    orientation: Orientation = UPRIGHT  # of what is stored there


@dataclass(frozen=True, eq=False, slots=True)
class ResampleWeights:
    """Which lines of an image (n,K) each line of a picture is made of, and how much of each (n,K); of several pictures
    (P,n,K).
    """

    line: Int64
    weight: Float32

    def __getitem__(self, picture: int) -> "ResampleWeights":
        return ResampleWeights(self.line[picture], self.weight[picture])


@dataclass(frozen=True, eq=False, slots=True)
class PendingInput:
    """A picture yet to be made: what becomes a row of a network's input."""

    nbytes: ClassVar[int] = 0
    image: DeviceImage
    rows: ResampleWeights
    columns: ResampleWeights
    fill: float  # where weights are 0

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.rows.line), len(self.columns.line), 3


def canvases(frames: Objects, rule: Letterbox) -> Objects:
    """``detect.letterboxed`` of DeviceImages (N,), as PendingInputs (N,)."""
    h, w, _ = frames[0].shape
    _, (new_w, new_h), (left, top) = letterbox_layout((w, h), rule)
    rows = _placed(resized(h, new_h, rule.interpolation), top, rule.height_px)
    columns = _placed(resized(w, new_w, rule.interpolation), left, rule.width_px)
    return image_column([PendingInput(image, rows, columns, float(rule.fill)) for image in frames])


def thumbnails(frames: Objects) -> Objects:
    """``shots.thumbnail`` of DeviceImages (N,), times 255, as PendingInputs (N,)."""
    sides = zip(frames[0].shape[1::-1], THUMB_WH, strict=True)
    columns, rows = (_sampled(side, small) for side, small in sides)
    return image_column([PendingInput(image, rows, columns, 0.0) for image in frames])


def _sampled(size: int, new_size: int) -> ResampleWeights:
    """The taps of a line of every n-th pixel made ``new_size`` long."""
    step = every(size, new_size)
    taps = resized(len(range(0, size, step)), new_size, "area")
    return ResampleWeights(taps.line * step, taps.weight)


def cuts(frames: Objects, corners: NDArray[np.floating] | Int64, rule: CropRule) -> Objects:
    """``crop.crop_pixels`` of DeviceImages (P,) of one size between corners (P,4), without antialiasing, as Pictures
    (P,).
    """
    if not len(frames):
        return frames
    h, w, _ = frames[0].shape
    x0, y0, x1, y1 = corners.T
    rows = _within(_cut(y0, y1, rule.height_px, rule.corners), h)
    columns = _within(_cut(x0, x1, rule.width_px, rule.corners), w)
    return image_column([PendingInput(image, rows[i], columns[i], 0.0) for i, image in enumerate(frames)])


def resized(sizes: int | Int64, new_size: int, interpolation: str) -> ResampleWeights:
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
    return ResampleWeights(np.clip(line, 0, sizes - 1), weight.astype(np.float32))


def _kernel(distance: Float64, interpolation: str) -> Float64:
    """The weight of a pixel at that distance, below 2 (Keys 1981 for ``cubic``)."""
    if interpolation == "linear":
        return 1 - distance
    d, a = distance, CUBIC
    return np.where(d <= 1, ((a + 2) * d - (a + 3)) * d * d + 1, ((d - 5) * d + 8) * d * a - 4 * a)


def _placed(taps: ResampleWeights, start: int, size: int) -> ResampleWeights:
    """The taps of a line of ``size`` that is empty but for those from ``start`` on."""
    around = ((start, size - start - len(taps.line)), (0, 0))
    return ResampleWeights(np.pad(taps.line, around), np.pad(taps.weight, around))


def _cut(low: Float64 | Int64, high: Float64 | Int64, size: int, corners: str) -> ResampleWeights:
    """The taps (P,size,K) of what lies between two corners (P,), in lines of the frame; they may lie outside."""
    if corners == "exact":  # see crop.warp
        place = low[:, None, None] + np.arange(size)[:, None] * ((high - low) / size)[:, None, None]
        line = np.floor(place).astype(np.int64) + np.arange(2)
        return ResampleWeights(line, _kernel(np.abs(place - line), "linear").astype(np.float32))
    taps = resized(np.maximum(high - low, 1), size, "linear")
    return ResampleWeights(taps.line + low.astype(np.int64, copy=False)[:, None, None], taps.weight)


def _within(taps: ResampleWeights, size: int) -> ResampleWeights:
    """The taps without those outside of a frame, which is black there."""
    outside = (taps.line < 0) | (taps.line >= size)
    return ResampleWeights(np.where(outside, 0, taps.line), np.where(outside, np.float32(0), taps.weight))
