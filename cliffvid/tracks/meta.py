"""Define types for the metadata of a tracks file; metadata.TRACKS lists what is checked on reading."""

from collections.abc import Mapping
from typing import NotRequired, TypedDict, cast

from ..geometry import principal_point_px


class VideoFacts(TypedDict):
    """The input video: the fields of tables.VideoInfo as plain values."""

    name: str
    codec: str
    width_px: int
    height_px: int
    container: NotRequired[str]
    rate: NotRequired[str | None]
    time_base: NotRequired[str]
    duration_s: NotRequired[float | None]
    frames_claimed: NotRequired[int | None]
    first_pts: NotRequired[int | None]
    files: NotRequired[list[str]]  # names of the images, for image input


class BodyFacts(TypedDict):
    """The body that pose and betas belong to."""

    name: str
    joints: NotRequired[int]
    betas: NotRequired[int]
    note: NotRequired[str]


class ModelFacts(TypedDict):
    """A network that was used."""

    name: str
    task: NotRequired[str]
    sha256: NotRequired[str]
    licence: NotRequired[str]
    backend: NotRequired[str]
    device: NotRequired[str]
    precision: NotRequired[str]


class DecodeFacts(TypedDict, total=False):
    """The decoder's counts that are read back."""

    frames: int


class CountFacts(TypedDict, total=False):
    """Counts from decoding, and counts of the rows in the file."""

    rows: int
    tracks: int
    flags: dict[str, int]
    decode: DecodeFacts
    shots: list[list[int]]  # frame_idx and shot of the frames whose shot differs from the frame before
    moving: list[int]  # shots in which the camera moves


class LevelFacts(TypedDict):
    """How the camera is held from a frame on, see ``level.Level``."""

    from_frame: int
    up: list[float]
    floor_m: float | None
    up_sigma_deg: float | None
    camera_moves: bool


class Meta(TypedDict, total=False):
    """The whole metadata. Any key may be missing in a file; ``read_both`` guarantees ``video`` and ``body``."""

    schema_version: int
    columns: dict[str, str]
    software: str
    video: VideoFacts
    settings: dict[str, object]  # Options, by name
    models: list[ModelFacts]
    body: BodyFacts
    counts: CountFacts
    complete: bool
    smoothing: dict[str, object]
    level: list[LevelFacts]


def known(meta: Mapping[str, object]) -> Meta:
    """Return a tracks file's metadata as type Meta, unchecked."""
    return cast(Meta, meta)


def center_px(meta: Meta, frame_wh: tuple[int, int]) -> tuple[float, float]:
    """Return the principal point of the camera in frames of this size."""
    settings = cast(dict[str, float | None], meta.get("settings", {}))
    return principal_point_px(frame_wh, settings.get("cx_px"), settings.get("cy_px"))


def shots_of(meta: Meta) -> list[tuple[int, int]]:
    """Return (frame_idx, shot) of the frames whose shot differs from the frame before."""
    shots = meta.get("counts", {}).get("shots", [])
    return sorted((pair[0], pair[1]) for pair in shots if len(pair) == 2)
