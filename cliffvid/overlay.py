"""A second pass over video and tracks that draws what was found: boxes, identities, projected skeletons."""

import colorsys
from pathlib import Path

import av
import cv2
import numpy as np

from .body import load_body
from .decode import DecodeCounts
from .errors import InputError, OutputError, UsageError
from .geometry import project
from .options import Options
from .source import open_source
from .types import Tracks
from .write import read_meta, read_tracks

FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
ENCODER = {"crf": "20", "preset": "veryfast"}


def overlay(video: Path | str, tracks: Path, out: Path, options: Options | None = None) -> int:
    """Draw the tracks of a video on it and write the result to ``out`` (H.264); the number of frames drawn on.

    Raises UsageError for an ``out`` that exists or has no known ending, InputError if the tracks are of another video.
    """
    options = options or Options()
    check_target(out, options.overwrite)
    rows, meta = read_tracks(tracks), read_meta(tracks)
    body = load_body(meta["body"]["name"])
    part = out.with_name(out.name + ".part")
    drawn = 0
    try:
        with open_source(video, options) as source:
            if (source.info.name, source.info.codec) != (meta["video"]["name"], meta["video"]["codec"]):
                raise InputError(f"{tracks}: tracks of {meta['video']['name']}, not of {source.info.name}")
            with av.open(str(part), "w", format=FORMATS[out.suffix.lower()]) as target:
                stream = None
                for frames in source.frames(1, DecodeCounts()):
                    image = frames.rgb[0]
                    if stream is None:
                        stream = _add_stream(target, source, image)
                    first, last = np.searchsorted(rows.frame_idx, [frames.frame_idx[0], frames.frame_idx[0] + 1])
                    if last > first:
                        draw(image, rows[first:last], body)
                        drawn += 1
                    ticks = round(float(frames.time_s[0]) / source.info.time_base)  # pts may jump back, time_s not
                    _encode(target, stream, image, ticks, source.info.time_base)
                target.mux(stream.encode(None))
        part.replace(out)
    except (av.FFmpegError, OSError) as error:
        raise OutputError(f"{out}: cannot write the overlay ({error}); choose another place") from error
    finally:
        part.unlink(missing_ok=True)
    return drawn


def check_target(out: Path, overwrite: bool) -> None:
    if out.suffix.lower() not in FORMATS:
        raise UsageError(f"{out}: an overlay's name must end in {', '.join(FORMATS)}")
    if out.exists() and not overwrite:
        raise UsageError(f"{out}: exists already; give --overwrite to replace it")


def _add_stream(target, source, image: np.ndarray):
    stream = target.add_stream("libx264", rate=source.info.rate or 25, options=ENCODER)
    stream.height, stream.width = (side + side % 2 for side in image.shape[:2])  # 4:2:0 needs even sides
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = source.info.time_base
    stream.codec_context.thread_type = "FRAME"  # the default, slice threads, costs quality
    return stream


def _encode(target, stream, image: np.ndarray, pts: int, time_base) -> None:
    pad = (stream.height - image.shape[0], stream.width - image.shape[1])
    if min(pad) < 0:
        raise OutputError("the video changes its size midway: its overlay cannot be one film")
    if max(pad) > 0:
        image = np.pad(image, ((0, pad[0]), (0, pad[1]), (0, 0)), mode="edge")
    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
    frame.pts, frame.time_base = pts, time_base
    target.mux(stream.encode(frame))


def track_color(track_id: int) -> tuple[int, int, int]:
    """A steady RGB colour; neighbouring ids lie far apart on the colour circle."""
    return tuple(int(255 * c) for c in colorsys.hsv_to_rgb(track_id * 0.61803399 % 1, 0.75, 1.0))


def draw(image: np.ndarray, people: Tracks, body) -> None:
    """Draw one frame's people into ``image`` (H,W,3) uint8, those farther away first."""
    h, w = image.shape[:2]
    joints = body.joints(people.global_orient, people.body_pose, people.betas, people.transl)
    points = project(joints, people.focal_px, (w, h))
    for i in np.argsort(-people.transl[:, 2]):
        color = track_color(int(people.track_id[i]))
        x0, y0, x1, y1 = (round(float(v)) for v in people.bbox_xyxy[i])
        width = max(1, round((y1 - y0) / 100))
        cv2.rectangle(image, (x0, y0), (x1, y1), color, 1, cv2.LINE_AA)
        cv2.putText(
            image, str(people.track_id[i]), (x0, max(y0 - 4, 10)), cv2.FONT_HERSHEY_SIMPLEX, 0.45, color, 1, cv2.LINE_AA
        )
        if not np.isfinite(points[i]).all() or np.abs(points[i]).max() > 1e5:
            continue  # a camera flagged as bad projects to nowhere
        fine = np.rint(points[i] * 16 - 8).astype(int)  # 4 fractional bits, from pixel edges to pixel centres
        for joint, parent in enumerate(body.parents):
            if parent >= 0:
                cv2.line(image, fine[parent].tolist(), fine[joint].tolist(), color, width, cv2.LINE_AA, 4)
        for point in fine:
            cv2.circle(image, point.tolist(), 16 * width, (255, 255, 255), -1, cv2.LINE_AA, 4)
