"""Pictures as a source of frames: a folder or pattern of images in natural order, or a single one."""

import os
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from .decode import DecodeCounts, Shown, Source
from .errors import AccessError, NotFoundError, NoVideoError, RefusedError, UnreadableError
from .options import Options
from .types import VideoInfo

# Named, because Pillow by itself also opens formats that run other programs (EPS) or hold other files.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")


def is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(
        "."
    )  # ._a.jpg is not a picture but a Mac's note


def natural_key(path: Path) -> list:
    """Sorts img2 before img10, as people number files."""
    parts = re.split(r"(\d+)", str(path))
    return [int(part) if i % 2 else part for i, part in enumerate(parts)] + [str(path)]


class Images(Source):
    """Image files as frames, in RGB always; a context manager.

    ``frame_idx`` is the place among the images, those included that cannot be read. The clock is that of
    ``options.image_fps``: pts counts pictures. Raises NotFoundError or NoVideoError.
    """

    def __init__(self, path: Path, options: Options | None = None) -> None:
        self.path, self.options = path, options or Options()
        everything = _files(path)
        self.files = sorted(filter(is_image, everything), key=natural_key)
        self._ignored = len(everything) - len(self.files)
        if not self.files:
            raise NoVideoError(f"{path}: holds no images ({', '.join(SUFFIXES)}); name the videos themselves")
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
            files=tuple(file.name for file in self.files),
        )

    def __enter__(self) -> "Images":
        return self

    def __exit__(self, *_) -> None:
        pass

    def _shown(self, counts: DecodeCounts, start_s: float, end_s: float, stride: int, planes: bool) -> Iterator[Shown]:
        counts.first_pts, counts.ignored_files = 0, self._ignored
        error, read = None, 0
        for index in range(0, len(self.files), stride):
            time_s = float(index * self.info.time_base)
            if not start_s <= time_s < end_s:
                continue
            try:
                image = self._read(self.files[index])
            except UnreadableError as fault:
                counts.damaged += 1
                error = fault
                continue
            read += 1
            yield Shown(image, index, index, time_s, False)
        if error and not read:
            raise error

    def _read(self, path: Path) -> np.ndarray:
        """RGB (H,W,3) uint8, turned as its EXIF says. Raises UnreadableError, AccessError or RefusedError."""
        limit_mpx = self.options.max_frame_mpx
        too_large = f"{path}: larger than --max-frame-mpx {limit_mpx:g}; raise it if the picture is to be trusted"
        try:
            with Image.open(path, formats=FORMATS) as image:
                if image.width * image.height > limit_mpx * 1e6:
                    raise RefusedError(too_large)
                if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":  # a phone's JPEG with a second view
                    raise UnreadableError(f"{path}: an animation of {image.n_frames} pictures; make a video of it")
                return _rgb(ImageOps.exif_transpose(image))
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise RefusedError(too_large) from error
        except PermissionError as error:
            raise AccessError(f"{path}: not allowed to read it; check the file's permissions") from error
        except Exception as error:  # Pillow's readers raise whatever the damage makes them stumble over
            if isinstance(error, RefusedError | UnreadableError):
                raise
            raise UnreadableError(f"{path}: not a readable image ({error}); damaged or cut short?") from error


def _files(path: Path) -> list[Path]:
    """The files that a folder, a pattern or a name stands for."""
    try:
        if path.is_dir():
            return [file for file in path.iterdir() if file.is_file()]
        if path.is_file():
            return [path]
    except PermissionError as error:
        raise AccessError(f"{path}: not allowed to look for it; check the folder's permissions") from error
    pattern = path.name
    files = [file for file in path.parent.glob(pattern) if file.is_file()] if is_pattern(path) else []
    if not files:
        raise NotFoundError(f"{path}: no such file")
    if not all(map(is_image, files)):
        raise NoVideoError(f"{path}: matches files that are no images; for several videos leave the quotes out")
    return files


def is_pattern(path: Path) -> bool:
    """Whether a name that is no file's is meant as a pattern, such as ``frames/*.jpg``."""
    return bool(set("*?[") & set(path.name)) and not os.path.exists(path)


def image_size(path: Path) -> tuple[int, int] | None:
    """Width and height as displayed, from the header; None if there is none to read."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            turned = image.getexif().get(0x0112, 1) >= 5  # the orientations that exchange the sides
            return image.size[::-1] if turned else image.size
    except Exception:
        return None


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):  # 16 bits of grey: Pillow's own conversion would clip at 255
        grey = (np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    return np.array(image.convert("RGB"))  # Pillow's own pixels must not be written to
