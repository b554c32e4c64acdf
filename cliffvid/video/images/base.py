"""What every kind of image can do. A batch holds images of one kind, so each is asked for the batch as a whole."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol, Self

import cv2
import numpy as np

from ...geometry import letterbox_layout
from ...pending import PendingInputs
from ...rules import CropRule, Letterbox
from ...tables import Array, Float32, Objects, UInt8, image_column

INTERPOLATION = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "area": cv2.INTER_AREA}
THUMB_WH = (32, 18)


class Decoded(Protocol):
    """A frame as the decoder leaves it: an ``Image``, or what becomes one together with the rest of its batch."""

    @property
    def size_wh(self) -> tuple[int, int]:
        """Return width and height as displayed."""

    @property
    def kind(self) -> object:
        """Return what all frames of a batch have in common."""

    @classmethod
    def batch(cls, decoded: Sequence[Self]) -> Objects:
        """Return frames of one kind as a column of images."""


class Image(Protocol):
    """A frame as displayed. The class methods take a column of images (N,) of this class and of one size."""

    @property
    def size_wh(self) -> tuple[int, int]:
        """Return width and height as displayed."""

    @property
    def nbytes(self) -> int:
        """Return the bytes that it takes of memory, wherever it is."""

    @classmethod
    def letterboxed(cls, images: Objects, rule: Letterbox) -> Array:
        """Return the images scaled with their aspect ratio and centred on canvases (N,h,w,3), uint8."""

    @classmethod
    def cropped(cls, images: Objects, rows: Array, corners: Array, rule: CropRule, dtype: str) -> Array:
        """Return crops (P,h,w,3) of ``images[rows]`` between corners x0, y0, x1, y1 (P,4), black outside the image."""

    @classmethod
    def thumbnails(cls, images: Objects, size_wh: tuple[int, int] = THUMB_WH) -> Float32:
        """Return each image at a small size (N,h,w,3), 0 to 1; of large images from every n-th pixel."""

    @classmethod
    def uploaded(cls, images: Objects, device: "Device") -> Objects:
        """Return the same images on the device."""


def kind_of(images: Objects) -> type[Image]:
    """Return the class of a batch's images."""
    kind: type[Image] = type(images[0])
    return kind


def thumbnail_step(side_px: int, thumb_px: int) -> int:
    """Return n such that every n-th pixel of a line is enough for a thumbnail."""
    return max(1, side_px // (4 * thumb_px))


class OnDevice(Protocol):
    """An array on a device."""

    def numpy(self) -> Array: ...


class Device(Protocol):
    """The networks' device, which stores frames and computes inputs from them: see models/backends/ort_images.py."""

    device: str  # its name

    def upload(self, parts: Sequence[UInt8]) -> object: ...
    def take_surfaces(self, surfaces: Sequence[dict[str, tuple[int, int]]], size_wh: tuple[int, int]) -> object: ...
    def make(self, inputs: PendingInputs, dtype: str) -> OnDevice: ...


class HostImage(ABC):
    """An image in this machine's memory."""

    @property
    @abstractmethod
    def size_wh(self) -> tuple[int, int]: ...

    @abstractmethod
    def rgb(self) -> UInt8:
        """Return the whole image (H,W,3), as displayed."""

    @abstractmethod
    def scale(self, size_wh: tuple[int, int], interpolation: int, out: UInt8) -> None:
        """Write the image at another size (h,w,3) to ``out``."""

    @abstractmethod
    def sparse(self, thumb_wh: tuple[int, int]) -> UInt8:
        """Return enough of its pixels (h,w,3) for a thumbnail of a size."""

    @property
    def kind(self) -> object:
        return type(self), self.size_wh

    @classmethod
    def batch(cls, decoded: Sequence[Self]) -> Objects:
        return image_column(decoded)

    @classmethod
    def letterboxed(cls, images: Objects, rule: Letterbox) -> UInt8:
        _, (width, height), (left, top) = letterbox_layout(images[0].size_wh, rule)
        canvas = np.full((len(images), rule.height_px, rule.width_px, 3), rule.fill, np.uint8)
        for image, whole in zip(images, canvas, strict=True):
            target = whole[top : top + height, left : left + width]
            image.scale((width, height), INTERPOLATION[rule.interpolation], target)
        return canvas

    @classmethod
    def thumbnails(cls, images: Objects, size_wh: tuple[int, int] = THUMB_WH) -> Float32:
        small = [cv2.resize(image.sparse(size_wh), size_wh, interpolation=cv2.INTER_AREA) for image in images]
        return np.array(small, np.float32) / np.float32(255)
