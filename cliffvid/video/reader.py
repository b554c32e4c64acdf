"""Read videos: yield each frame once, as displayed, with its own timestamp."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import chain, islice
from numbers import Rational
from pathlib import Path
from typing import Self

import av
import numpy as np

from ..errors import BackendError, RefusedError
from ..options import Options
from ..tables import Frames, VideoInfo
from .color import Display, hdr_kind
from .container import check_memory, close, nothing_decoded, open_video
from .damage import Damage, Settled
from .deinterlace import DisplayedFrame, TimedFrame, deinterlaced
from .images.base import Device
from .packets import End, packets, times_by_dts
from .seek import Index, read_index, verified
from .timing import Clock


@dataclass
class DecodeCounts:
    """Counts of decoding one video."""

    frames: int = 0  # yielded
    first_pts: int | None = None  # the origin of time_s
    damaged: int = 0  # packets that did not decode, frames made from damaged data, premature ends
    clock_jumps: int = 0  # timestamps that did not increase; time_s does nevertheless
    interlaced: int = 0  # frames yielded that interlace two moments
    deinterlaced: int = 0  # frames yielded that did before --deinterlace
    hdr: int = 0  # frames yielded whose colours were mapped to SDR
    ignored_files: int = 0  # files in a folder of images that are no images
    scaled: int = 0  # floating-point images, in which 1 is read as white
    notes: dict[str, list[str]] = field(default_factory=dict)  # by field, the names of the first such images; why


class _Rotten(Exception):
    """Raised when threaded decoding finds damage."""


class Source:
    """An open video or images; ``_shown`` yields their frames one by one."""

    path: Path | str
    info: VideoInfo

    def __enter__(self) -> Self:
        raise NotImplementedError

    def __exit__(self, *_: object) -> None:
        raise NotImplementedError

    def frames(
        self,
        batch: int,
        counts: DecodeCounts,
        start_s: float = 0.0,
        end_s: float = float("inf"),
        stride: int = 1,
        planes: bool = False,
    ) -> Iterator[Frames]:
        """Yield frames in batches of at most ``batch``: start_s <= time_s < end_s and frame_idx % stride == 0.

        ``frame_idx`` counts from the source's first frame, wherever reading starts. All images of a batch have one kind
        and size: a stream that changes starts a new batch. Data that does not decode is skipped and counted in
        ``counts``. With ``planes``, images stay in YUV planes where possible; the others are RGB. Call it only once.
        Raises UnreadableError if not one frame decodes, RefusedError, and BackendError if a GPU fails.
        """
        return batches(self._shown(counts, start_s, end_s, stride, planes), batch, counts, self.path)

    def _shown(
        self, counts: DecodeCounts, start_s: float, end_s: float, stride: int, planes: bool
    ) -> Iterator[DisplayedFrame]:
        raise NotImplementedError


class Video(Source):
    """An open video; a context manager. Raises InputError if it is not a readable video; errors.py lists the kinds.

    ``info`` has the header's claims; once frames were read, the size is that of the first frame as displayed. With a
    ``device``, frames that a GPU decodes stay there as GpuImages, if planes are requested.
    """

    def __init__(self, path: Path | str, options: Options | None = None, device: Device | None = None) -> None:
        self.path, self.options, self._device = path, options or Options(), device
        self._container, self._stream = container, stream = open_video(
            path, self.options, self.options.threads, device is not None
        )
        self._fresh_threads: int | None = self.options.threads  # of a decoder that has not been used yet
        self._index: tuple[Index | None] | None = None  # set once it was read
        self._stored_size = (stream.width, stream.height)
        self._aspect = fraction(stream.sample_aspect_ratio)
        seconds = container.duration / av.time_base if container.duration else None
        self.info = VideoInfo(
            path=path,
            container=container.format.name,
            codec=stream.codec_context.name,
            width_px=stream.width,
            height_px=stream.height,
            rate=fraction(stream.average_rate),
            time_base=fraction(stream.time_base) or Fraction(1, av.time_base),
            duration_s=seconds if seconds and seconds > 0 else None,
            frames_claimed=stream.frames or None,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        close(self._container)

    def _shown(
        self, counts: DecodeCounts, start_s: float, end_s: float, stride: int, planes: bool
    ) -> Iterator[DisplayedFrame]:
        display, first = Display(self.options, self._device), True
        show = display.planes if planes else display.rgb
        timed = self.timed(counts, start_s)
        if self.options.deinterlace:
            timed = deinterlaced(timed, self.info.time_base)
        for frame, index, pts, time_s, damaged, interlaced in timed:
            if time_s >= end_s:
                break
            if time_s < start_s or index % stride:
                continue
            try:
                image = show(frame, self.pixel_aspect(frame))
            except RefusedError as error:
                raise RefusedError(f"{self.path}: {error}") from error
            if first:
                width, height = image.size_wh
                self.info, first = replace(self.info, width_px=width, height_px=height), False
            if self.options.deinterlace:
                counts.deinterlaced += interlaced
            else:
                counts.interlaced += interlaced
            counts.hdr += hdr_kind(frame) is not None
            yield DisplayedFrame(image, index, pts, time_s, damaged)

    def pixel_aspect(self, frame: av.VideoFrame) -> Fraction | None:
        """Return the container's pixel aspect ratio; after a change of size, that of the stream itself."""
        same = (frame.width, frame.height) == self._stored_size
        return self._aspect if same else fraction(self._stream.codec_context.sample_aspect_ratio)

    def timed(self, counts: DecodeCounts, start_s: float = 0.0) -> Iterator[TimedFrame]:
        """Yield frames as decoded, with their indices and timestamps, from ``start_s`` or earlier."""
        clock = Clock(self.info)
        index, frames = self._sought(counts, clock, start_s) if start_s > 0 else (0, None)
        if frames is None:
            index, frames = 0, self._decoded(counts)
        place = -1
        for place, (frame, damaged, ticks) in enumerate(frames, index):
            pts, time_s = clock.read(ticks)
            counts.first_pts, counts.clock_jumps = clock.first, clock.jumps
            yield TimedFrame(frame, place, pts, time_s, damaged, frame.interlaced_frame)
        if place < 0:
            raise nothing_decoded(self.path, self.options)

    def index(self) -> Index | None:
        """Return the index of the video, which is read once; None if its timestamps are not increasing."""
        if self._index is None:
            first = next(self._decoded(DecodeCounts()), None)
            container, stream = self._start(None, self.options.threads)
            self._index = (first and read_index(container, stream, first),)
        return self._index[0]

    def seekable(self, start_s: float) -> bool:
        """Return whether decoding can start at ``start_s`` and yields the same frames as a decode from the start."""
        return self._sought(DecodeCounts(), Clock(self.info), start_s)[1] is not None

    def _sought(self, counts: DecodeCounts, clock: Clock, start_s: float) -> tuple[int, Iterator[Settled] | None]:
        """Return ``(index, frames)``: frames from the one before ``start_s`` on, and the first one's index.

        ``frames`` is None if seeking cannot be exact: timestamps are not increasing, or no key frame leads to the right
        frames. Indices count packets: after damage that only decoding shows, skipped frames are counted too.
        """
        table = self.index()
        if table is None:
            return 0, None
        origin, before = Clock(self.info), counts.damaged
        origin.read(table.ticks[0])
        target = min(bisect_left(table.ticks, start_s, key=origin.seconds), len(table.ticks) - 1)
        target = max(target - self.options.deinterlace, 0)  # the deinterlacer looks one frame back
        for anchor in table.anchors(target):
            frames = self._decoded(counts, anchor)
            head = verified(frames, table, target)
            if head:
                clock.start(table.ticks[:target])
                return target, chain(head, frames)
            counts.damaged = before
        return 0, None

    def _reopen(self, threads: int) -> tuple[av.container.InputContainer, av.VideoStream]:
        close(self._container)
        self._container, self._stream = open_video(self.path, self.options, threads, self._device is not None)
        self._fresh_threads = threads
        return self._container, self._stream

    def _decoded(self, counts: DecodeCounts, anchor: int | None = None) -> Iterator[Settled]:
        """Yield frames in presentation order, from the first or from a key frame's pts on.

        FFmpeg's reports of damaged data depend on its threads. At the first sign of damage the decoder restarts with a
        single thread, and the frames yielded already are skipped.
        """
        before, done = counts.damaged, 0
        if self.options.threads != 1:
            try:
                for item in self._endured(counts, anchor, self.options.threads):
                    done += 1
                    yield item
                return
            except _Rotten:
                counts.damaged = before
        yield from islice(self._endured(counts, anchor, 1), done, None)

    def _endured(self, counts: DecodeCounts, anchor: int | None, threads: int) -> Iterator[Settled]:
        """Yield as ``_decoded``, with this number of threads. Raises _Rotten at damage unless that is 1."""

        def met_damage() -> None:
            if threads != 1:
                raise _Rotten
            counts.damaged += 1

        container, stream = self._start(anchor, threads)
        damage = Damage(stream.codec_context.has_b_frames, times_by_dts(container))
        end, pts = End(), None
        for packet in chain(packets(container, stream, end), [None]):  # None flushes the decoder
            if packet:
                damage.feed(None if packet.is_discard else packet.pts, packet.is_corrupt)
                if packet.is_corrupt:
                    met_damage()
            try:
                frames = stream.codec_context.decode(packet)
            except (av.FFmpegError, ValueError) as error:
                check_memory(error, self.path, self.options)
                met_damage()
                damage.fail()
                continue
            for frame in frames:
                pts = frame.pts
                if damage.show(frame):
                    met_damage()
                yield from damage.ready()
        # PyAV silently ends the last round of frames at an error; a single thread has met it before.
        if threads != 1 and damage.tail_missing(pts):
            raise _Rotten
        yield from damage.ready(end=True)
        counts.damaged += end.broke_off or (anchor is None and end.too_early(self.path, container, stream))

    def _start(self, anchor: int | None, threads: int) -> tuple[av.container.InputContainer, av.VideoStream]:
        container, stream = self._container, self._stream
        if self._fresh_threads != threads:
            container, stream = self._reopen(threads)
        self._fresh_threads = None
        if anchor is not None:
            container.seek(anchor, stream=stream)
        return container, stream


