"""Clips to measure with, made once and kept in the user's cache; and what bare PyAV does with them."""

import hashlib
import os
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

RATE = 30
SIZES = {"360p": (640, 360), "720p": (1280, 720), "1080p": (1920, 1080), "4k": (3840, 2160)}


def clip(size: str = "1080p", frames: int = 240) -> Path:
    """An H.264 clip of that size: a street that slides by, three figures, grain; 6 Mbit/s at 1080p, like a camera's."""
    import platformdirs

    path = Path(platformdirs.user_cache_dir("cliffvid")) / "bench" / f"{size}-{frames}-v1.mp4"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        _film(part, SIZES[size], frames)
        os.replace(part, path)
    return path


def small_clip(frames: int = RATE) -> Path:
    """One second of the street, 640 x 360: many of them are what a data set of short clips is."""
    return clip("360p", frames)


def repeated(path: Path, times: int, out: Path) -> Path:
    """The packets of a clip over and over in one file: a long clip of the same content."""
    with av.open(str(path)) as source, av.open(str(out), "w", format="mp4") as target:
        film = target.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.dts is not None]
        length = round(len(packets) / RATE / packets[0].time_base)
        stamps = [(packet.pts, packet.dts) for packet in packets]
        for turn in range(times):
            for packet, (pts, dts) in zip(packets, stamps, strict=True):
                packet.stream, packet.pts, packet.dts = film, pts + turn * length, dts + turn * length
                target.mux(packet)
    return out


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _film(path: Path, size_wh: tuple[int, int], frames: int) -> None:
    width, height = size_wh
    rng = np.random.default_rng(0)
    street = cv2.resize(rng.integers(40, 200, (height // 32, width // 32 + 20, 3), np.uint8), (width + 640, height))
    grain = [rng.integers(0, 7, (height, width, 1), np.uint8) for _ in range(5)]
    with av.open(str(path), "w", format="mp4") as container:
        bits = str(round(6e6 * width * height / (1920 * 1080)))
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "b": bits})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_type = "FRAME"  # by default PyAV writes slices, which flatter slow decoders
        for index in range(frames):
            shift = 2 * index % 640
            image = street[:, shift : shift + width] + grain[index % len(grain)]
            for person in range(3):
                x = int(width * (0.2 + 0.3 * person) + width / 30 * np.sin(index / 20 + person))
                half, top = width // 24, height // 4
                figure = street[top : top + height // 2, 200 * person + 40 : 200 * person + 40 + 2 * half]
                image[top : top + height // 2, x - half : x + half] = figure // 2 + 30 * person
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def bare_decode(path: Path, thread_type: str = "AUTO") -> int:
    """Decode all frames and drop them; how many there were. PyAV's own default is SLICE."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = thread_type
        return sum(1 for _ in container.decode(stream))


def ffmpegs_threads(path: Path) -> int:
    """How many threads FFmpeg decodes a video with if it may choose."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = 0
        next(container.decode(stream))
        return stream.codec_context.thread_count


def naive_frames(path: Path):
    """Frames as RGB (H,W,3) by PyAV's defaults, as most programs read them."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")
