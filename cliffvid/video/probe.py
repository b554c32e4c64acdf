"""Describe a video or images: the claims of the header and, on request, what decoding all of it finds."""

import math
from collections.abc import Iterable
from contextlib import ExitStack
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path

import av
from av.video.reformatter import ColorPrimaries, ColorTrc

from ..options import Options
from .color import HDR_TRANSFERS, display_matrix, matrix_of, square_size
from .container import ATTACHED_PICTURE, close, open_video
from .damage import MOST_HELD
from .image_files import Images
from .images.orientation import Orientation
from .open import open_source
from .reader import DecodeCounts, Video

# FFmpeg's numbers of the YUV matrices (AVColorSpace): ITU-T H.273, table 4
MATRIX_TAGS = {0: "rgb", 1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020", 10: "bt2020cl"}
MATRIX_USED = {1: "bt709", 5: "bt601", 9: "bt2020"}  # by swscale's numbers
RANGES = {1: "limited", 2: "full"}
SAMPLE = 250  # packets whose times show whether the frame rate varies
SAME_S = 0.0021  # containers with times in milliseconds round by up to one, at both ends of a step


def probe(path: Path | str, options: Options | None = None, count: bool = False) -> dict[str, object]:
    """Return the facts about an input as plain values, for JSON.

    Args:
        path: A video file, an image, a folder or pattern of images, or a URL.
        options: The settings; the defaults if None.
        count: Decode all of it, to add what was found as ``scan``. ``header`` holds the container's claims.

    Raises:
        InputError: The input cannot be read.
    """
    options = options or Options()
    with open_source(path, options) as source:
        facts = _images(source) if isinstance(source, Images) else _video(source, options)
        facts = {"path": str(path), **facts, "scan": None}
        if count:
            facts["scan"] = _scan_images(source) if isinstance(source, Images) else _scan(source)
    return facts


def _images(source: Images) -> dict[str, object]:
    info = source.info
    return {
        "container": info.container,
        "codec": info.codec,
        "displayed_px": [info.width_px, info.height_px],
        "header": {"frames": info.frames_claimed, "rate": str(info.rate), "duration_s": info.duration_s},
    }


def _video(source: Video, options: Options) -> dict[str, object]:
    info = source.info
    container, stream = open_video(source.path, options, threads=1)
    with ExitStack() as stack:
        stack.callback(close, container)
        decoder = stream.codec_context
        first = next(source.timed(DecodeCounts())).frame
        depths = [component.bits for component in first.format.components]
        packets = [packet for packet in islice(container.demux(stream), SAMPLE) if packet.size]
        times = sorted(t for t in (p.dts if p.pts is None else p.pts for p in packets) if t is not None)
        if len(packets) == SAMPLE:
            del times[-MOST_HELD:]  # packets shown before the last ones may be missing
        rate, varies = _rate([float(t * info.time_base) for t in times])
        return {
            "container": info.container,
            "size_bytes": _size(source.path, container),
            "streams": [_stream(s) for s in container.streams],
            "stream": stream.index,
            "codec": info.codec,
            "profile": stream.profile,
            "pixel_format": first.format.name,
            "bit_depth": max(depths),
            **_shape(first, source.pixel_aspect(first)),
            **_colors(first, options),
            "interlaced": first.interlaced_frame,
            "rate": rate,
            "rate_varies": varies,
            "header": {
                "frames": info.frames_claimed,
                "rate": str(info.rate) if info.rate else None,
                "duration_s": info.duration_s,
                "has_b_frames": bool(decoder.has_b_frames),
            },
        }


def _size(path: Path | str, container: av.container.InputContainer) -> int | None:
    if container.file:
        return int(container.file.file.size)
    return path.stat().st_size if isinstance(path, Path) else None


def _stream(stream: av.stream.Stream) -> dict[str, object]:
    known = stream.codec_context is not None
    codec = stream.codec_context.name if known else None
    facts: dict[str, object] = {"index": stream.index, "type": stream.type, "codec": codec}
    if isinstance(stream, av.VideoStream):
        facts["size_px"] = [stream.width, stream.height] if known else None
        facts["default"] = bool(stream.disposition & av.stream.Disposition.default)
        facts["attached_picture"] = bool(stream.disposition & ATTACHED_PICTURE)
    return facts


def _shape(frame: av.VideoFrame, aspect: Fraction | None) -> dict[str, object]:
    """Return sizes and orientation; a frame is mirrored left to right if ``mirrored``, then rotated clockwise."""
    matrix = display_matrix(frame)
    (a, b), (c, d) = (row[:2].tolist() for row in matrix[:2])
    mirrored = a * d - b * c < 0
    turn = math.degrees(math.atan2(-b, -a) if mirrored else math.atan2(b, a))
    return {
        "stored_px": [frame.width, frame.height],
        "displayed_px": list(Orientation.of(matrix).size(square_size(frame.width, frame.height, aspect))),
        "rotation_deg": round(turn) % 360,
        "mirrored": mirrored,
        "pixel_aspect": str(aspect or 1),
    }


def _colors(frame: av.VideoFrame, options: Options) -> dict[str, object]:
    used = matrix_of(frame, options.matrix)
    tag = MATRIX_TAGS.get(frame.colorspace)
    return {
        "matrix": tag,
        "matrix_used": tag if used is None else MATRIX_USED[int(used)],
        "range": RANGES.get(frame.color_range),
        "primaries": _name(ColorPrimaries, frame.color_primaries),
        "transfer": _name(ColorTrc, frame.color_trc),
        "hdr": HDR_TRANSFERS.get(frame.color_trc),
    }


def _name(kinds: type[ColorPrimaries] | type[ColorTrc], number: int) -> str | None:
    return kinds(number).name.lower() if number in list(kinds) and number != kinds.UNSPECIFIED else None


def _scan(source: Video) -> dict[str, object]:
    counts, times, sizes, interlaced = DecodeCounts(), [], [], 0
    for timed in source.timed(counts):
        times.append(timed.time_s)
        interlaced += timed.interlaced
        size = [timed.frame.width, timed.frame.height]
        if size not in sizes:
            sizes.append(size)
    rate, varies = _rate(times)
    return {
        "frames": len(times),
        "damaged": counts.damaged,
        "first_pts": counts.first_pts,
        "clock_jumps": counts.clock_jumps,
        "duration_s": times[-1] + (1 / rate if rate else 0),
        "rate": rate,
        "rate_varies": varies,
        "interlaced": interlaced,
        "stored_sizes_px": sizes,
    }


def _scan_images(source: Images) -> dict[str, object]:
    counts, sizes = DecodeCounts(), []
    for frames in source.frames(1, counts):
        size = list(frames.size_wh)
        if size not in sizes:
            sizes.append(size)
    return {"frames": counts.frames, "damaged": counts.damaged, "displayed_sizes_px": sizes}


def _rate(times: Iterable[float]) -> tuple[float | None, bool | None]:
    """Return frames per second over all times, and whether their intervals differ; None if there are too few."""
    times = list(times)
    steps = [b - a for a, b in pairwise(times)]
    if not steps or times[-1] <= times[0]:
        return None, None
    return len(steps) / (times[-1] - times[0]), max(steps) - min(steps) > SAME_S
