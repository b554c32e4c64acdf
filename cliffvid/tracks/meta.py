"""What a tracks file says about itself, as types: see metadata.TRACKS for what of it is checked when it is read."""

from collections.abc import Mapping
from typing import NotRequired, TypedDict, cast


class VideoFacts(TypedDict):
    """The video as it was read: the fields of tables.VideoInfo as plain values."""

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
    files: NotRequired[list[str]]  # of images


class BodyFacts(TypedDict):
    """The body that pose and betas belong to."""

    name: str
    joints: NotRequired[int]
    betas: NotRequired[int]
    note: NotRequired[str]


class ModelFacts(TypedDict):
    """A network that was asked."""

    name: str
    task: NotRequired[str]
    sha256: NotRequired[str]
    licence: NotRequired[str]
    backend: NotRequired[str]
    device: NotRequired[str]
    precision: NotRequired[str]


class DecodeFacts(TypedDict, total=False):
    """Of what the decoder counted, what is read again."""

    frames: int


class CountFacts(TypedDict, total=False):
    """What was counted when the video was read; of the rows as they are in the file."""

    rows: int
    tracks: int
    flags: dict[str, int]
    decode: DecodeFacts


class Meta(TypedDict, total=False):
    """All of it. Each may be missing in what is read; ``video`` and ``body`` are in what ``read_both`` gives."""

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


def known(meta: Mapping[str, object]) -> Meta:
    """The metadata that a file of tracks is written with, as what it is."""
    return cast(Meta, meta)
