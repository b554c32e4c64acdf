"""Find out which frames are damaged, and when each frame is shown.

A frame is decoded from frames decoded before it, some of which are shown after it. So damage spreads in decoding order,
up to the next key frame. A frame is known to be sound only once all frames decoded before it are known.

By then its time is known too, even where a container stores decoding times only. AVI does: FFmpeg makes up its pts, and
the dts of a frame is the time at which it is shown. Other containers store such pts where an AVI was copied into them:
each is a right time, but of another frame. Sorted among the reordered frames they are right; true pts are in order
already.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import dropwhile
from typing import NamedTuple

import av

MOST_HELD = 16  # frames; H.264 and HEVC reorder no more


class Settled(NamedTuple):
    """A frame that no later data can change."""

    frame: av.VideoFrame
    damaged: bool
    ticks: int | None  # when it is shown, in the stream's time base; None: one frame interval after the last


@dataclass
class _Held:
    frame: av.VideoFrame
    order: int  # of decoding
    damaged: bool
    ticks: int | None


class Damage:
    """Takes packets in decoding order and frames in presentation order, and finds out which frames are damaged.

    ``reorders``: the decoder may show frames in another order than it decodes them. ``by_dts``: see
    ``packets.times_by_dts``.
    """

    def __init__(self, reorders: bool, by_dts: bool) -> None:
        self._reorders, self._by_dts = reorders, by_dts
        self._fed = 0
        self._due: dict[int, int] = {}  # pts -> decoding order, of packets whose frames have not come yet
        self._corrupt: set[int] = set()
        self._since: int | None = None  # decoding order of damage that no key frame has ended yet
        self._held: deque[_Held] = deque()
        self._settled_pts: int | None = None  # of the last settled frame

    def feed(self, pts: int | None, corrupt: bool) -> None:
        """Note that the next packet goes to the decoder; ``corrupt``: its container marks it so."""
        self._fed += 1
        if pts is not None:
            self._due[pts] = self._fed
            if corrupt:
                self._corrupt.add(pts)
        if len(self._due) > 8 * MOST_HELD:  # packets that never became frames
            self._due.pop(next(iter(self._due)))

    def fail(self) -> None:
        """Note that the last packet did not decode."""
        self._since = self._fed

    def show(self, frame: av.VideoFrame) -> bool:
        """Take the next frame in presentation order; return whether the decoder alone found it corrupt."""
        order, marked = self._fed, False
        if frame.pts is not None:
            order, marked = self._due.pop(frame.pts, order), frame.pts in self._corrupt
            self._corrupt.discard(frame.pts)
        self._forget_late(frame.pts, order)
        if marked or frame.is_corrupt:
            self._since = order
            for other in self._held:
                other.damaged |= other.order > order
        elif self._since is not None and frame.key_frame and order > self._since:
            self._since = None
        damaged = self._since is not None and order >= self._since
        self._held.append(_Held(frame, order, damaged, frame.dts if self._by_dts else frame.pts))
        self._sort_times(order)
        return frame.is_corrupt and not marked

    def ready(self, end: bool = False) -> Iterator[Settled]:
        """Yield the frames that no later data can change; at the end, all."""
        while self._held:
            first = self._held[0]
            before = [pts for pts, order in self._due.items() if order < first.order]
            if before and not end:
                if len(self._held) <= MOST_HELD:
                    return
                for pts in before:
                    del self._due[pts]  # their frames never come
            self._held.popleft()
            self._settled_pts = first.frame.pts
            yield Settled(first.frame, first.damaged, first.ticks)

    def _forget_late(self, pts: int | None, order: int) -> None:
        """Forget packets that should have been shown before the next frame: their frames never come.

        A decoder that reorders may still show those decoded before it, where the times are decoding times.
        """
        if pts is None:
            return
        first = self._settled_pts is None and not self._held
        for late, due in [(late, due) for late, due in self._due.items() if late < pts]:
            passed = self._settled_pts is not None and late < self._settled_pts
            if not self._reorders or first or (due < order and passed):
                del self._due[late]

    def _sort_times(self, order: int) -> None:
        """Sort the times of held frames from the first on that was decoded after the last one, whose order is given."""
        run = list(dropwhile(lambda held: held.order < order, self._held))
        times = [held.ticks for held in run if held.ticks is not None]
        if len(run) > 1 and len(times) == len(run):
            for held, ticks in zip(run, sorted(times), strict=True):
                held.ticks = ticks

    def tail_missing(self, shown_pts: int | None) -> bool:
        """Return whether packets later than the last frame shown never became frames."""
        return shown_pts is not None and any(pts > shown_pts for pts in self._due)
