"""Frames on a GPU, and the network inputs computed from them there: canvases, crops, thumbnails.

A pixel of such an input is a weighted sum of a few columns in each of a few rows of a frame. The weights are computed
here, as OpenCV does it for RGB images; one small graph does the rest, see export/folder/image_graphs.py. OpenCV rounds
weights for uint8, so that a pixel in some differs by 1 of 255.

Frames stay as they came, in RGB or in planes. Where four pixels share a chroma sample, their weights are those of four
pixels, so that the colours are those of an RGB frame, but for what such a frame rounds and clips.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple, cast

import av
import numpy as np

from ...errors import BackendError
from ...geometry import letterbox_layout
from ...pending import PendingGroup, PendingInputs
from ...rules import CropRule, Letterbox
from ...tables import Array, Float32, Float64, Int32, Int64, Objects, image_column
from .base import THUMB_WH, Device, thumbnail_step
from .matrix import BLACK, GREY, to_rgb
from .orientation import UPRIGHT, Orientation

CUBIC = -0.75  # OpenCV's coefficient
LAYOUTS_KEPT = 32  # of frames whose weights are kept; few, but for folders of images
TILE = 64  # pixels; narrow tiles take fewer samples beside a crop, wide ones fewer indices


@dataclass(frozen=True, eq=False, slots=True)
class Surface:
    """One 8-bit 4:2:0 frame as NVDEC stores it: NV12, both sides even, in memory that is the GPU's until it is freed.

    It is no image yet: it must not be kept, so whole batches become GpuImages at once. FFmpeg copies a frame out of
    NVDEC's own few surfaces before it returns it (its hwaccel_flags lack unsafe_output), so a frame that is kept takes
    memory, and does not keep NVDEC from decoding.
    """

    frame: av.VideoFrame  # one that stayed on the device
    matrix: str  # one of matrix.WEIGHTS
    full_range: bool
    orientation: Orientation
    device: Device

    @property
    def size_wh(self) -> tuple[int, int]:
        return self.orientation.size((self.frame.width, self.frame.height))

    @property
    def kind(self) -> object:
        return Surface, self.size_wh, self.orientation, self.matrix, self.full_range

    def planes(self) -> dict[str, tuple[int, int]]:
        """Return address and bytes per line of the planes ``y``, luma, and ``uv``, both chromas side by side."""
        return {n: (p.buffer_ptr, p.line_size) for n, p in zip(("y", "uv"), self.frame.planes, strict=True)}

    @classmethod
    def batch(cls, decoded: Sequence["Surface"]) -> Objects:
        """Return the frames as GpuImages, after which the surfaces can be freed. Raises BackendError."""
        first = decoded[0]
        device, size_wh = first.device, (first.frame.width, first.frame.height)
        with failing(f"{len(decoded)} frames that {device.device} decoded cannot be kept there"):
            samples = device.take_surfaces([surface.planes() for surface in decoded], size_wh)
        colors = first.matrix, first.full_range
        return Block(samples, len(decoded), size_wh, device, first.orientation, colors).images()


class Layout(NamedTuple):
    """How the frames of a block are stored, and displayed."""

    size_wh: tuple[int, int]  # as stored
    orientation: Orientation
    colors: tuple[str, bool] | None


@dataclass(frozen=True, eq=False, slots=True)
class Block:
    """Frames of one size in a device's memory: RGB, or all their luma (F,H,W) and then their chroma (F,H/2,W/2,2)."""

    samples: object  # uint8, as the backend holds them
    count: int
    size_wh: tuple[int, int]  # as stored; even, unless they are RGB
    device: Device
    orientation: Orientation = UPRIGHT
    colors: tuple[str, bool] | None = None  # matrix and full range of planes, see matrix.to_rgb

    @property
    def layout(self) -> Layout:
        return Layout(self.size_wh, self.orientation, self.colors)

    def images(self) -> Objects:
        """Return the frames as a column of images."""
        return image_column([GpuImage(self, row) for row in range(self.count)])


