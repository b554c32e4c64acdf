"""Read frames that are in memory, and videos from open files instead of paths."""

import itertools
import math
import os
import tempfile
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Protocol, Self, SupportsFloat, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from ..errors import CliffvidError, EmptyError, InputError, NoVideoError, UsageError
from ..files import output_errors
from ..options import Options
from ..tables import Frames, UInt8, VideoInfo
from .deinterlace import DisplayedFrame
from .images.base import Device
from .images.rgb import RgbImage
from .reader import DecodeCounts, Source, Video

T = TypeVar("T")
BLOCK_BYTES = 1 << 20  # copied at once
TICKS = 1_000_000  # a second, of frames that come with their times
FPS = 1e-3, 1e6  # a rate is kept as a ratio whose denominator is at most 100,000
TIME_MAX_S = 1e12  # times of day since 1970 are 2e9


class ByteStream(Protocol):
    """An open binary file, or anything else that reads bytes."""

    def read(self, size: int, /) -> bytes: ...


class FrameSource(Source):
    """Frames in memory, as a video for ``process`` and ``stream``. Each is taken when it is needed, and copied.

    Args:
        frames: Arrays (height, width, 3) uint8 in RGB, all of one size; or what ``numpy.asarray`` takes, such as
            tensors of torch on the CPU. A generator is closed at the end.
        times_s: When each frame was taken, in seconds from any start: increasing numbers. They may come from an
            iterator, which is asked after each frame.
        fps: Frames per second, instead of ``times_s``.
        name: The name of the video in tracks files and messages.

    Raises:
        UsageError: Neither or both of ``times_s`` and ``fps`` are given, or ``fps`` is out of range.
    """

    def __init__(
        self,
        frames: Iterable[ArrayLike],
        times_s: Iterable[SupportsFloat] | None = None,
        *,
        fps: float | None = None,
        name: str = "<frames>",
    ) -> None:
        if (times_s is None) == (fps is None):
            raise UsageError(f"{name}: give either times_s, the time of each frame, or fps")
        self.path, self._frames, self._times, self._fps = name, frames, times_s, fps
        rate = None if fps is None else _rate(name, fps)
        self._taken: Iterator[ArrayLike] | None = None
        self.info = VideoInfo(
            path=name,
            container="frames",
            codec="rgb24",
            width_px=0,  # until the first frame has come
            height_px=0,
            rate=rate,
            time_base=1 / rate if rate else Fraction(1, TICKS),
            duration_s=None,
            frames_claimed=_length(frames),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if isinstance(self._taken, Generator):
            self._taken.close()

    def _shown(
        self, counts: DecodeCounts, start_s: float, end_s: float, stride: int, planes: bool
    ) -> Iterator[DisplayedFrame]:
        first: float | None = None
        for index, (given, at_s) in enumerate(self._timed()):
            pixels = self._pixels(index, given)
            if first is None:
                first, counts.first_pts = at_s, round(at_s / self.info.time_base)
                self.info = replace(self.info, width_px=pixels.shape[1], height_px=pixels.shape[0])
            if (pixels.shape[1], pixels.shape[0]) != (self.info.width_px, self.info.height_px):
                raise InputError(
                    f"{self.path}: frame {index} has {pixels.shape[1]} x {pixels.shape[0]} pixels, those before it "
                    f"{self.info.width_px} x {self.info.height_px}; bring them to one size"
                )
            time_s = at_s - first
            if time_s >= end_s:
                break
            if time_s >= start_s and index % stride == 0:
                ticks = index if self._fps else round(at_s * TICKS)
                yield DisplayedFrame(RgbImage(np.array(pixels, order="C")), index, ticks, time_s, False)
        if first is None:
            raise NoVideoError(f"{self.path}: not one frame came; an iterator that was used up before?")

    def _timed(self) -> Iterator[tuple[ArrayLike, float]]:
        """Yield each frame and its time, as given. Raises InputError where one is missing."""
        self._taken = self._each(self._frames, "frames")
        times = None if self._times is None else self._each(self._times, "times_s")
        before = -math.inf
        for index in itertools.count():
            frame = self._next(self._taken, f"frame {index}")
            if frame is None:
                if (known := _length(self._times)) is not None and known > index:
                    raise InputError(f"{self.path}: ended after {index} frames, but there are {known} times")
                return
            if times is None:
                yield frame[0], float(index * self.info.time_base)
                continue
            time = self._next(times, f"time {index}")
            if time is None:
                raise InputError(f"{self.path}: frame {index} has no time: times_s ended before the frames")
            at_s = self._seconds(index, time[0])
            if at_s <= before:
                raise InputError(f"{self.path}: frame {index} is of {at_s:g} s, the one before of {before:g} s; times "
                                 "must increase")  # fmt: skip
            before = at_s
            yield frame[0], at_s

    def _each(self, items: Iterable[T], what: str) -> Iterator[T]:
        try:
            return iter(items)
        except TypeError as error:
            raise InputError(f"{self.path}: {what} is {type(items).__name__}, expected one after the other") from error

    def _next(self, items: Iterator[T], what: str) -> tuple[T] | None:
        """Return the next item, None at the end. Raises InputError for an error in what yields it."""
        try:
            return (next(items),)
        except StopIteration:
            return None
        except CliffvidError:
            raise
        except Exception as error:
            raise InputError(f"{self.path}: {what} did not come: {_words(error)}") from error

    def _seconds(self, index: int, given: SupportsFloat) -> float:
        try:
            at_s = float(given)
        except (TypeError, ValueError) as error:
            raise InputError(f"{self.path}: time {index} is no number: {_words(error)}") from error
        if not abs(at_s) <= TIME_MAX_S:
            raise InputError(f"{self.path}: time {index} is {at_s:g}; expected seconds")
        return at_s

    def _pixels(self, index: int, given: ArrayLike) -> UInt8:
        try:
            pixels = np.asarray(given)
        except Exception as error:  # torch's of tensors on a GPU, for one
            raise InputError(f"{self.path}: frame {index} is no array: {_words(error)}") from error
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
            raise InputError(
                f"{self.path}: frame {index} is {pixels.dtype} of shape {pixels.shape}, expected uint8 of shape "
                "(height, width, 3), in RGB"
            )
        return pixels


class FileVideo(Video):
    """A video from an open file, which is read to its end into a temporary file: so all is as for a file with a name.

    Raises InputError as Video does, OutputError if there is no room for the copy.
    """

    def __init__(self, file: ByteStream, name: str, options: Options, device: Device | None = None) -> None:
        self._name = name
        with output_errors(Path(tempfile.gettempdir())):
            handle, self._copy = tempfile.mkstemp(prefix="cliffvid-")
        try:
            with os.fdopen(handle, "wb") as copy:
                for block in _blocks(file, name):
                    with output_errors(Path(self._copy)):
                        copy.write(block)
            with self._named():
                super().__init__(Path(self._copy), options, device)
        except BaseException:
            self._remove()
            raise
        self.info = replace(self.info, path=name)

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._remove()

    def frames(
        self,
        batch: int,
        counts: DecodeCounts,
        start_s: float = 0.0,
        end_s: float = float("inf"),
        stride: int = 1,
        planes: bool = False,
    ) -> Iterator[Frames]:
        """Yield frames as ``Source.frames``, with the file's own name in errors."""
        with self._named():
            yield from super().frames(batch, counts, start_s, end_s, stride, planes)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except CliffvidError as error:
            raise type(error)(str(error).replace(self._copy, self._name)) from error

    def _remove(self) -> None:
        with suppress(OSError):
            os.unlink(self._copy)


def _blocks(file: ByteStream, name: str) -> Iterator[bytes]:
    """Yield what is left of a file in blocks. Raises InputError."""
    for number in itertools.count():
        try:
            block: object = file.read(BLOCK_BYTES)
        except Exception as error:
            raise InputError(f"{name}: cannot be read: {_words(error)}") from error
        if not isinstance(block, bytes):
            raise InputError(f"{name}: gives {type(block).__name__}, expected bytes; open it by open(..., 'rb')")
        if not block:
            if not number:
                raise EmptyError(f"{name}: nothing to read; was it read to its end before?")
            return
        yield block


def _rate(name: str, fps: float) -> Fraction:
    try:
        rate_hz = float(fps)
    except (TypeError, ValueError, OverflowError):
        rate_hz = math.nan
    if not FPS[0] <= rate_hz <= FPS[1]:
        raise UsageError(f"{name}: fps {fps!r}: must be a number, {FPS[0]:g} to {FPS[1]:g}; otherwise give times_s")
    return Fraction(rate_hz).limit_denominator(100_000)


def _length(items: object) -> int | None:
    """Return how many items there are; None if that is unknown."""
    try:
        return len(items)  # type: ignore[arg-type]  # that is what is found out
    except TypeError:
        return None


def _words(error: Exception) -> str:
    """Return an error of other code in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
