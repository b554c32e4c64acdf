"""Draw the report's charts as inline SVG, without library or script; ``data-track`` holds an element's track id."""

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..geometry import Array
from ..models.body import Body
from ..tables import NOT_DRAWN, Float64, Tracks
from ..tracks.colors import track_color
from ..tracks.motion import derivative

WIDTH = 1000  # units of every chart's x axis, stretched to the page
BINS = 250  # maximum number of time bins in a chart
ROW = 18
# From low to high confidence; distinguishable in greyscale too.
CONFIDENCE = ("#e4b363", "#d3b98c", "#a9bdb0", "#6fa8a6", "#3b8686", "#1f5f6b")

Curve: TypeAlias = tuple[int, Float64, Array]  # track id, times and values


def timeline(tracks: Tracks) -> str:
    """Return a chart with one row per track, coloured by detection confidence; gaps show where it was not detected."""
    ids = np.unique(tracks.track_id)
    height = ROW * max(len(ids), 1)
    parts = []
    for line, track_id in enumerate(ids):
        rows = tracks[tracks.track_id == track_id]
        step = _bin(rows.time_s, tracks)
        bars: list[tuple[int, int, str]] = []
        used, first = np.unique(step, return_index=True)
        for k, scores in zip(used.tolist(), np.split(rows.det_score, first[1:]), strict=True):
            color = CONFIDENCE[min(int(np.mean(scores) * len(CONFIDENCE)), len(CONFIDENCE) - 1)]
            if bars and bars[-1][2] == color and bars[-1][1] == k:
                bars[-1] = (bars[-1][0], k + 1, color)
            else:
                bars.append((k, k + 1, color))
        unit = WIDTH / steps(tracks)
        rects = "".join(
            f'<rect x="{low * unit:g}" y="4" width="{(high - low) * unit:g}" height="{ROW - 8}" fill="{color}"/>'
            for low, high, color in bars
        )
        title = f"track {track_id}: {len(rows)} frames, mean confidence {rows.det_score.mean():.2f}"
        parts.append(
            f'<g data-track="{track_id}" transform="translate(0 {line * ROW})"><title>{title}</title>'
            f'<rect class="hit" width="{WIDTH}" height="{ROW}"/>{rects}</g>'
        )
    return _chart("".join(parts), height, labelled=[str(i) for i in ids])


def people_per_frame(tracks: Tracks) -> str:
    """Return a chart of the number of people per frame, averaged in each time bin."""
    frames, counts = np.unique(tracks.frame_idx, return_counts=True)
    span = np.arange(frames[0], frames[-1] + 1) if len(frames) else np.zeros(0, int)
    every = np.zeros(len(span))
    every[frames - frames[0] if len(frames) else frames] = counts
    times = np.interp(span, frames, np.unique(tracks.time_s)[: len(frames)]) if len(frames) else span
    means = _means(times, every, tracks)
    top = max(1, int(np.ceil(np.nanmax(means, initial=1))))
    at = np.where(np.isnan(means), 0, means) / top
    unit, height = WIDTH / steps(tracks), 90
    path = "".join(f"V{height * (1 - y):.1f}H{(k + 1) * unit:g}" for k, y in enumerate(at))
    return _chart(f'<path class="area" d="M0 {height}{path}V{height}Z"/>', height, top=str(top), bottom="0")


def depth(tracks: Tracks) -> str:
    """Return a chart of each track's depth over time, in metres."""
    good = tracks[(tracks.flags & NOT_DRAWN) == 0]
    return _lines(tracks, [(i, rows.time_s, rows.transl[:, 2]) for i, rows in _each(good)], "m")


def jitter(tracks: Tracks, body: Body) -> str:
    """Return a chart of each track's mean joint acceleration relative to the pelvis, in m/s2, over three frames."""
    curves: list[Curve] = []
    for track_id, rows in _each(tracks):
        joints = body.joints(rows.global_orient, rows.body_pose, rows.betas, np.zeros_like(rows.transl))
        joints = joints - joints[:, :1]
        curves.append((track_id, rows.time_s[1:-1], derivative(joints, rows.frame_idx, rows.time_s, 2)))
    return _lines(tracks, curves, "m/s²")


