"""Write videos: H.264 that browsers play, with the timestamps and the sound of the source."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Self, TypeAlias

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.video.reformatter import ColorRange, Colorspace

from ..errors import OutputError, UsageError
from ..files import NewFile, cannot_write
from ..machine import usable_cores
from ..options import Options
from ..tables import UInt8, VideoInfo
from .container import TITLES, close, named

FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
ENCODER = {"crf": "20", "preset": "veryfast"}
# For large frames x264 looks less far ahead: 600 MB instead of 800 at 4K.
LARGE_MPX = 4.0
ENCODER_LARGE = ENCODER | {"x264-params": "rc-lookahead=4:sync-lookahead=0"}
THREADS_LARGE = 4  # each thread buffers frames
# Audio codecs that are copied; others become AAC. Matroska takes all.
COPIED = {"mp4": {"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"}}
COPIED["mov"] = COPIED["mp4"] - {"opus", "flac"} | {"pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_f32le"}
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
BT709 = 1  # as primaries, transfer and matrix (ITU-T H.273)
NARROW = 1  # AVCOL_RANGE_MPEG
SoundPacket: TypeAlias = "av.Packet[av.AudioStream]"  # PyAV's class is generic in its stub only


class Film:
    """A video being written to ``out``; ``finish`` publishes it, leaving early removes every trace.

    Times are those of the source, relative to its start, or to the first frame written if ``cut``.
    """

    def __init__(
        self, out: Path, source: VideoInfo, cut: bool = False, end_s: float = float("inf"), overwrite: bool = False
    ) -> None:
        self.out, self.frames = out, 0
        self._source, self._cut, self._end_s = source, cut, end_s
        self._format = FORMATS[out.suffix.lower()]
        self._stream: av.VideoStream | None = None
        self._sound: _Sound | None = None
        self._zero_s = self._last_s = Fraction(0)
        options = {"movflags": "+faststart"} if self._format != "matroska" else {}
        with ExitStack() as stack:
            self._new = stack.enter_context(NewFile(out, overwrite))
            with self._errors():
                self._file = av.open(str(self._new.part), "w", format=self._format, options=options)
            stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._sound:
            self._sound.close()
        with self._new, suppress(av.FFmpegError, OSError):  # closing writes the index, perhaps to a full disk
            self._file.close()

    @property
    def sound(self) -> str:
        """Return what became of the source's sound."""
        return self._sound.what if self._sound else "none"

    def write(self, image: UInt8, pts: int) -> None:
        """Add a frame (H,W,3) RGB at its time in the source. Raises OutputError if it cannot be written."""
        with self._errors():
            stream, sound = self._stream, self._sound
            if stream is None or sound is None:
                stream, sound = self._start(image, pts)
            pad = (stream.height - image.shape[0], stream.width - image.shape[1])
            if not (min(pad) >= 0 and max(pad) <= 1):
                raise OutputError(f"{self.out}: the video changes its size midway, so it cannot be one film")
            if max(pad) > 0:
                image = np.pad(image, ((0, pad[0]), (0, pad[1]), (0, 0)), mode="edge")
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
            time_base = self._source.time_base
            frame.pts, frame.time_base = round(pts - self._zero_s / time_base), time_base
            sound.until(pts * time_base, self._file)
            self._file.mux(stream.encode(frame))
            self._last_s = pts * time_base
            self.frames += 1

    def finish(self) -> None:
        """Complete and publish the video. Raises OutputError if it cannot be written, UsageError if it has no frame."""
        if self._stream is None or self._sound is None:
            raise UsageError(f"{self.out}: no frame is between --start and --end; nothing was written")
        with self._errors():
            whole = self._end_s == float("inf")
            self._sound.until(None if whole else self._last_s + 1 / (self._source.rate or Fraction(25)), self._file)
            self._file.mux(self._stream.encode(None))
            self._file.close()
        self._new.keep()

    def _start(self, image: UInt8, pts: int) -> tuple[av.VideoStream, "_Sound"]:
        height, width = image.shape[:2]
        large = height * width > LARGE_MPX * 1e6
        options = ENCODER_LARGE if large else ENCODER
        stream = self._file.add_stream("libx264", rate=self._source.rate or 25, options=options)
        stream.height, stream.width = height + height % 2, width + width % 2  # 4:2:0 needs even sides
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = self._source.time_base
        threads = max(usable_cores() * 3 // 2, 1)  # as x264's default, which ignores quotas
        context.thread_count = min(threads, THREADS_LARGE) if large else threads
        context.thread_type = "FRAME"  # the default, slice threads, costs quality
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = NARROW
        self._stream = stream
        self._sound = sound = _Sound(self._source, self._file, COPIED.get(self._format))
        self._zero_s = pts * self._source.time_base if self._cut else sound.start_s
        sound.zero_s = self._zero_s
        return stream, sound

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (av.FFmpegError, OSError) as error:
            raise cannot_write(self.out, error) from error


class _Sound:
    """Copies or encodes the source's audio streams, packet by packet, as the video goes on."""

    def __init__(self, source: VideoInfo, target: OutputContainer, copied: set[str] | None) -> None:
        self.start_s = self.zero_s = Fraction(0)
        self._file: InputContainer | None = None
        self._ways: dict[int, _Copy | _Encode] = {}
        self._packets: Iterator[SoundPacket] = iter(())
        self._next: SoundPacket | None = None
        streams: tuple[av.AudioStream, ...] = ()
        if isinstance(source.path, Path) and source.container != "images":  # an address is read once only
            file, rules, _ = named(source.path, Options())
            self._file = av.open(file, "r", container_options=rules, **TITLES)
            self.start_s = Fraction(self._file.start_time or 0, av.time_base)
            streams = self._file.streams.audio
            if streams:
                self._packets = self._file.demux(streams)
        for stream in streams:
            name = stream.codec_context.name if stream.codec_context else "unknown"
            kind = _Copy if copied is None or name in copied else _Encode
            self._ways[stream.index] = kind(stream, target)
        words = sorted({way.what for way in self._ways.values()})
        self.what = ", ".join(words) or "none"

    def until(self, time_s: Fraction | None, target: OutputContainer) -> None:
        """Write the sound that begins before ``time_s`` of the source, all of it if None."""
        while True:
            if self._next is None:
                try:
                    self._next = next(self._packets, None)
                except av.FFmpegError:
                    self.what += ", damaged and cut short"
                    self._packets = iter(())
                if self._next is None:
                    break
            packet = self._next
            if packet.pts is not None:  # None: the empty packet at the end
                start_s = packet.pts * packet.time_base
                if time_s is not None and start_s >= time_s:
                    return
                if start_s >= self.zero_s or self.zero_s == self.start_s:
                    self._ways[packet.stream.index].carry(packet, self.zero_s)
            self._next = None
        if time_s is None:
            for way in self._ways.values():
                way.finish()

    def close(self) -> None:
        if self._file:
            close(self._file)


class _Copy:
    what = "copied"

    def __init__(self, stream: av.AudioStream, target: OutputContainer) -> None:
        self._target, self._out = target, target.add_stream_from_template(stream)

    def carry(self, packet: SoundPacket, zero_s: Fraction) -> None:
        shift = round(zero_s / packet.time_base)
        if packet.pts is not None:
            packet.pts -= shift
        packet.dts = packet.pts if packet.dts is None else packet.dts - shift
        packet.stream = self._out
        self._target.mux(packet)

    def finish(self) -> None:
        pass


class _Encode:
    what = "encoded again, as AAC"

    def __init__(self, stream: av.AudioStream, target: OutputContainer) -> None:
        layout = LAYOUTS.get(stream.channels, "stereo")  # the stream's layout may have no name, as in raw sound
        rate = stream.rate if stream.rate in AAC_RATES else 48000
        self._target = target
        self._out = target.add_stream("aac", rate=rate, layout=layout)
        self._resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate)

    def carry(self, packet: SoundPacket, zero_s: Fraction) -> None:
        for frame in packet.decode():
            if frame.pts is not None and frame.time_base is not None:
                frame.pts -= round(zero_s / frame.time_base)
            for piece in self._resampler.resample(frame):
                self._target.mux(self._out.encode(piece))

    def finish(self) -> None:
        for piece in self._resampler.resample(None):
            self._target.mux(self._out.encode(piece))
        self._target.mux(self._out.encode(None))