@dataclass(frozen=True, eq=False, slots=True)
class GpuImage:
    """A frame on a device, stored in one block with others."""

    block: Block  # all images of a batch have the same
    row: int  # its place there

    @property
    def size_wh(self) -> tuple[int, int]:
        return self.block.orientation.size(self.block.size_wh)

    @property
    def nbytes(self) -> int:
        pixels = math.prod(self.block.size_wh)
        return 3 * pixels if self.block.colors is None else 3 * pixels // 2

    @classmethod
    def letterboxed(cls, images: Objects, rule: Letterbox) -> Array:
        return cast(Array, PendingInputs([_of_frames(_letterbox(images[0].block.layout, rule), images)]))

    @classmethod
    def cropped(cls, images: Objects, rows: Array, corners: Array, rule: CropRule, dtype: str) -> Array:
        """Return crops as the other kinds do; none are antialiased, see ``pipeline.upload.on_device``."""
        w, h = images[0].size_wh
        x0, y0, x1, y1 = corners.T
        lines = _within(_cut(y0, y1, rule.height_px, rule.corners), h)
        columns = _within(_cut(x0, x1, rule.width_px, rule.corners), w)
        group = _of_first(images[0].block.layout, lines, columns)
        return cast(Array, PendingInputs([_of_frames(group, images, rows)]))

    @classmethod
    def thumbnails(cls, images: Objects, size_wh: tuple[int, int] = THUMB_WH) -> Float32:
        """Return the thumbnails, which are copied back from the device. Raises BackendError."""
        device: Device = images[0].block.device
        group = _of_frames(_thumbnail(images[0].block.layout, size_wh), images)
        with failing(f"thumbnails of {len(images)} frames cannot be made on {device.device}"):
            thumbs = device.make(PendingInputs([group]), "uint8").numpy()
        return thumbs.astype(np.float32) / np.float32(255)

    @classmethod
    def uploaded(cls, images: Objects, device: Device) -> Objects:
        return images


@contextmanager
def failing(what: str) -> Iterator[None]:
    """Raise BackendError for what a runtime raises; its types differ, and running out of memory is one case."""
    try:
        yield
    except Exception as error:
        raise BackendError(f"{what} ({error}); end what else runs there, or take a smaller --frame-batch") from error


@dataclass(frozen=True, eq=False, slots=True)
class ResampleWeights:
    """Which lines of an image each line of an input is made of, and their weights: (n,K), or (P,n,K) of P inputs."""

    line: Int32
    weight: Float32

    @property
    def each(self) -> "ResampleWeights":
        """Return the same as (P,n,K), or as (1,n,K) for all inputs."""
        return self if self.line.ndim == 3 else ResampleWeights(self.line[None], self.weight[None])

    def mirrored(self, size: int) -> "ResampleWeights":
        return ResampleWeights(size - 1 - self.line, self.weight)


@lru_cache(LAYOUTS_KEPT)
def _letterbox(layout: Layout, rule: Letterbox) -> PendingGroup:
    """Return the canvas of a block's first frame."""
    w, h = layout.orientation.size(layout.size_wh)
    _, (new_w, new_h), (left, top) = letterbox_layout((w, h), rule)
    rows, columns = resized(h, new_h, rule.interpolation), resized(w, new_w, rule.interpolation)
    margins = top, left, rule.height_px - top - new_h, rule.width_px - left - new_w
    return replace(_of_first(layout, rows, columns), margins=margins, fill=rule.fill)


@lru_cache(LAYOUTS_KEPT)
def _thumbnail(layout: Layout, size_wh: tuple[int, int]) -> PendingGroup:
    """Return the thumbnail of a block's first frame."""
    columns, rows = map(_sampled, layout.orientation.size(layout.size_wh), size_wh)
    return _of_first(layout, rows, columns)


