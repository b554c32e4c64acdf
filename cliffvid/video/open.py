"""Open the video, images or address that a name stands for."""

import os  # os.path.isdir and the like return False where Path's raise PermissionError
from pathlib import Path
from typing import TypeAlias

from ..errors import UsageError
from ..options import Options
from .container import brands, is_still
from .image_files import Images, is_image, is_pattern
from .images.base import Device
from .memory import ByteStream, FileVideo, FrameSource
from .reader import Source, Video
from .shards import shard_of

VideoInput: TypeAlias = str | Path | ByteStream | FrameSource


def open_source(path: Path | str, options: Options | None = None, device: Device | None = None) -> Video | Images:
    """Return the opened video or images that a name stands for; ``device`` as in Video.

    A folder, a pattern and an image file are images; anything else is a video. Raises InputError of the kinds in
    errors.py, and BackendError.
    """
    path = source_of(path)  # Python callers name files as text, too
    if isinstance(path, Path) and not shard_of(path) and (os.path.isdir(path) or is_pattern(path) or _is_image(path)):
        return Images(path, options)
    return Video(path, options, device)


def open_input_video(video: VideoInput, options: Options, device: Device | None = None) -> Source:
    """Return the opened video of a name, an open file or frames in memory. Raises as ``open_source``."""
    if isinstance(video, FrameSource):
        return video
    if isinstance(video, str | Path):
        return open_source(video, options, device)
    return FileVideo(video, str(name_of(video)), options, device)


def name_of(video: VideoInput) -> Path | str:
    """Return what a video is called. Raises UsageError if it is none of the kinds that there are."""
    if isinstance(video, str | Path):
        return source_of(video)
    if isinstance(video, FrameSource):
        return video.path
    if not hasattr(video, "read"):
        raise UsageError(
            f"a video cannot be {type(video).__name__}: give a path, an address, a file open as binary, or "
            "FrameSource(frames, fps=...)"
        )
    name = getattr(video, "name", None)
    return name if isinstance(name, str) and name else "<file>"


def _is_image(path: Path) -> bool:
    """Return whether a file is an image: by content where photos and videos share a container, else by name."""
    kinds = brands(path) if os.path.isfile(path) else []  # opening a pipe would block
    return is_still(kinds) if kinds else is_image(path)


def source_of(name: str | Path) -> Path | str:
    """Return a name as a path, or unchanged if it is an address such as https://host/a.mp4, which Path would mangle."""
    return str(name) if "://" in str(name) and not os.path.exists(name) else Path(name)


def stem(source: Path | str) -> str:
    """Return the name for a source's results: a file's name without its suffix, or a folder's name."""
    path = Path(str(source).split("?")[0]) if isinstance(source, str) else source
    if is_pattern(path):
        path = path.parent
    return path.resolve().name if os.path.isdir(path) else path.stem
