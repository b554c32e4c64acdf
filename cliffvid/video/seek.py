"""Seek exactly: find where to start decoding so that the frames are those of a decode from the first one on.

Containers list key frames, and are sometimes wrong: MPEG-TS lands late, and intra-refresh streams mark frames as keys
that need the frames before them. So a pass over the packets finds which pts must come out, and Video checks that they
do. The pass decodes nothing: it takes 0.2 to 1.6 % of the decoding time.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import av

from .container import check_read
from .damage import Settled
from .packets import times_by_dts

if TYPE_CHECKING:
    from .reader import Video


@dataclass(frozen=True)
class Index:
    """The frames of a stream in presentation order, from the first one shown."""

    pts: list[int]  # of the packets
    keys: list[int]  # pts of key frames
    ticks: list[int]  # when each is shown; the last ones may be missing if not known beforehand

    def at(self, pts: int | None) -> int | None:
        """Return the position of a pts; None if it is not there."""
        place = 0 if pts is None else bisect_left(self.pts, pts)
        return place if place < len(self.pts) and self.pts[place] == pts else None

    def anchors(self, place: int) -> list[int]:
        """Return key frames to try for the frame at ``place``, nearest first; the nearest may be no true one."""
        last = bisect_right(self.keys, self.pts[place]) - 1
        return [self.keys[last - back] for back in (0, 1, 2, 4) if last - back >= 0]


KEPT_MAX = 4  # of an hour of film each 10 MB
_KEPT: dict[tuple[str | None, int], Index | None] = {}  # by content and stream


def read_index(container: av.container.InputContainer, stream: av.VideoStream, first: Settled) -> Index | None:
    """Return the index of a freshly opened stream; None if its times are missing, repeated or jump back.

    Indices of the last objects in stores are kept: each segment of a film needs it, and reading it reads the film.
    """
    content = container.file.file.content if container.file else None
    key = content, stream.index
    if content and key in _KEPT:
        return _KEPT[key]
    index = _read_index(container, stream, first)
    if content:
        _KEPT[key] = index
        for old in list(_KEPT)[:-KEPT_MAX]:
            _KEPT.pop(old, None)
    return index


def _read_index(container: av.container.InputContainer, stream: av.VideoStream, first: Settled) -> Index | None:
    shown, keys, decoding = [], [], []
    try:
        for packet in container.demux(stream):
            if not packet.size:
                continue
            if packet.pts is None or packet.is_corrupt:
                return None
            if packet.dts is not None:
                decoding.append(packet.dts)
            if packet.is_discard:  # outside of the edit list: decoded, never shown
                continue
            shown.append(packet.pts)
            if packet.is_keyframe:
                keys.append(packet.pts)
    except av.FFmpegError:
        pass  # the container breaks off: packets before that are sound
    check_read(container)
    if len(set(shown)) < len(shown) or any(b < a for a, b in pairwise(decoding)):
        return None
    if first.ticks is None or first.frame.pts not in shown:
        return None
    pts = sorted(shown)
    del pts[: bisect_left(pts, first.frame.pts)]
    ticks = decoding[bisect_left(decoding, first.ticks) :][: len(pts)] if times_by_dts(container) else pts
    return Index(pts, sorted(keys), ticks) if ticks else None


def verified(frames: Iterator[Settled], table: Index, target: int) -> list[Settled] | None:
    """Return the frame at position ``target`` and the one after it, or None where the seek is not exact.

    It is not where decoding starts at no true key frame, a frame is missing, or the times are not those of
    presentation. The frame after the target is checked too: pts that are decoding times are out of order next to every
    reordered frame.
    """
    place: int | None = None
    found: list[Settled] = []
    for settled in frames:
        at = table.at(settled.frame.pts)
        if at is None or (place is not None and at != place):
            return None
        if place is None and (at > target or not settled.frame.key_frame):
            return None
        place = at + 1
        if at >= target:
            found.append(settled)
        if at > target or place == len(table.pts):
            break
    return found if found and found[0].ticks == table.ticks[target] else None


def cuts(video: "Video", every_s: float) -> tuple[list[float], int]:
    """Return ``(times, frames)``: times of key frames, at least ``every_s`` apart, where a trial decode was exact.

    ``frames`` is the number in the whole video, 0 if its times are missing, repeated or jump back. Such a video gets no
    times, nor does one whose key frames depend on earlier frames (intra refresh).
    """
    table = video.index()
    if table is None:
        return [], 0
    begin, tick_s = table.ticks[0], video.info.time_base
    places = (table.at(pts) for pts in table.keys)
    seconds = [float((table.ticks[i] - begin) * tick_s) for i in places if i is not None and i < len(table.ticks)]
    times: list[float] = []
    last_s = float((table.ticks[-1] - begin) * tick_s)
    for time_s in seconds:
        due = time_s - (times[-1] if times else 0) >= every_s and last_s - time_s >= every_s / 2
        if due and video.seekable(time_s):
            times.append(time_s)
    return times, len(table.pts)
