"""Read images as frames: a folder or pattern in natural order, or a single image."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from PIL import Image, ImageOps, features

from .. import optional
from ..errors import (
    AccessError,
    BackendError,
    EmptyError,
    InputError,
    NotFoundError,
    NoVideoError,
    RefusedError,
    UnreadableError,
)
from ..inputs import check_input, open_input
from ..names import label, listed
from ..options import Options
from ..tables import UInt8, VideoInfo
from .container import brands, is_still
from .deinterlace import DisplayedFrame
from .images.rgb import RgbImage
from .reader import DecodeCounts, Source

# Listed, because by default Pillow also opens formats that run other programs (EPS) or hold other files.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM")
HEIC = 'pip install "cliffvid[heic]"'
SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".png",
    ".webp",
    ".bmp",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
    ".heic",
    ".heif",
    ".hif",
    ".avif",
)
WITH_MORE = ("MPO", "HEIF")  # a phone shows the first picture: the others are views, depths, or of a burst
BITS, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0  # tags of a TIFF, and a value of the second
NAMED = 5  # names listed of many files
NO_WHITE = "nothing says which of them is white; save it with 8 or 16 bits"


def is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not is_hidden(path)  # ._a.jpg is macOS metadata


def is_hidden(path: Path | str) -> bool:
    return os.path.basename(path).startswith(".")


def natural_key(path: Path) -> list[int | str]:
    """Return a sort key that puts img2 before img10."""
    parts = re.split(r"(\d+)", str(path))
    return [*(int(part) if i % 2 else part for i, part in enumerate(parts)), str(path)]


class Images(Source):
    """Image files as frames, always in RGB; a context manager.

    ``frame_idx`` is the position among all images, unreadable ones included. The time base is that of
    ``options.image_fps``: pts counts images. Raises NotFoundError, NoVideoError, or RefusedError for a kind of image
    that nothing installed reads.
    """

    def __init__(self, path: Path, options: Options | None = None) -> None:
        self.path, self.options = path, options or Options()
        self.files, self._ignored = _files(path)
        if not self.files:
            raise NoVideoError(f"{path}: holds no images ({', '.join(SUFFIXES)}); name the videos themselves")
        firsts = {file.suffix.lower(): file for file in reversed(self.files)}
        for file in firsts.values():  # refuse before the work, not in its midst
            reader_of(file)
        rate = Fraction(self.options.image_fps).limit_denominator(100_000)
        first = next((size for size in map(image_size, self.files) if size), (0, 0))
        self.info = VideoInfo(
            path=path,
            container="images",
            codec=self.files[0].suffix[1:].lower(),
            width_px=first[0],
            height_px=first[1],
            rate=rate,
            time_base=1 / rate,
            duration_s=float(len(self.files) / rate),
            frames_claimed=len(self.files),
            files=tuple(label(file.name) for file in self.files),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def _shown(
        self, counts: DecodeCounts, start_s: float, end_s: float, stride: int, planes: bool
    ) -> Iterator[DisplayedFrame]:
        counts.first_pts = 0
        for file in self._ignored:
            _note(counts, "ignored_files", file.name)
        error, read = None, 0
        for index in range(0, len(self.files), stride):
            time_s = float(index * self.info.time_base)
            if not start_s <= time_s < end_s:
                continue
            file = self.files[index]
            try:
                image, scaled = self._read(file)
            except (UnreadableError, EmptyError) as fault:
                _note(counts, "damaged", file.name)
                counts.notes.setdefault("why", [label(str(fault))])
                error = fault
                continue
            if scaled:
                _note(counts, "scaled", file.name)
            read += 1
            yield DisplayedFrame(RgbImage(image), index, index, time_s, False)
        if error and not read:
            raise error

    def _read(self, path: Path) -> tuple[UInt8, bool]:
        """Return RGB (H,W,3) uint8, rotated as its EXIF says, and whether its values were scaled.

        Raises UnreadableError, EmptyError, AccessError or RefusedError.
        """
        limit_mpx = self.options.max_frame_mpx
        too_large = f"{path}: larger than --max-frame-mpx {limit_mpx:g}; raise it if the picture is to be trusted"
        try:
            with opened(path) as image:
                if image.width * image.height > limit_mpx * 1e6:
                    raise RefusedError(too_large)
                # Not n_frames, which searches all pages of a TIFF.
                if getattr(image, "is_animated", False) and image.format not in WITH_MORE:
                    raise UnreadableError(f"{path}: holds more than one picture; make a video of it")
                return _rgb(image, path)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise RefusedError(too_large) from error
        except Exception as error:  # Pillow can raise nearly anything for a damaged file
            if isinstance(error, InputError):
                raise
            words = " ".join(str(error).split())
            raise UnreadableError(f"{path}: not a readable image ({words}); damaged or cut short?") from error


def _note(counts: DecodeCounts, kind: str, name: str) -> None:
    """Count an image in the field ``kind``, and keep its name if it is one of the first."""
    setattr(counts, kind, getattr(counts, kind) + 1)
    names = counts.notes.setdefault(kind, [])
    if len(names) < NAMED:
        names.append(label(name))


def _files(path: Path) -> tuple[list[Path], list[Path]]:
    """Return the images that a folder, pattern or name stands for, in order, and the folder's other files."""
    try:
        if path.is_dir():
            files = sorted((file for file in path.iterdir() if file.is_file()), key=natural_key)
            others = sorted((file for file in files if not is_image(file)), key=is_hidden)
            return [file for file in files if is_image(file)], others
        if path.exists():
            check_input(path)
            return [path], []
    except PermissionError as error:
        raise AccessError(f"{path}: not allowed to look for it; check the folder's permissions") from error
    pattern = path.name
    files = [file for file in path.parent.glob(pattern) if file.is_file()] if is_pattern(path) else []
    if not files:
        raise NotFoundError(f"{path}: no such file")
    strange = [file.name for file in files if not is_image(file)]
    if strange:
        names = listed(strange[:NAMED], len(strange))
        raise NoVideoError(
            f"{path}: matches files that are no images ({names}); for several videos leave the quotes out"
        )
    return sorted(files, key=natural_key), []


