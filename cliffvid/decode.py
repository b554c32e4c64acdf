"""Videos: what a file claims, and its frames, each once, upright, with its own time."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from .errors import InputError
from .types import Frames, VideoInfo

# Containers that hold their own pictures. Listed, because by default FFmpeg also opens playlists that read other files
# and addresses, and even a text file (as an animated terminal); a protocol list alone does not prevent it.
CONTAINERS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,av1,obu,ivf,flv,asf,ogg,mxf,nut,gif,dv,rm,wtv,yuv4mpegpipe"
)
OPEN_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
ATTACHED_PICTURE = av.stream.Disposition.attached_pic


@dataclass
class DecodeCounts:
    """What decoding one video met."""

    frames: int = 0  # handed on
    first_pts: int | None = None  # what time_s counts from
    damaged: int = 0  # packets that did not decode, frames made from damaged data, an end that came too early


class Video:
    """An open video file; a context manager. Raises InputError for anything that is not a readable video."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            raise InputError(f"{path}: no such file")
        if path.is_dir():
            raise InputError(f"{path}: a folder, not a video file; name the files in it")
        if path.is_file() and path.stat().st_size == 0:
            raise InputError(f"{path}: the file is empty; copy or download it again")
        try:
            self._container = av.open(f"file:{path.absolute()}", container_options=OPEN_OPTIONS)
        except PermissionError as error:
            raise InputError(f"{path}: not allowed to read it; check the file's permissions") from error
        except (av.FFmpegError, OSError, ValueError) as error:
            raise InputError(
                f"{path}: not a readable video ({_reason(error)}); a download cut short, or no video at all?"
            ) from error
        try:
            self._stream = self._choose_stream()
            self.info = self._probe()
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> "Video":
        return self

    def __exit__(self, *_) -> None:
        self._container.close()

    def _choose_stream(self) -> av.VideoStream:
        videos = [s for s in self._container.streams.video if not s.disposition & ATTACHED_PICTURE]
        if not videos:
            kinds = ", ".join(sorted({s.type for s in self._container.streams})) or "nothing"
            raise InputError(f"{self.path}: holds no video stream, only {kinds}")
        stream = max(videos, key=lambda s: (bool(s.disposition & av.stream.Disposition.default), s.width * s.height))
        if stream.codec_context is None or not stream.width or not stream.height:
            raise InputError(f"{self.path}: its video stream cannot be decoded (unknown codec or size)")
        # Frame threads: 1.7x over FFmpeg's default on two cores for streams of one slice a frame; same pixels.
        stream.thread_type = "AUTO"
        return stream

    def _probe(self) -> VideoInfo:
        stream, container = self._stream, self._container
        seconds = container.duration / av.time_base if container.duration else None
        return VideoInfo(
            path=self.path,
            container=container.format.name,
            codec=stream.codec_context.name,
            width_px=stream.width,
            height_px=stream.height,
            rate=Fraction(stream.average_rate) if stream.average_rate else None,
            time_base=Fraction(stream.time_base),
            duration_s=seconds,
            frames_claimed=stream.frames or None,
        )

    def _packets(self, counts: DecodeCounts) -> Iterator[av.Packet]:
        """Packets up to the end, or to where the container breaks off, which is counted."""
        packets = self._container.demux(self._stream)
        seen, last_s = 0, 0.0
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except av.FFmpegError:
                counts.damaged += 1
                break
            if packet.size:  # the empty packet at the end is PyAV's own
                seen += 1
                last_s = max(last_s, float((packet.pts or 0) * packet.time_base))
                counts.damaged += packet.is_corrupt
                yield packet
        if self._ended_early(seen, last_s):
            counts.damaged += 1

    def _ended_early(self, packets: int, last_s: float) -> bool:
        """Whether fewer packets came than the header promises: a file cut short simply ends, without an error."""
        if self._stream.frames:  # containers with an index
            return packets < self._stream.frames
        claimed_s = self.info.duration_s if len(self._container.streams) == 1 else None
        return claimed_s is not None and self.info.container.startswith("matroska") and last_s < claimed_s - 1

    def _decoded(self, counts: DecodeCounts) -> Iterator[tuple[av.VideoFrame, bool]]:
        """Frames in presentation order, each with whether it follows damage that no key frame has healed yet."""
        damaged = False
        for packet in self._packets(counts):
            try:
                frames = packet.decode()
            except av.FFmpegError:
                counts.damaged += 1
                damaged = True
                continue
            for frame in frames:
                damaged = (damaged and not frame.key_frame) or frame.is_corrupt
                counts.damaged += frame.is_corrupt
                yield frame, damaged
        try:
            for frame in self._stream.codec_context.decode(None):  # those the decoder still holds
                yield frame, damaged or frame.is_corrupt
        except av.FFmpegError:
            counts.damaged += 1

    def frames(
        self, batch: int, counts: DecodeCounts, start_s: float = 0.0, end_s: float = float("inf")
    ) -> Iterator[Frames]:
        """Frames in batches of at most ``batch``, those with start_s <= time_s < end_s; to be called once.

        All frames of a batch have one size: a stream that changes size starts a new batch. What does not decode is
        skipped and counted in ``counts``. Raises InputError if nothing at all could be decoded.
        """
        made = _Batch(batch)
        time_base, pts = self._stream.time_base, None
        step = int(1 / (self._stream.average_rate * time_base)) if self._stream.average_rate else 1
        index, rotation, matrix = -1, 0, None
        for index, (frame, damaged) in enumerate(self._decoded(counts)):
            # Raw streams carry no clock: count on at the nominal rate.
            pts = frame.pts if frame.pts is not None else (0 if pts is None else pts + step)
            if counts.first_pts is None:
                counts.first_pts = pts
            time_s = float((pts - counts.first_pts) * time_base)
            if time_s >= end_s:
                break
            if time_s < start_s:
                continue
            if matrix is None or frame.rotation != rotation:
                # Reading side data ties the frame into a reference cycle, so that its pixels wait for the garbage
                # collector: done only where the orientation can have changed.
                rotation, matrix = frame.rotation, _display_matrix(frame)
            upright = orient(_pixels(frame), matrix)
            if not made.fits(upright):
                yield made.take()
            made.add(upright, index, pts, time_s, damaged)
            counts.frames += 1
        if len(made):
            yield made.take()
        if index < 0:
            raise InputError(f"{self.path}: not one frame could be decoded; the file is damaged or cut short")