def bars(seconds: dict[str, float]) -> str:
    """Return a bar chart of the busy time of each stage."""
    most = max(seconds.values(), default=0) or 1
    return "".join(
        f'<div class="stage"><span>{name}</span><i style="width:{100 * s / most * 0.6:.1f}%"></i>{s:.2f} s</div>'
        for name, s in seconds.items()
    )


def _each(tracks: Tracks) -> Iterator[tuple[int, Tracks]]:
    for track_id in np.unique(tracks.track_id):
        yield int(track_id), tracks[tracks.track_id == track_id]


def steps(tracks: Tracks) -> int:
    """Return the number of time bins for the tracks: one per frame, at most BINS."""
    return min(BINS, int(np.ptp(tracks.frame_idx)) + 1) if len(tracks) else 1


def _bin(time_s: Array, tracks: Tracks) -> NDArray[np.int_]:
    """Return the time bin (N,) of each timestamp."""
    if len(tracks) == 0:
        return np.zeros(0, int)
    low, high = tracks.time_s.min(), tracks.time_s.max()
    count = steps(tracks)  # the last frame's timestamp falls into the last bin
    step = np.clip(np.rint((time_s - low) / max(high - low, 1e-9) * (count - 1)), 0, count - 1)
    whole: NDArray[np.int_] = step.astype(int)
    return whole


def _means(time_s: Array, values: Array, tracks: Tracks) -> Float64:
    """Return the mean of the values in each time bin, NaN where there are none."""
    good = np.isfinite(values)
    if not good.any():
        return np.full(steps(tracks), np.nan)
    step = _bin(time_s[good], tracks)
    count = np.bincount(step, minlength=steps(tracks))
    return np.where(count > 0, np.bincount(step, values[good], len(count)) / np.maximum(count, 1), np.nan)


def _lines(tracks: Tracks, curves: list[Curve], unit: str) -> str:
    """Return a chart with one line per track, interrupted at gaps longer than twice the track's usual step."""
    height, drawn = 130, []
    for track_id, times, values in curves:
        means = _means(times, values, tracks)
        if np.isfinite(means).any():
            drawn.append((track_id, np.flatnonzero(np.isfinite(means)), means))
    every = np.concatenate([means[at] for _, at, means in drawn]) if drawn else np.zeros(1)
    low, high = 0.0, float(np.percentile(every, 99)) * 1.05 or 1.0  # robust to outliers
    parts = []
    for track_id, at, means in drawn:
        usual = max(2, int(2 * np.median(np.diff(at)))) if len(at) > 1 else 2
        x = (at + 0.5) * WIDTH / steps(tracks)
        y = height * (1 - np.clip((means[at] - low) / (high - low), 0, 1))
        new = np.concatenate([[True], np.diff(at) > usual])
        path = "".join(f"{'M' if n else 'L'}{a:.1f} {b:.1f}" for n, a, b in zip(new, x, y, strict=True))
        color = "rgb({},{},{})".format(*(round(0.8 * c) for c in track_color(track_id)))
        title = f"<title>track {track_id}</title>"
        parts.append(f'<path class="line" data-track="{track_id}" stroke="{color}" d="{path}">{title}</path>')
    return _chart("".join(parts), height, top=f"{high:.3g} {unit}", bottom="0")


def _chart(body: str, height: int, labelled: list[str] | None = None, top: str = "", bottom: str = "") -> str:
    """Return a chart over time with its scale next to it."""
    if labelled is not None:
        scale = "".join(f'<b data-track="{label}" style="height:{ROW}px">{label}</b>' for label in labelled)
    else:
        scale = f"<b>{top}</b><b>{bottom}</b>"
    kind = "rows" if labelled is not None else "ends"
    return (
        f'<div class="chart"><div class="scale {kind}">{scale}</div>'
        f'<svg class="time" viewBox="0 0 {WIDTH} {height}" preserveAspectRatio="none" style="height:{height}px">{body}'
        f'<line class="playhead" x1="0" x2="0" y1="0" y2="{height}"/></svg></div>'
    )
