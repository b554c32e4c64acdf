"""Synthetic clips with a known truth: coloured people who walk, and a frame number readable from the pixels."""

import os
from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np

COLORS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0)}
BLOCK = 16  # one bit of the frame number is a square of this side, at the bottom left

# EXIF orientation -> what a viewer shows of the stored pixels (CIPA DC-008, 4.6.5.1.6)
EXIF = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: np.rot90(image, 2),
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image, 2).transpose(1, 0, 2),
    8: lambda image: np.rot90(image, 1),
}


def person_box(person: int, index: int, width: int, height: int) -> tuple[int, int, int, int]:
    """Where a person stands in a frame, xyxy: each walks in a lane of its own, at its own pace."""
    tall = height // 4
    x = (10 + 30 * person + index * (2 + person)) % (width - tall)
    y = 4 + person * (height - 60) // 4
    return x, y, x + tall // 2, y + tall


def picture(index: int, people: int, width: int, height: int) -> np.ndarray:
    image = np.full((height, width, 3), 90, np.uint8)
    for person, color in enumerate(list(COLORS.values())[:people]):
        x0, y0, x1, y1 = person_box(person, index, width, height)
        image[y0:y1, x0:x1] = color
    for bit in range(width // BLOCK if width // BLOCK < 10 else 10):
        image[-BLOCK:, bit * BLOCK : (bit + 1) * BLOCK] = 255 if index >> bit & 1 else 0
    return image


def read_index(image: np.ndarray) -> int:
    """The frame number written into a picture."""
    row = image[-BLOCK // 2, :, 1]
    bits = [int(row[bit * BLOCK + BLOCK // 2]) > 128 for bit in range(min(image.shape[1] // BLOCK, 10))]
    return sum(bit << i for i, bit in enumerate(bits))


def make_clip(
    path: Path,
    frames: int = 30,
    people: int = 2,
    size: tuple[int, int] = (192, 144),
    audio: str | bool = False,
    video: bool = True,
    **how,
) -> Path:
    """An H.264 clip of walking people, with two seconds of silence in the codec ``audio``; ``how`` is film's."""
    if video:
        return film(path, (picture(index, people, *size) for index in range(frames)), audio=audio, **how)
    with av.open(str(path), "w") as container:
        _add_sound(container, audio)
    return path


X264 = {"preset": "ultrafast", "crf": "12", "g": "12"}


def film(
    path: Path,
    pictures: Iterable[np.ndarray],
    *,
    codec: str = "libx264",
    options: dict | None = None,
    pix_fmt: str = "yuv420p",
    rate: int = 25,
    times: list[int] | None = None,
    matrix: int | None = None,
    tags: dict | None = None,
    aspect: Fraction | None = None,
    display: tuple | None = None,
    audio: str | bool = False,
    muxer: dict | None = None,
) -> Path:
    """Pictures (H,W,3) as a film; ``times`` are pts in ticks of 1/90000 s, for an uneven clock.

    ``matrix`` codes the colours (swscale's number), ``tags`` are set on the stream whether they are true or not,
    ``aspect`` is that of a pixel, ``display`` a 3 x 3 matrix. Several sizes make a stream that changes midway.
    """
    with av.open(str(path), "w", options=muxer or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=X264 if codec == "libx264" else {})
        context = stream.codec_context
        context.options |= options or {}
        pictures = iter(pictures)
        first = next(pictures)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt, context.time_base = pix_fmt, Fraction(1, 90000)
        if codec in FIXED_RATE:
            context.time_base = Fraction(1, rate)
        context.thread_type = "FRAME"
        if aspect:
            context.sample_aspect_ratio = aspect
        if display:
            stream.set_display_matrix(display)
        for name, value in (tags or {}).items():
            setattr(context, name, value)
        if audio:
            _add_sound(container, audio)
        for index, image in enumerate(chain([first], pictures)):
            ticks = times[index] if times else index * 90000 // rate
            container.mux(stream.encode(_coded(image, pix_fmt, matrix, tags, ticks, context.time_base)))
        container.mux(stream.encode(None))
    if codec == "libsvtav1" and hasattr(os, "sched_setscheduler"):
        # Run by root, this encoder makes its caller a real-time process, before which all others have to wait.
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return path


FIXED_RATE = {"mpeg2video", "mpeg4", "mjpeg", "gif", "prores_ks", "libsvtav1"}


def _coded(image, pix_fmt, matrix, tags, ticks, time_base) -> av.VideoFrame:
    tags = tags or {}
    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
    frame = frame.reformat(format=pix_fmt, dst_colorspace=matrix, dst_color_range=tags.get("color_range"))
    for name in ("colorspace", "color_primaries", "color_trc"):
        setattr(frame, name, tags.get(name, 2))  # 2: unspecified
    frame.time_base, frame.pts = time_base, round(ticks / 90000 / time_base)
    return frame


def _add_sound(container, codec: str | bool) -> None:
    codec = "aac" if codec is True else codec
    sound = container.add_stream(codec, rate=16000, layout="mono")
    for block in range(31):
        pcm = codec == "pcm_s16le"
        samples = np.zeros((1, 1024), np.int16 if pcm else np.float32)
        silence = av.AudioFrame.from_ndarray(samples, format="s16" if pcm else "fltp", layout="mono")
        silence.sample_rate, silence.pts = 16000, block * 1024
        container.mux(sound.encode(silence))
    container.mux(sound.encode(None))


def index_first(path: Path, out: Path) -> Path:
    """The same film with its index before its pictures, so that a cut leaves something to decode."""
    with av.open(str(path)) as source, av.open(str(out), "w", options={"movflags": "+faststart"}) as target:
        film = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = film
                target.mux(packet)
    return out
