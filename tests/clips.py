"""Synthetic clips with a known truth: coloured people who walk, and a frame number readable from the pixels."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

COLORS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0)}
BLOCK = 16  # one bit of the frame number is a square of this side, at the bottom left


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
    rate: int = 25,
    times: list[int] | None = None,
    audio: str | bool = False,
    video: bool = True,
    pix_fmt: str = "yuv420p",
) -> Path:
    """An H.264 clip, with two seconds of silence in the codec ``audio``.

    ``times`` are pts in ticks of 1/90000 s, for an uneven clock.
    """
    width, height = size
    with av.open(str(path), "w") as container:
        if video:
            stream = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "crf": "12", "g": "12"})
            stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
            stream.codec_context.thread_type = "FRAME"
            stream.codec_context.time_base = Fraction(1, 90000)
        codec = "aac" if audio is True else audio
        sound = container.add_stream(codec, rate=16000, layout="mono") if codec else None
        if sound:
            for block in range(31):
                pcm = codec == "pcm_s16le"
                samples = np.zeros((1, 1024), np.int16 if pcm else np.float32)
                silence = av.AudioFrame.from_ndarray(samples, format="s16" if pcm else "fltp", layout="mono")
                silence.sample_rate, silence.pts = 16000, block * 1024
                container.mux(sound.encode(silence))
            container.mux(sound.encode(None))
        for index in range(frames if video else 0):
            frame = av.VideoFrame.from_ndarray(picture(index, people, width, height), format="rgb24")
            frame.time_base = Fraction(1, 90000)
            frame.pts = times[index] if times else index * 90000 // rate
            container.mux(stream.encode(frame))
        if video:
            container.mux(stream.encode(None))
    return path


def index_first(path: Path, out: Path) -> Path:
    """The same film with its index before its pictures, so that a cut leaves something to decode."""
    with av.open(str(path)) as source, av.open(str(out), "w", options={"movflags": "+faststart"}) as target:
        film = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = film
                target.mux(packet)
    return out
