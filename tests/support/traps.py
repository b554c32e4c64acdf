"""The trap corpus: small films on which naive readers fail, each with what a right one must show.

Whatever a film does to its pixels, its displayed frame ``i`` is ``picture(i, 3, *size)``: the number is readable from
the bottom row, and the walkers' colours are known.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from clips import film, index_first, make_clip, picture
from decode_times import copied, packed

SIZE = (192, 144)
BT601, BT709, BT2020 = 5, 1, 9  # swscale's numbers of the matrices, and but for 5 FFmpeg's tags too
LIMITED, FULL = 1, 2
MATRIX = {601: {"colorspace": 6, "color_range": LIMITED}, 709: {"colorspace": 1, "color_range": LIMITED}}


@dataclass(frozen=True)
class Trap:
    """A film and the truth about it."""

    name: str
    make: Callable[[Path], object]
    shown: list[int] = field(default_factory=lambda: list(range(12)))  # numbers of the frames, in order
    times: list[float] | None = None  # seconds; None: 25 frames a second
    size: tuple[int, int] = SIZE
    options: dict = field(default_factory=dict)
    partial: bool = False  # pieces are damaged or missing
    at_least: int | None = None  # how many of ``shown`` must come, where damage makes it no fixed number
    tolerance: float = 4.0  # mean difference of a pixel, 0 to 255: 4:2:0 blurs the edges of colours
    color_tolerance: float = 8.0
    time_tolerance_s: float = 1e-4
    counts: dict = field(default_factory=dict)  # what DecodeCounts must say
    ffmpeg: str = "same"  # or why the ffmpeg program shows something else

    def __str__(self) -> str:
        return self.name


def pictures(count: int = 12, size: tuple[int, int] = SIZE) -> list[np.ndarray]:
    return [picture(index, 3, *size) for index in range(count)]


def made(change: Callable = lambda image: image, count: int = 12, size: tuple[int, int] = SIZE, **how) -> Callable:
    """A maker of a film whose displayed pictures are ``pictures``; ``change`` makes what is stored of them."""
    return lambda path: film(path, [np.ascontiguousarray(change(image)) for image in pictures(count, size)], **how)


# The orientations as display matrices (a, b, c, d), and what a player shows of a stored image.
ORIENTATIONS = {
    (1, 0, 0, 1): lambda image: image,
    (-1, 0, 0, 1): lambda image: image[:, ::-1],
    (1, 0, 0, -1): lambda image: image[::-1],
    (-1, 0, 0, -1): lambda image: np.rot90(image, 2),
    (0, 1, -1, 0): lambda image: np.rot90(image, -1),  # clockwise: what a phone held upright writes
    (0, -1, 1, 0): lambda image: np.rot90(image, 1),
    (0, 1, 1, 0): lambda image: image.transpose(1, 0, 2),
    (0, -1, -1, 0): lambda image: np.rot90(image, 2).transpose(1, 0, 2),
}


def stored_for(abcd: tuple) -> Callable:
    """What must be stored so that the matrix shows the picture itself."""
    a, b, c, d = abcd
    return ORIENTATIONS[(a, c, b, d)]  # the transposed matrix undoes it


def turned(abcd: tuple) -> Trap:
    a, b, c, d = (v << 16 for v in abcd)
    make = made(stored_for(abcd), display=(a, b, 0, c, d, 0, 0, 0, 1 << 30))
    return Trap(f"turned{''.join(f'{v:+d}' for v in abcd)}.mp4", make)


def squeezed(width: int, height: int) -> Callable:
    return lambda image: cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def woven(path: Path) -> None:
    """Interlaced: the even lines of each frame show the walkers of the next moment."""
    images = pictures(13)
    odd = np.arange(SIZE[1])[:, None, None] % 2 == 1
    frames = [np.where(odd, images[i], images[i + 1]) for i in range(12)]
    film(path, frames, codec="mpeg2video", options=MPEG | {"flags": "+ildct+ilme"})


def hdr(transfer: int) -> Callable:
    """BT.2020 in ten bits, coded so that 203 cd/m2, the reference white, is the picture's 255."""

    def make(path: Path) -> None:
        coded = [encode_hdr(image, transfer) for image in pictures(6)]
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx265", rate=25, options={"crf": "8", "x265-params": "log-level=none"})
            stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p10le"
            context = stream.codec_context
            context.colorspace, context.color_primaries, context.color_trc = 9, 9, transfer
            context.color_range = LIMITED
            for index, image in enumerate(coded):
                frame = av.VideoFrame.from_ndarray(image, format="rgb48le")
                frame = frame.reformat(format="yuv420p10le", dst_colorspace=BT2020, dst_color_range=LIMITED)
                frame.colorspace, frame.color_primaries, frame.color_trc, frame.pts = 9, 9, transfer, index
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))

    return make


