"""Compute the times of frames: seconds since the first one, whatever the video's timestamps are."""

from itertools import pairwise

from ..tables import VideoInfo


class Clock:
    """Seconds since the first frame, each frame later than the one before.

    If timestamps stand still, the frame comes one tick later. If they go back by a frame or more, as in concatenated
    videos, time goes on from there. A frame without a timestamp comes one step later. In raw streams the step is that
    of the nominal rate. At the end of an AVI, whose nominal rate counts dropped frames, it is the shortest step so far.
    """

    def __init__(self, info: VideoInfo) -> None:
        self.first: int | None = None
        self.jumps = 0
        self._time_base = info.time_base
        self._step = max(int(1 / (info.rate * info.time_base)), 1) if info.rate else 1
        self._counts_left_out, self._shortest = info.container == "avi", 0
        self._last = self._shift = 0

    def start(self, before: list[int]) -> None:
        """Continue in the middle of a video, after frames with those times."""
        if before:
            self.first, self._last = before[0], before[-1]
            if self._counts_left_out:
                self._shortest = min((b - a for a, b in pairwise(before)), default=0)

    def read(self, ticks: int | None) -> tuple[int, float]:
        """Return ``(pts, time_s)`` of the next frame, from its timestamp in the stream's time base if it has one."""
        if self.first is None:
            self.first = self._last = ticks or 0
            return self.first, 0.0
        if ticks is None:
            ticks = self._last - self._shift + (self._shortest or self._step)
        elif (behind := self._last - (ticks + self._shift)) >= 0:
            self.jumps += 1
            if behind >= self._step:
                self._shift += behind + self._step
        elif self._counts_left_out:
            self._shortest = min(self._shortest or -behind, -behind)
        self._last = max(ticks + self._shift, self._last + 1)
        return ticks, self.seconds(self._last)

    def seconds(self, ticks: int) -> float:
        return float((ticks - (self.first or 0)) * self._time_base)
