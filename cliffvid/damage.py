"""Which frames damage reaches.

A frame is made from frames decoded before it, some of which are shown after it. So damage spreads in the order of
decoding, up to the next key frame, and a frame can be called sound only once all that were decoded before it are known.
"""

from collections import deque
from collections.abc import Iterator

MOST_HELD = 16  # frames; H.264 and HEVC reorder no more


class Damage:
    """Takes packets as they are decoded and frames as they are shown; tells of each frame whether it is damaged."""

    def __init__(self) -> None:
        self._fed = 0
        self._due: dict[int, int] = {}  # pts -> order of decoding, of the packets whose frames have not come
        self._corrupt: set[int] = set()
        self._since: int | None = None  # order of decoding of the damage that no key frame has healed yet
        self._held: deque[list] = deque()  # [frame, order, damaged]

    def feed(self, pts: int | None, corrupt: bool) -> None:
        """The next packet goes to the decoder; ``corrupt``: its container says that it is."""
        self._fed += 1
        if pts is not None:
            self._due[pts] = self._fed
            if corrupt:
                self._corrupt.add(pts)
        if len(self._due) > 8 * MOST_HELD:  # packets that never became frames
            self._due.pop(next(iter(self._due)))

    def fail(self) -> None:
        """The packet fed last did not decode."""
        self._since = self._fed

    def show(self, frame) -> bool:
        """The next frame in presentation order came; whether it brings damage of its own."""
        order = self._due.pop(frame.pts, self._fed)
        for late in [pts for pts in self._due if frame.pts is not None and pts < frame.pts]:
            del self._due[late]  # what should have been shown before never comes
        marked = frame.pts in self._corrupt
        self._corrupt.discard(frame.pts)
        if marked or frame.is_corrupt:
            self._since = order
            for other in self._held:
                other[2] |= other[1] > order
        elif self._since is not None and frame.key_frame and order > self._since:
            self._since = None
        self._held.append([frame, order, self._since is not None and order >= self._since])
        return frame.is_corrupt and not marked

    def ready(self, end: bool = False) -> Iterator[tuple]:
        """``(frame, damaged)`` of the frames that nothing to come can change; at the end, of all."""
        while self._held:
            frame, order, damaged = self._held[0]
            if not end and len(self._held) <= MOST_HELD and any(due < order for due in self._due.values()):
                return
            self._held.popleft()
            yield frame, damaged

    def tail_missing(self, shown_pts: int | None) -> bool:
        """Whether packets later than the last frame shown never became frames."""
        return shown_pts is not None and any(pts > shown_pts for pts in self._due)
