"""Draw the report's charts as inline SVG, without library or script; ``data-track`` holds an element's track id.

Colours that differ between light and dark pages are classes, which web/report.html defines.
"""

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
ROW = 24  # high enough to tap
CONFIDENCE = 6  # levels, from low to high: the classes c0 to c5
TICKS_MAX = 6
TICKS_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600)  # then in hours
LEGEND_MAX = 12  # tracks that a legend names

Curve: TypeAlias = tuple[int, Float64, Array]  # track id, times and values


def timeline(tracks: Tracks) -> str:
    """Return a chart with one row per track, coloured by detection confidence; gaps show where it was not detected."""
    ids = np.unique(tracks.track_id)
    height = ROW * max(len(ids), 1)
    parts = []
    for line, track_id in enumerate(ids):
        rows = tracks[tracks.track_id == track_id]
        step = _bin(rows.time_s, tracks)
        bars: list[tuple[int, int, int]] = []
        used, first = np.unique(step, return_index=True)
        for k, scores in zip(used.tolist(), np.split(rows.det_score, first[1:]), strict=True):
            level = min(int(np.mean(scores) * CONFIDENCE), CONFIDENCE - 1)
            if bars and bars[-1][2] == level and bars[-1][1] == k:
                bars[-1] = (bars[-1][0], k + 1, level)
            else:
                bars.append((k, k + 1, level))
        unit = WIDTH / steps(tracks)
        rects = "".join(
            f'<rect x="{low * unit:g}" y="4" width="{(high - low) * unit:g}" height="{ROW - 8}" class="c{level}"/>'
            for low, high, level in bars
        )
        title = f"track {track_id}: {len(rows)} frames, mean confidence {rows.det_score.mean():.2f}"
        parts.append(
            f'<g data-track="{track_id}" transform="translate(0 {line * ROW})"><title>{title}</title>'
            f'<rect class="hit" width="{WIDTH}" height="{ROW}"/>{rects}</g>'
        )
    scale = "".join(f'<button data-track="{i}" aria-pressed="false" aria-label="Track {i}">{i}</button>' for i in ids)
    # What is in a slider is not read out, nor reached by keys: tracks are selected by the buttons beside it.
    slider = 'role="slider" tabindex="0" aria-label="Time" aria-valuemin="0" aria-valuemax="1" aria-valuenow="0"'
    return _chart(tracks, "".join(parts), height, f'<div class="scale">{scale}</div>', slider)


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
    area = f'<path class="area" d="M0 {height}{path}V{height}Z"/>'
    return _chart(tracks, area, height, _ends(str(top)), _image(f"People in a frame over time, up to {top}"))


def depth(tracks: Tracks) -> str:
    """Return a chart of each track's depth over time, in metres."""
    good = tracks[(tracks.flags & NOT_DRAWN) == 0]
    return _lines(tracks, [(i, rows.time_s, rows.transl[:, 2]) for i, rows in _each(good)], "Distance", "m")


def jitter(tracks: Tracks, body: Body) -> str:
    """Return a chart of each track's mean joint acceleration relative to the pelvis, in m/s2, over three frames."""
    curves: list[Curve] = []
    for track_id, rows in _each(tracks):
        joints = body.joints(rows.global_orient, rows.body_pose, rows.betas, np.zeros_like(rows.transl))
        joints = joints - joints[:, :1]
        curves.append((track_id, rows.time_s[1:-1], derivative(joints, rows.frame_idx, rows.time_s, 2)))
    return _lines(tracks, curves, "Jitter", "m/s²")


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


def _lines(tracks: Tracks, curves: list[Curve], what: str, unit: str) -> str:
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
        title = f"<title>track {track_id}</title>"
        parts.append(
            f'<path class="line" data-track="{track_id}" stroke="{_color(track_id)}" d="{path}">{title}</path>'
        )
    top = f"{high:.3g} {unit}"
    image = _image(f"{what} of each track over time, up to {top}")
    return _chart(tracks, "".join(parts), height, _ends(top), image) + _legend([track_id for track_id, _, _ in drawn])


def _color(track_id: int) -> str:
    """Return a track's colour as a line has it: darker than a body's."""
    return "rgb({},{},{})".format(*(round(0.8 * c) for c in track_color(track_id)))


def _legend(ids: list[int]) -> str:
    """Return the colours of lines by track id."""
    if not ids:
        return ""
    names = "".join(
        f'<span data-track="{i}"><i style="background:{_color(i)}"></i>{i}</span>' for i in ids[:LEGEND_MAX]
    )
    more = f" and {len(ids) - LEGEND_MAX} more" if len(ids) > LEGEND_MAX else ""
    return f'<div class="key">track {names}{more}</div>'


def _ends(top: str) -> str:
    """Return the scale of a chart from 0 to ``top``."""
    return f'<div class="scale ends"><b>{top}</b><b>0</b></div>'


def _image(label: str) -> str:
    """Return the attributes of a chart that is read out as ``label``."""
    return f'role="img" aria-label="{label}"'


def _chart(tracks: Tracks, body: str, height: int, scale: str, role: str) -> str:
    """Return a chart over time with its scale next to it and the time below."""
    return (
        f'<div class="chart">{scale}<svg class="time" {role} viewBox="0 0 {WIDTH} {height}" preserveAspectRatio="none" '
        f'style="height:{height}px">{body}<line class="playhead" x1="0" x2="0" y1="0" y2="{height}"/></svg>'
        f"{_axis(tracks)}</div>"
    )


def _axis(tracks: Tracks) -> str:
    """Return the labelled times below a chart: seconds, or minutes and seconds for longer videos."""
    begin, end = (float(tracks.time_s.min()), float(tracks.time_s.max())) if len(tracks) else (0.0, 0.0)
    steps_s = (*TICKS_S, *(3600.0 * 2**k for k in range(1, 40)))
    step_s = next((step for step in steps_s if (end - begin) / step <= TICKS_MAX), end - begin)
    # the tolerance keeps the last tick of a video of exactly that length
    times = np.arange(np.ceil(begin / step_s), np.floor(end / step_s + 1e-6) + 1) * step_s
    long = end >= 120
    labels = [_clock(round(t)) if long else f"{t:.6g} s" for t in times.tolist()]
    shares = 100 * (times - begin) / max(end - begin, 1e-9)
    ticks = "".join(f'<span style="--at:{s:.2f}%">{label}</span>' for s, label in zip(shares, labels, strict=True))
    return f'<div class="axis" aria-hidden="true">{ticks}</div>'


def _clock(seconds: int) -> str:
    """Return seconds as m:ss or h:mm:ss with its unit."""
    minutes, rest = divmod(seconds, 60)
    return f"{minutes}:{rest:02d} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d} h"
