"""Detect people in every Nth frame, and interpolate their boxes in the frames between (``--detect-every``)."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from ..tables import BOX_INTERPOLATED, Bool, Float32, Frames, Int64, People
from .batching import Batch, HasCounts, Part
from .detect import Found, people_in
from .tracker import COST_MAX, assigned, distance, places_of

CARRY = 0.5  # share of the gap for which a person seen at one side alone stays there


class Sifted(NamedTuple):
    """Frames, and which of them (N,) the detector sees."""

    frames: Frames
    seen: Bool


class Sieve:
    """Chooses the frames of one video that the detector sees; the others wait for the next one chosen.

    Chosen are the first frame at or after each multiple of ``step``, and the first and last frame of each shot and of
    each size. So no frame waits for one of another shot.
    """

    def __init__(self, step: int) -> None:
        self._step, self._waiting = step, list[Sifted]()
        self._turn, self._size_wh = -1, (0, 0)  # of the frame before

    def feed(self, frames: Frames, shots: Sequence[tuple[int, int]]) -> list[Sifted]:
        """Return all frames that need not wait; the last one is chosen. ``shots``: see ``track.Tracking``."""
        index = frames.frame_idx
        begun = shots[bisect_left(shots, int(index[0]), key=lambda shot: shot[0]) :]
        first: Bool = np.isin(index, [start for start, _ in begun])
        first[0] |= frames.size_wh != self._size_wh
        turn = index // self._step
        seen: Bool = first | (np.diff(turn, prepend=self._turn) != 0) | np.append(first[1:], False)
        self._turn, self._size_wh = int(turn[-1]), frames.size_wh
        done = self.finish() if first[0] else []
        if seen.any():
            ready = int(np.flatnonzero(seen)[-1]) + 1
            done += [*self._waiting, Sifted(frames[:ready], seen[:ready])]
            frames, self._waiting = frames[ready:], []
        if len(frames):
            self._waiting.append(Sifted(frames, np.zeros(len(frames), bool)))
        return done

    def finish(self) -> list[Sifted]:
        """Return all frames that wait; the last one is chosen."""
        done, self._waiting = self._waiting, []
        if done:
            done[-1].seen[-1] = True
        return done


class Moment(NamedTuple):
    """The people that the detector saw at some time."""

    time_s: float
    people: People


class Filler:
    """Fills the frames of one video between those that the detector saw."""

    def __init__(self) -> None:
        self._last = Moment(0.0, People.empty())

    def filled(self, sifted: list[Sifted], found: list[Found]) -> list[Found]:
        """Return all frames with their people, best score first within a frame. ``found``: those of chosen frames."""
        if not sifted:
            return []
        detected, gap = People.concat([each.people for each in found]), list[Frames]()
        people = [detected]
        for frames, seen in sifted:
            row = 0
            for stop in np.flatnonzero(seen).tolist():
                start, end = np.searchsorted(detected.frame_idx, frames.frame_idx[stop] + np.arange(2))
                now = Moment(float(frames.time_s[stop]), detected[start:end])
                gap += [frames[row:stop]] if stop > row else []
                people += [between(Frames.concat(gap), self._last, now)] if gap else []
                self._last, row, gap = now, stop + 1, []
            gap += [frames[row:]] if row < len(frames) else []
        every = People.concat(people)
        every = every[np.lexsort((-every.det_score, every.frame_idx))]
        ends = np.searchsorted(every.frame_idx, [each.frames.frame_idx[-1] for each in sifted], "right").tolist()
        return [Found(each.frames, every[a:b]) for each, a, b in zip(sifted, [0, *ends[:-1]], ends, strict=True)]


def between(frames: Frames, before: Moment, after: Moment) -> People:
    """Return the people in frames between two moments; boxes and scores are linear in time.

    A person seen only before stays in place for the first half, one seen only after for the second.
    """
    one, other = before.people, after.people
    gap_s = after.time_s - before.time_s
    chosen = matches(one.bbox_xyxy, other.bbox_xyxy, gap_s)
    both, gone = np.flatnonzero(chosen >= 0), one[chosen < 0]
    new = other[np.setdiff1d(np.arange(len(other)), chosen)]
    start, end = People.concat([one[both], gone, new]), People.concat([other[chosen[both]], gone, new])
    lengths = len(both), len(gone), len(new)
    above, most = np.repeat([0, 0, 1 - CARRY], lengths), np.repeat([1, CARRY, 1], lengths)
    share = ((frames.time_s - before.time_s) / gap_s)[:, None]
    row, person = np.nonzero((share > above) & (share <= most))
    start, end, share = start[person], end[person], share[row]
    box = start.bbox_xyxy + share * (end.bbox_xyxy - start.bbox_xyxy)
    score = start.det_score + share[:, 0] * (end.det_score - start.det_score)
    return people_in(frames, row, box.astype(np.float32), score, BOX_INTERPOLATED)


def matches(boxes: Float32, others: Float32, seconds: float) -> Int64:
    """Return the row in ``others`` of each box's person so many seconds later (A,), -1 for nobody near enough."""
    known, costs = places_of(others.astype(np.float64)), []
    for place in places_of(boxes.astype(np.float64)):
        far = [distance(place, last, last[:2], seconds) for last in known]
        costs.append([(cost, column) for column, cost in enumerate(far) if cost <= COST_MAX])
    return np.array(assigned(costs), np.int64)


def detect_some(
    batches: Iterable[Batch[Frames]], find: Callable[[list[Frames]], list[Found]], step: int
) -> Iterator[Batch[Found]]:
    """Yield all frames with their people. ``find`` detects them in a frame for each ``step`` indices at least."""
    videos: dict[HasCounts, tuple[Sieve, Filler]] = {}
    for batch in batches:
        done = _through(batch, find, step, videos)
        del batch  # free it before the next one is requested; same for ``done``
        yield done
        del done


def _through(
    batch: Batch[Frames],
    find: Callable[[list[Frames]], list[Found]],
    step: int,
    videos: dict[HasCounts, tuple[Sieve, Filler]],
) -> Batch[Found]:
    sifted = []
    for part in batch:
        sieve, _ = videos.setdefault(part.video, (Sieve(step), Filler()))
        sifted.append(sieve.finish() if part.rows is None else sieve.feed(part.rows, part.video.counts.shots))
    asked = [[frames[seen] for frames, seen in each if seen.any()] for each in sifted]
    found = iter(find([frames for each in asked for frames in each]))
    done: Batch[Found] = []
    for part, each, given in zip(batch, sifted, asked, strict=True):
        seen, counts = list(islice(found, len(given))), part.video.counts.detect
        filled = videos[part.video][1].filled(each, seen)
        for one in seen:
            counts.add(one.counts)
        counts.people += sum(len(one.people) for one in filled) - sum(len(one.people) for one in seen)
        done += [Part(part.video, one) for one in filled]
        if part.rows is None:
            done.append(Part(part.video))
            del videos[part.video]
    return done