def _of_first(layout: Layout, rows: ResampleWeights, columns: ResampleWeights) -> PendingGroup:
    """Return inputs of a block's first frame, made of these rows and columns as displayed; see ``_of_frames``."""
    (width, height), (exchanged, left_right, up_down) = layout.orientation.size(layout.size_wh), layout.orientation
    rows, columns = (rows.mirrored(height) if up_down else rows), (columns.mirrored(width) if left_right else columns)
    lines, across = (each.each for each in ((columns, rows) if exchanged else (rows, columns)))
    width, height = layout.size_wh
    tile = math.gcd(width, TILE)
    ends = across.line[:, [0, -1]]  # the lines in between are between them
    first, last = (find(ends, axis=(1, 2)) // tile for find in (np.min, np.max))
    tiles = int((last - first).max(initial=0)) + 1
    first = np.minimum(first, width // tile - tiles)  # no line is left
    place = across.line - tile * first[:, None, None]
    line = lines.line * (width // tile)
    if layout.colors is None:
        black: tuple[int, ...] = (0,)
        matrix = np.eye(3)
        samples = [3 * place + channel for channel in range(3)]
        line = line[..., None]
    else:
        black, matrix = (BLACK[layout.colors[1]], GREY), to_rgb(*layout.colors)[:, :3]
        line = np.stack([line, (lines.line >> 1) * (width // tile)], axis=-1)
        pair = (place & ~1) + tiles * tile
        samples = [place, pair, pair + 1]
    return PendingGroup(
        frames=None,
        tile=tile * (3 if layout.colors is None else 1),
        tiles=tiles,
        starts=np.repeat(first[:, None], len(black), axis=1),
        lines=line,
        line_weights=lines.weight,
        # one copy for each sample: numpy is slow where the last axis is short
        places=np.stack([each[..., k] for each in samples for k in range(place.shape[2])], axis=-1),
        column_weights=across.weight,
        matrix=matrix.astype(np.float32),
        black=black,
        exchanged=exchanged,
        precise=layout.colors is None,
    )


def _of_frames(group: PendingGroup, images: Objects, of: Array | None = None) -> PendingGroup:
    """Return the inputs of the first frame for the images, or for ``images[of]``."""
    block: Block = images[0].block
    width, height = block.size_wh
    frame = np.array([image.row for image in images])
    frame = frame if of is None else frame[of]
    line = frame[:, None] * height  # the first one of each plane
    if block.colors is not None:
        line = np.concatenate([line, block.count * height + line // 2], axis=1)
    starts = line * (width // math.gcd(width, TILE)) + group.starts
    return replace(group, frames=block.samples, starts=starts.astype(np.int32))


def _sampled(size: int, new_size: int) -> ResampleWeights:
    """Return the weights of a line of every n-th pixel at ``new_size`` pixels."""
    step = thumbnail_step(size, new_size)
    weights = resized(len(range(0, size, step)), new_size, "area")
    return ResampleWeights(weights.line * step, weights.weight)


def resized(sizes: int | Int64, new_size: int, interpolation: str) -> ResampleWeights:
    """Return the weights (...,new_size,K) of lines of ``sizes`` (...) pixels at ``new_size`` pixels, as cv2.resize.

    A line goes on beyond its ends as at its ends.
    """
    size = np.asarray(sizes, np.int32)[..., None, None]
    step: Float64 = size / new_size
    if interpolation == "area":  # the part of each pixel that the new one covers
        low = np.arange(new_size)[:, None] * step
        line = (np.floor(low) + np.arange(int(np.ceil(step.max())) + 1)).astype(np.int32)
        weight = np.clip(np.minimum(line + 1, low + step) - np.maximum(line, low), 0, None) / step
        weights = ResampleWeights(line, weight.astype(np.float32))
    else:
        weights = _around((np.arange(new_size)[:, None] + 0.5) * step - 0.5, interpolation)
    np.clip(weights.line, 0, size - 1, out=weights.line)
    return weights


def _around(place: Float64, interpolation: str) -> ResampleWeights:
    """Return the weights of the lines around places (...,n,1)."""
    low = np.floor(place)
    if interpolation == "linear":
        line = low.astype(np.int32)
        part = np.subtract(place, low, out=low).astype(np.float32)
        return ResampleWeights(np.concatenate([line, line + 1], axis=-1), np.concatenate([1 - part, part], axis=-1))
    lines = low + np.arange(-1, 3)
    return ResampleWeights(lines.astype(np.int32), _cubic(np.abs(place - lines)).astype(np.float32))


def _cubic(distance: Float64) -> Float64:
    """Return the weight of a pixel at a distance below 2 (Keys 1981)."""
    d, a = distance, CUBIC
    return np.where(d <= 1, ((a + 2) * d - (a + 3)) * d * d + 1, ((d - 5) * d + 8) * d * a - 4 * a)


def _cut(low: Float64 | Int64, high: Float64 | Int64, size: int, corners: str) -> ResampleWeights:
    """Return the weights (P,size,K) between two corners (P,), in lines of the frame; they may be outside it."""
    if corners == "exact":  # see rgb.warp
        return _around(low[:, None, None] + np.arange(size)[:, None] * ((high - low) / size)[:, None, None], "linear")
    weights = resized(np.maximum(high - low, 1), size, "linear")
    np.add(weights.line, low.astype(np.int32)[:, None, None], out=weights.line)
    return weights


def _within(weights: ResampleWeights, size: int) -> ResampleWeights:
    """Return the weights, 0 for lines outside a frame: it is black there."""
    line = np.clip(weights.line, 0, size - 1)
    return ResampleWeights(line, weights.weight * (line == weights.line))
