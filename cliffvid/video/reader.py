"""Videos: what a file claims, and its frames, each once, as displayed, with its own time."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import chain, islice
from numbers import Rational
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from ..errors import RefusedError
from ..options import Options
from ..tables import Frames, VideoInfo, image_column
from .color import Display, hdr_kind
from .container import check_memory, nothing_decoded, open_video
from .damage import Damage, Settled
from .deinterlace import TimedFrame, deinterlaced
from .images.gpu import Surface
from .images.orientation import UInt8
from .images.yuv import YuvImage
from .packets import End, packets, times_by_dts
from .seek import Index, read_index, verified
from .timing import Clock


@dataclass
class DecodeCounts:
    """What decoding one video met."""

    frames: int = 0  # handed on
    first_pts: int | None = None  # what time_s counts from
    damaged: int = 0  # packets that did not decode, frames made from damaged data, an end that came too early
    clock_jumps: int = 0  # times at which the video's clock stood still or went back; time_s goes on
    interlaced: int = 0  # frames handed on that weave two moments
    deinterlaced: int = 0  # frames handed on that did before --deinterlace
    hdr: int = 0  # frames handed on whose colours were mapped to SDR
    ignored_files: int = 0  # in a folder of images, files that are none
    scaled: int = 0  # images of floating-point numbers, of which 1 was taken for white
    notes: dict[str, list[str]] = field(default_factory=dict)  # names of the first images so counted, by field; why


class DisplayedFrame(NamedTuple):
    """One frame as displayed."""

    image: UInt8 | YuvImage | Surface
    index: int  # type: ignore[assignment]  # hides a tuple's own index(), which nobody looks for here
    pts: int
    time_s: float
    damaged: bool


class _Rotten(Exception):
    """Threaded decoding met damage."""


class Source:
    """A video or images, open; ``_shown`` gives their frames one by one."""

    def frames(
        self,
        batch: int,
        counts: DecodeCounts,
        start_s: float = 0.0,
        end_s: float = float("inf"),
        stride: int = 1,
        planes: bool = False,
    ) -> Iterator[Frames]:
        """Frames in batches of at most ``batch``, those with start_s <= time_s < end_s and frame_idx % stride == 0.

        ``frame_idx`` counts the frames from the source's first, wherever reading starts. All frames of a batch have
        one size, and all are Surfaces or none: a stream that changes starts a new batch. What does not decode is
        skipped and counted in ``counts``. With ``planes``, images that can be are YuvImages or Surfaces, and the others
        RGB as without. To be called once.
        Raises UnreadableError if nothing at all could be decoded, and RefusedError.
        """
        return batches(self._shown(counts, start_s, end_s, stride, planes), batch, counts)

    def _shown(
        self, counts: DecodeCounts, start_s: float, end_s: float, stride: int, planes: bool
    ) -> Iterator[DisplayedFrame]:
        raise NotImplementedError


class Video(Source):
    """An open video; a context manager. Raises InputError for what is not a readable video; errors.py lists the kinds.

    ``info`` tells what the header claims; once frames were read, the size is that of the first frame as displayed.
    With ``surfaces``, frames that a GPU decodes stay there, where planes are asked for.
    """

    def __init__(self, path: Path | str, options: Options | None = None, surfaces: bool = False) -> None:
        self.path, self.options, self._surfaces = path, options or Options(), surfaces
        self._container, self._stream = container, stream = open_video(
            path, self.options, self.options.threads, surfaces
        )
        self._fresh_threads: int | None = self.options.threads  # of a decoder that has not been used yet
        self._index: tuple[Index | None] | None = None  # once it was read
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

    def __enter__(self) -> "Video":
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def _shown(
        self, counts: DecodeCounts, start_s: float, end_s: float, stride: int, planes: bool
    ) -> Iterator[DisplayedFrame]:
        display, first = Display(self.options), True
        show = display.planes if planes else display.show
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
                self.info, first = replace(self.info, width_px=image.shape[1], height_px=image.shape[0]), False
            if self.options.deinterlace:
                counts.deinterlaced += interlaced
            else:
                counts.interlaced += interlaced
            counts.hdr += hdr_kind(frame) is not None
            yield DisplayedFrame(image, index, pts, time_s, damaged)

    def pixel_aspect(self, frame: av.VideoFrame) -> Fraction | None:
        """What the container says, and after a change of size what the stream itself says."""
        same = (frame.width, frame.height) == self._stored_size
        return self._aspect if same else fraction(self._stream.codec_context.sample_aspect_ratio)

    def timed(self, counts: DecodeCounts, start_s: float = 0.0) -> Iterator[TimedFrame]:
        """Frames as decoded, with their places and times, from ``start_s`` or before on."""
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
        """The index of the video, read once; None where its times are no order."""
        if self._index is None:
            first = next(self._decoded(DecodeCounts()), None)
            container, stream = self._start(None, self.options.threads)
            self._index = (first and read_index(container, stream, first),)
        return self._index[0]

    def seekable(self, start_s: float) -> bool:
        """Whether decoding can start at ``start_s`` and gives the frames of a decode from the first one on."""
        return self._sought(DecodeCounts(), Clock(self.info), start_s)[1] is not None

    def _sought(self, counts: DecodeCounts, clock: Clock, start_s: float) -> tuple[int, Iterator[Settled] | None]:
        """``(index, frames)``: frames from the one before ``start_s`` on, and the first one's place; frames is None
        where seeking cannot be exact: the times are no order, or no key frame leads to the frames that must come.

        Places are counted over packets: behind damage that only decoding shows, a place counts what the decoder skips.
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
        self._container.close()
        self._container, self._stream = open_video(self.path, self.options, threads, self._surfaces)
        self._fresh_threads = threads
        return self._container, self._stream

    def _decoded(self, counts: DecodeCounts, anchor: int | None = None) -> Iterator[Settled]:
        """Frames in presentation order, from the first or from a key frame's pts on.

        What FFmpeg tells of damaged data depends on its threads: at the first sign of damage the decoder starts anew
        with a single one, and the frames that were handed on already are skipped.
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
        """As _decoded, with a number of threads; raises _Rotten at damage unless that is 1."""

        def met_damage() -> None:
            if threads != 1:
                raise _Rotten
            counts.damaged += 1

        container, stream = self._start(anchor, threads)
        damage = Damage(stream.codec_context.has_b_frames, times_by_dts(container))
        end, pts = End(), None
        for packet in chain(packets(container, stream, end), [None]):  # None: what the decoder still holds
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
        # PyAV ends the last round of frames at an error without a word; a single thread has met it before.
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
    """A ratio as Python has it: PyAV 19 has a type of its own, and 0 stands for what is not known."""
    return Fraction(ratio) if ratio else None


def batches(shown: Iterable[DisplayedFrame], size: int, counts: DecodeCounts) -> Iterator[Frames]:
    """Frames in batches of at most ``size``, all of one size in pixels, all Surfaces or none. No pixel is copied: that
    took 1 ms at 1080p.
    """
    rows: list[DisplayedFrame] = []
    kind: object = None  # of Surfaces those of one orientation, and so of one size as stored
    for row in shown:
        before, kind = kind, (row.image.shape, isinstance(row.image, Surface) and row.image.orientation)
        if rows and (len(rows) == size or kind != before):
            yield _table(rows)
        rows.append(row)
        counts.frames += 1
    if rows:
        yield _table(rows)


def _table(rows: list[DisplayedFrame]) -> Frames:
    """The rows as a table, which alone holds them then: whoever is done with an image lets it go."""
    images, index, pts, time_s, damaged = zip(*rows, strict=True)
    rows.clear()
    return Frames(
        frame_idx=np.array(index, np.int64),
        pts=np.array(pts, np.int64),
        time_s=np.array(time_s, np.float64),
        damaged=np.array(damaged, bool),
        images=image_column(images),
    )
