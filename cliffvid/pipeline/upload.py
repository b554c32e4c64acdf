"""Upload each frame once to the device that runs the networks; letterboxing and cropping happen there."""

from dataclasses import replace

from ..models.session import Session
from ..tables import Frames
from ..video.images.base import kind_of
from ..video.images.gpu import failing

# Frame batches kept on the device until their people are regressed. With few people, crop batches go out partly filled.
BATCHES_HELD = 4


def on_device(detector: Session | None, regressor: Session) -> bool:
    """Return whether letterboxing and cropping run on the networks' device; on the CPU that is not worthwhile."""
    both = detector or regressor, regressor
    bilinear = regressor.manifest.rules["crop"].resample == "bilinear"
    return bilinear and all(session.device != "cpu" and session.pictures is not None for session in both)


def uploaded(frames: list[Frames], session: Session) -> list[Frames]:
    """Return the same frames with their images on the session's device."""
    return [_uploaded(each, session) for each in frames]


def _uploaded(frames: Frames, session: Session) -> Frames:
    assert session.pictures is not None, "see on_device"
    with failing(f"{len(frames)} frames cannot be put on {session.device}"):
        return replace(frames, images=kind_of(frames.images).uploaded(frames.images, session.pictures))
