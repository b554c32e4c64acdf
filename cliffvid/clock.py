"""Times of frames: seconds since the first one, however the video's own clock runs."""

from .types import VideoInfo


class Clock:
    """Seconds since the first frame, each frame later than the one before.

    Where the video's own clock stands still, the frame comes one tick later; where it goes back by a frame or more, as
    in films joined end to end, time goes on from there.
    """

    def __init__(self, info: VideoInfo) -> None:
        self.first: int | None = None
        self.jumps = 0
        self._time_base = info.time_base
        self._step = max(int(1 / (info.rate * info.time_base)), 1) if info.rate else 1
        self._last = self._shift = 0

    def start(self, first: int, ticks: int) -> None:
        """Go on in the middle: ``first`` is the first frame's time, ``ticks`` the next one's."""
        self.first, self._last = first, ticks - 1

    def read(self, pts: int | None) -> tuple[int, float]:
        """``(pts, time_s)`` of the next frame; None, as in raw streams: counted on at the nominal rate."""
        if self.first is None:
            self.first = self._last = pts or 0
            return self.first, 0.0
        if pts is None:
            pts = self._last - self._shift + self._step
        elif (behind := self._last - (pts + self._shift)) >= 0:
            self.jumps += 1
            if behind >= self._step:
                self._shift += behind + self._step
        self._last = max(pts + self._shift, self._last + 1)
        return pts, self.seconds(self._last)

    def seconds(self, ticks: int) -> float:
        return float((ticks - self.first) * self._time_base)