def fraction(ratio: Rational | None) -> Fraction | None:
    """Return a ratio as a Fraction, None if it is unknown, which is 0: PyAV 19 has another type."""
    return Fraction(ratio) if ratio else None


def batches(shown: Iterable[DisplayedFrame], size: int, counts: DecodeCounts, path: Path | str) -> Iterator[Frames]:
    """Yield frames in batches of at most ``size``, all of one kind. No pixel is copied: that took 1 ms at 1080p."""
    rows: list[DisplayedFrame] = []
    for row in shown:
        if rows and row.image.kind != rows[0].image.kind:
            yield _table(rows, path)
        rows.append(row)
        counts.frames += 1
        if len(rows) == size:  # before the next frame is asked for: a live source may not have it yet
            yield _table(rows, path)
    if rows:
        yield _table(rows, path)


def _table(rows: list[DisplayedFrame], path: Path | str) -> Frames:
    """Return the rows as a table and clear them, so that an image is freed when the table is."""
    images, index, pts, time_s, damaged = zip(*rows, strict=True)
    rows.clear()
    try:
        column = type(images[0]).batch(images)
    except BackendError as error:
        raise BackendError(f"{path}: {error}") from error
    return Frames(
        frame_idx=np.array(index, np.int64),
        pts=np.array(pts, np.int64),
        time_s=np.array(time_s, np.float64),
        damaged=np.array(damaged, bool),
        images=column,
    )