class _Batch:
    """Frames on their way into one array, so that each pixel is copied once."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._rgb: np.ndarray | None = None
        self._rows: list[tuple] = []

    def __len__(self) -> int:
        return len(self._rows)

    def fits(self, image: np.ndarray) -> bool:
        return not self._rows or (len(self._rows) < self.size and self._rgb.shape[1:] == image.shape)

    def add(self, image: np.ndarray, *row) -> None:
        if self._rgb is None:
            self._rgb = np.empty((self.size, *image.shape), np.uint8)
        self._rgb[len(self._rows)] = image
        self._rows.append(row)

    def take(self) -> Frames:
        index, pts, time_s, damaged = zip(*self._rows, strict=True)
        frames = Frames(
            frame_idx=np.array(index, np.int64),
            pts=np.array(pts, np.int64),
            time_s=np.array(time_s, np.float64),
            damaged=np.array(damaged, bool),
            rgb=self._rgb[: len(self._rows)],
        )
        self._rgb, self._rows = None, []
        return frames


def _pixels(frame: av.VideoFrame) -> np.ndarray:
    """The frame's RGB pixels (H,W,3) as stored: a view."""
    plane = frame.reformat(format="rgb24").planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(frame.height, plane.line_size)
    return rows[:, : frame.width * 3].reshape(frame.height, frame.width, 3)


def _display_matrix(frame: av.VideoFrame) -> np.ndarray:
    data = frame.side_data.get("DISPLAYMATRIX")
    return np.eye(3, dtype=np.int32) if data is None else np.frombuffer(bytes(data), np.int32).reshape(3, 3)


def orient(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The image turned and flipped by an FFmpeg display matrix, one of the eight orientations; a view.

    The matrix sends pixel (x, y) to (a x + c y, b x + d y) with rows (a, b, _), (c, d, _): libavutil/display.h.
    """
    (a, b), (c, d) = matrix[:2, :2]
    if abs(int(a)) + abs(int(d)) < abs(int(b)) + abs(int(c)):
        image, a, d = image.transpose(1, 0, 2), c, b
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
