"""Upload each frame once to the device that runs the networks; letterboxing and cropping happen there."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import BackendError
from ..models.backends.ort_images import OrtValue, Pictures
from ..models.session import Session
from ..tables import Float32, Frames, Objects, image_column
from ..video.images.gpu import DeviceImage, thumbnails
from ..video.images.yuv import YuvImage, to_rgb

# Frame batches kept on the device until their people are regressed. With few people, crop batches go out partly filled.
BATCHES_HELD = 4


def on_device(detector: Session, regressor: Session) -> bool:
    """Return whether letterboxing and cropping run on the networks' device; on the CPU that is not worthwhile."""
    both = detector, regressor
    bilinear = regressor.manifest.rules["crop"].resample == "bilinear"
    return bilinear and all(session.device != "cpu" and session.pictures is not None for session in both)


def uploaded(frames: list[Frames], session: Session) -> list[Frames]:
    """Return the same frames with their images on the session's device."""
    return [_uploaded(each, session) for each in frames]


def _uploaded(frames: Frames, session: Session) -> Frames:
    if isinstance(frames.images[0], DeviceImage):
        return frames
    with _told(f"{len(frames)} frames cannot be put on {session.device}"):
        there = _sent(frames.images, _pictures(session))
    images = [DeviceImage(image.shape, there, row) for row, image in enumerate(frames.images)]
    return replace(frames, images=image_column(images))


def to_gpu_rgb(frames: Frames, session: Session, path: Path | str) -> tuple[Frames, Float32]:
    """Return frames with their Surfaces converted to RGB in device memory, and each frame's ``shots.thumbnail``.

    Only the thumbnails are copied back. The Surfaces can then be released. Raises BackendError that names ``path``.
    """
    surfaces = frames.images
    with _told(f"{path}: {len(frames)} frames that {session.device} decoded cannot become RGB there"):
        matrices = np.stack([to_rgb(surface.matrix, surface.full_range) for surface in surfaces])
        pictures = _pictures(session)
        there = pictures.take_surfaces(list(surfaces), matrices)
        images = image_column([DeviceImage(s.shape, there, row, s.orientation) for row, s in enumerate(surfaces)])
        thumbs = pictures.make(thumbnails(images), "uint8").numpy()
    return replace(frames, images=images), thumbs.astype(np.float32) / np.float32(255)


def _pictures(session: Session) -> Pictures:
    assert session.pictures is not None, "see on_device"
    return session.pictures


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # exception types differ between runtimes; out of memory is one case
        raise BackendError(f"{what} ({error}); end what else runs there, or take a smaller --frame-batch") from error


def _sent(images: Objects, pictures: Pictures) -> OrtValue:
    """Return frames in the backend's form. YUV planes are uploaded as they are (half the bytes) and converted there."""
    if not all(isinstance(image, YuvImage) for image in images):
        return pictures.upload(np.stack([image.rgb() if isinstance(image, YuvImage) else image for image in images]))
    y, u, v = map(np.stack, zip(*(image.shown() for image in images), strict=True))
    return pictures.upload_planes(y, u, v, np.stack([to_rgb(image.matrix, image.full_range) for image in images]))