def encode_hdr(rgb: np.ndarray, transfer: int) -> np.ndarray:
    """An sRGB-primaries picture shown at gamma 2.4 with white at 203 cd/m2, as 16-bit codes of BT.2100."""
    light = (rgb / 255.0) ** 2.4 @ np.array(  # BT.709 to BT.2020: BT.2087-0, 4.1
        [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]
    ).T
    nits = np.clip(light, 0, 1) * 203
    if transfer == 16:  # SMPTE ST 2084
        power = (nits / 10000) ** (2610 / 16384)
        code = ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)
    else:  # ARIB STD-B67, its system gamma of 1.2 at 1000 cd/m2 undone on the luminance: BT.2100, table 5
        luminance = (nits / 1000) @ [0.2627, 0.6780, 0.0593]
        scene = nits / 1000 * np.where(luminance > 0, luminance, 1)[..., None] ** (1 / 1.2 - 1)
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        code = np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c)
    return np.rint(code * 65535).astype(np.uint16)


def remuxed(source: Path, target: Path, change: Callable, muxer: dict | None = None) -> None:
    """The packets of a film in another file; ``change(index, packet)`` answers what is written, or None."""
    with av.open(str(source)) as reading, av.open(str(target), "w", options=muxer or {}) as writing:
        stream = writing.add_stream_from_template(reading.streams.video[0])
        packets = (packet for packet in reading.demux(video=0) if packet.dts is not None)
        for index, packet in enumerate(packets):
            if (packet := change(index, packet)) is not None:
                packet.stream = stream
                writing.mux(packet)


def with_packet(packet: av.Packet, data: bytes) -> av.Packet:
    """A packet of other data at the same time."""
    other = av.Packet(data)
    for name in ("pts", "dts", "time_base", "is_keyframe"):
        setattr(other, name, getattr(packet, name))
    return other


def rotten(path: Path) -> None:
    """Two packets whose heads are whole and whose bodies are noise."""
    noise = np.random.default_rng(0)

    def rot(index, packet):
        data = bytes(packet)
        return with_packet(packet, data[:12] + noise.bytes(len(data) - 12)) if index in (5, 6) else packet

    remuxed(made(count=24)(path.with_name("whole-" + path.name)), path, rot)


def lossy(path: Path) -> None:
    """A broadcast of which one transport packet of 188 bytes in the middle of the film was lost."""
    data = made(count=24)(path.with_name("whole-" + path.name)).read_bytes()
    blocks = [data[i : i + 188] for i in range(0, len(data), 188)]
    film_blocks = [i for i, block in enumerate(blocks) if block[1] & 31 == 1 and block[2] == 0]  # its stream's number
    del blocks[film_blocks[len(film_blocks) // 3]]
    path.write_bytes(b"".join(blocks))


def trimmed(path: Path) -> None:
    """An edit list hides the first five of twelve frames, as a phone's trimming does."""

    def earlier(index, packet):
        shift = round(5 / 25 / packet.time_base)
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        return packet

    muxer = {"avoid_negative_ts": "disabled", "use_editlist": "1"}
    remuxed(made()(path.with_name("whole-" + path.name)), path, earlier, muxer)


def cut(fraction: float) -> Callable:
    def make(path: Path) -> None:
        whole = made(count=24)(path.with_name("whole-" + path.name))
        if path.suffix == ".mp4":
            whole = index_first(whole, path.with_name("index-first-" + path.name))
        path.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * fraction)])

    return make


def resized(path: Path) -> None:
    """Two films of different sizes in one stream; the second's clock begins anew."""
    parts = [(SIZE, 0), ((128, 96), 6)]
    data = b""
    for size, first in parts:
        part = path.with_name(f"{size[0]}.ts")
        film(part, [picture(first + i, 3, *size) for i in range(6)])
        data += part.read_bytes()
    path.write_bytes(data)


def covered(path: Path) -> None:
    """Cover art, larger than the film and before it."""
    with av.open(str(path), "w") as target:
        cover = target.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 512, 512, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        _second_stream(target, cover, np.zeros((512, 512, 3), np.uint8), pictures())


