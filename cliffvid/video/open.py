"""What a name stands for: a video, images, or an address."""

import os  # its path.isdir and so on say no where Path's raise PermissionError
from pathlib import Path

from ..options import Options
from .heif import brands, is_still
from .image_files import Images, is_image, is_pattern
from .reader import Video


def open_source(path: Path | str, options: Options | None = None, surfaces: bool = False) -> Video | Images:
    """The video or images that a name stands for, open; ``surfaces`` as of Video. Raises InputError, whose kinds
    errors.py lists, and BackendError.

    A folder, a pattern and an image file are images; anything else is a video.
    """
    if isinstance(path, Path) and (os.path.isdir(path) or is_pattern(path) or _is_image(path)):
        return Images(path, options)
    return Video(path, options, surfaces)


def _is_image(path: Path) -> bool:
    """By its content where photos and films share their boxes, else by its name."""
    kinds = brands(path) if os.path.isfile(path) else []  # a pipe would keep whoever opens it waiting
    return is_still(kinds) if kinds else is_image(path)


def source_of(name: str | Path) -> Path | str:
    """A name as given: a path, or an address such as https://host/a.mp4, which Path would mangle."""
    return str(name) if "://" in str(name) and not os.path.exists(name) else Path(name)


def stem(source: Path | str) -> str:
    """What the results of a source are called: a file's name without its ending, a folder's name."""
    path = Path(str(source).split("?")[0]) if isinstance(source, str) else source
    if is_pattern(path):
        path = path.parent
    return path.resolve().name if os.path.isdir(path) else path.stem