def is_pattern(path: Path) -> bool:
    """Return whether a name that does not exist is a pattern, such as ``frames/*.jpg``."""
    return bool(set("*?[") & set(path.name)) and not os.path.exists(path)


def image_size(path: Path) -> tuple[int, int] | None:
    """Return width and height as displayed, from the header; None if that cannot be read. Raises RefusedError."""
    reader_of(path)
    try:
        with opened(path) as image:
            turned = image.getexif().get(0x0112, 1) >= 5  # orientations that swap width and height
            return image.size[::-1] if turned else image.size
    except Exception:
        return None


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Open an image up to its header. Raises RefusedError as ``reader_of``, InputError, and anything if damaged."""
    with open_input(path) as file, reader_of(path)(file) as image:
        yield image


def reader_of(path: Path) -> Callable[[BinaryIO], Image.Image]:
    """Return the function that opens an image up to its header. Raises RefusedError if it is not installed."""
    kinds = brands(path)
    if "avif" in kinds:
        if not features.check("avif"):
            words = "pip install -U pillow, or save it as JPEG"
            raise RefusedError(f"{path}: AVIF, which this Pillow does not read: {words}")
        return partial(Image.open, formats=("AVIF",))
    return _heif_reader(path) if is_still(kinds) else partial(Image.open, formats=FORMATS)


def _heif_reader(path: Path) -> Callable[[BinaryIO], Image.Image]:
    try:
        package = optional.load("pillow_heif", HEIC, "install it again")
        optional.load("_pillow_heif", HEIC, "install pillow-heif again")  # the package imports without it
    except BackendError as error:
        raise RefusedError(f"{path}: HEIC: {error}, or save it as JPEG") from error
    reader: Callable[[BinaryIO], Image.Image] = package.HeifImageFile
    return reader


def _rgb(image: Image.Image, path: Path) -> tuple[UInt8, bool]:
    """Return the upright pixels in RGB, and whether 1 was taken for white. Transparency is left out."""
    upright = ImageOps.exif_transpose(image)
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}  # Any: Pillow's type
    if image.mode != "F" and not image.mode.startswith("I"):
        return np.array(upright.convert("RGB")), False  # a copy: Pillow's pixels must not be written to
    values, scaled = np.asarray(upright), image.mode == "F"
    if scaled:
        if not np.isfinite(values).all():
            raise UnreadableError(f"{path}: some of its values are no numbers; save it with 8 or 16 bits")
        if values.min() < 0 or values.max() > 1:
            raise UnreadableError(f"{path}: floating-point values outside 0 to 1: {NO_WHITE}")
        grey = np.rint(values * 255)
    elif image.mode == "I" and tags:
        raise UnreadableError(f"{path}: whole numbers of 32 bits, or with a sign: {NO_WHITE}")
    else:  # Pillow's own conversion would clip at 255
        grey = values >> (tags.get(BITS, (16,))[0] - 8)
    grey = grey.clip(0, 255).astype(np.uint8)
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:  # Pillow inverts it up to 8 bits only
        grey = 255 - grey
    return np.repeat(grey[..., None], 3, axis=2), scaled