def two_streams(path: Path) -> None:
    """A small stream first, the film second and default."""
    with av.open(str(path), "w") as target:
        small = target.add_stream("libx264", rate=25)
        small.width, small.height, small.pix_fmt = 64, 48, "yuv420p"
        small.disposition = av.stream.Disposition(0)
        _second_stream(target, small, np.zeros((48, 64, 3), np.uint8), pictures())


def _second_stream(target, first, image, images) -> None:
    stream = target.add_stream("libx264", rate=25, options={"crf": "12"})
    stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
    stream.disposition = av.stream.Disposition.default
    target.mux(first.encode(av.VideoFrame.from_ndarray(image)))
    target.mux(first.encode(None))
    for picture_ in images:
        target.mux(stream.encode(av.VideoFrame.from_ndarray(picture_)))
    target.mux(stream.encode(None))


def old_title(path: Path) -> None:
    """A title in Latin-1: no UTF-8."""
    with av.open(str(path), "w") as target:
        target.metadata["title"] = "Caf?"
        stream = target.add_stream("mpeg4", rate=25, options={"q": "2", "qmax": "3"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for image in pictures():
            target.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        target.mux(stream.encode(None))
    data = path.read_bytes()
    path.write_bytes(data.replace(b"Caf?", b"Caf\xe9"))


def joined_late(path: Path) -> None:
    """A broadcast whose recording began in the middle of a group: its first five frames cannot be decoded."""
    whole = made(count=24, options={"g": "12"})(path.with_name("whole-" + path.name))
    remuxed(whole, path, lambda index, packet: packet if index >= 7 else None)


def still_clock(path: Path) -> None:
    """Four frames whose times are one and the same to the container."""
    film(path, pictures(), times=STILL)


UNEVEN = [90000 + 3600 * i + (1700 if i % 3 == 0 else 0) for i in range(12)]
UNEVEN_S = [(t - UNEVEN[0]) / 90000 for t in UNEVEN]
STILL = [3600 * i if i < 4 else 3600 * 4 + (i - 4) * 20 if i < 8 else 3600 * i for i in range(12)]
STILL_S = [t / 90000 for t in STILL]
HD = (192, 720)
B_FRAMES = {"preset": "medium", "bf": "3", "g": "12"}
MPEG = {"q": "2", "qmin": "1", "qmax": "3"}
OPEN_GOP = B_FRAMES | {"x264-params": "open-gop=1:keyint=10:min-keyint=10"}
LEFT_OUT = [3600 * i for i in range(17) if i not in (4, 5, 9, 10, 11)]
LEFT_OUT_S = [t / 90000 for t in LEFT_OUT]
PYRAMID = OPEN_GOP | {"x264-params": OPEN_GOP["x264-params"] + ":b-pyramid=normal"}
MPEG4_B = made(codec="mpeg4", options=MPEG | {"bf": "2"}, count=15)
H264_B, H264_PYRAMID = made(options=B_FRAMES), made(count=40, options=PYRAMID)
VP9 = {"crf": "8", "b": "0", "deadline": "realtime", "cpu-used": "8"}

TRAPS = [
    Trap("plain.mp4", made()),
    Trap("b-frames.mp4", made(options=B_FRAMES)),
    Trap("open-gop.mp4", made(count=40, options=OPEN_GOP), list(range(40))),
    Trap("uneven.mp4", made(times=UNEVEN), times=UNEVEN_S),
    Trap("uneven.mkv", made(times=UNEVEN), times=UNEVEN_S, time_tolerance_s=1e-3),
    Trap("offset.ts", made()),
    Trap("offset.mpg", made(codec="mpeg2video", options=MPEG)),
    *[turned(abcd) for abcd in list(ORIENTATIONS)[1:]],
    Trap("wide-pixels.mp4", made(squeezed(96, 144), aspect=Fraction(2)), tolerance=8, ffmpeg="stores 96 pixels a row"),
    Trap("tall-pixels.mkv", made(squeezed(192, 72), aspect=Fraction(1, 2)), tolerance=8, ffmpeg="stores 72 rows"),
    Trap("odd.mkv", made(pix_fmt="yuv444p", size=(193, 145)), size=(193, 145)),
    Trap("ten-bit.mkv", made(pix_fmt="yuv420p10le")),
    Trap("prores.mov", made(codec="prores_ks", pix_fmt="yuv422p10le", count=3), [0, 1, 2]),
    *[
        Trap(f"{name}.mp4", hdr(tag), list(range(6)), counts={"hdr": 6}, color_tolerance=80, ffmpeg="maps no tones")
        for name, tag in (("pq", 16), ("hlg", 18))  # the map draws pure red, green and blue in; see test_display.py
    ],
    Trap("tagged-709.mp4", made(matrix=BT709, tags=MATRIX[709])),
    Trap("tagged-601-hd.mp4", made(matrix=BT601, tags=MATRIX[601], size=HD), size=HD),
    Trap("full-range.mp4", made(matrix=BT709, tags={"colorspace": 1, "color_range": FULL}, pix_fmt="yuvj420p")),
    Trap("untagged-sd.mp4", made(matrix=BT601)),
    Trap("untagged-hd.mp4", made(matrix=BT709, size=HD), size=HD, ffmpeg="takes BT.601 at every height"),
    Trap("untagged-hd-official.mp4", made(matrix=BT601, size=HD), size=HD, options={"matrix": "official"}),
    Trap("wrong-tag.mp4", made(matrix=BT709, tags=MATRIX[601]), options={"matrix": "bt709"}, ffmpeg="believes the tag"),
    Trap("woven.mpg", woven, options={"deinterlace": True}, counts={"deinterlaced": 12}, ffmpeg="shows both fields"),
    Trap("cut.mp4", cut(0.7), list(range(24)), partial=True, at_least=8),
    Trap("cut.mkv", cut(0.5), list(range(24)), partial=True, at_least=8),
    Trap("cut.ts", cut(0.5), list(range(24)), at_least=8),  # a transport stream does not tell how long it was
    Trap("rotten.mkv", rotten, list(range(24)), partial=True, at_least=16),
    Trap("lossy.ts", lossy, list(range(24)), partial=True, at_least=16),
    Trap("cover.mp4", covered),
    Trap("two-streams.mp4", two_streams, ffmpeg="was asked for the first"),
    Trap("chosen-stream.mp4", two_streams, options={"stream": 1}, ffmpeg="was asked for the first"),
    Trap(
        "resized.ts", resized, partial=True, counts={"clock_jumps": 1}, ffmpeg="lets its clock overlap"
    ),  # its packets' counters begin anew too
    Trap("trimmed.mp4", trimmed, list(range(5, 12))),
    Trap("joined-late.ts", joined_late, list(range(12, 24))),
    Trap("still-clock.mkv", still_clock, counts={"clock_jumps": 3}, times=STILL_S, time_tolerance_s=3e-3),
    Trap("old-title.avi", old_title),
    Trap("vp9.webm", made(codec="libvpx-vp9", options=VP9)),
    Trap("av1.mp4", made(codec="libsvtav1", options={"crf": "15", "preset": "10", "svtav1-params": "verbose=0"})),
    Trap("mjpeg.avi", made(codec="mjpeg", pix_fmt="yuvj420p", options=MPEG)),
    Trap("mpeg4-b.avi", made(codec="mpeg4", options=MPEG | {"bf": "2"})),
    Trap("left-out.avi", made(codec="mjpeg", pix_fmt="yuvj420p", options=MPEG, times=LEFT_OUT), times=LEFT_OUT_S),
    Trap("left-out-b.avi", made(options=B_FRAMES, times=LEFT_OUT), times=LEFT_OUT_S),  # at the end as well
    Trap("left-out-cut.avi", cut(0.5), list(range(24)), partial=True, at_least=8, ffmpeg="says nothing of it"),
    *[
        Trap(
            f"{name}.{suffix}",
            copied(make, raw, change),
            list(range(count)),
            counts={"clock_jumps": 0},
            ffmpeg="same" if suffix == "avi" else "takes times of decoding for others until it meets one that is wrong",
        )
        for name, count, make, raw, change in (
            ("decode-times", 12, H264_B, "h264", iter),
            ("decode-times-open-gop", 40, H264_PYRAMID, "h264", iter),
            ("xvid", 15, MPEG4_B, "m4v", iter),
            ("packed", 15, MPEG4_B, "m4v", packed),
        )
        for suffix in ("avi", "mp4", "mkv", "mov")
    ],
    Trap("flash.flv", made()),
    Trap("raw.h264", made(options=B_FRAMES), ffmpeg="knows no times here"),
    Trap("moving.gif", made(codec="gif", pix_fmt="rgb8"), tolerance=14),
    Trap("sound.mp4", lambda path: make_clip(path, frames=12, people=3, audio=True)),
]
