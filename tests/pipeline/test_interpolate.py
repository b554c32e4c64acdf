"""Detecting in every Nth frame: which frames the detector sees, and the people in those between."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cliffvid import process, process_many, read_meta, read_tracks
from cliffvid.pipeline.batching import Part
from cliffvid.pipeline.counts import Counts, DetectCounts
from cliffvid.pipeline.detect import Found, people_in
from cliffvid.pipeline.interpolate import detect_some
from cliffvid.tables import BOX_INTERPOLATED, Frames
from clips import film, make_clip, picture
from plane_frames import rgb_images

SIZES = [(640, 480), (480, 640)]


@dataclass(eq=False)
class Walk:
    """A video of people who walk in lanes, each at a constant speed and seen in some frames, one after the other."""

    number: int
    index: list[int]
    time_s: list[float]
    shots: set[int]  # first frames of shots
    turned: int  # the first frame of another size
    people: list[tuple[float, float, int, int]]  # x at time 0, speed, first and last frame
    counts: Counts = field(default_factory=Counts)

    def row(self, person, k):
        x = self.people[person][0] + self.people[person][1] * self.time_s[k]
        return [x, 400 * person, x + 40, 400 * person + 100, 0.9 - 0.1 * person + 0.001 * self.time_s[k]]

    def seen(self, k):
        return {p for p, (*_, first, last) in enumerate(self.people) if first <= self.index[k] <= last}

    def begins(self, k):
        """Whether a frame is the first of a shot or of a size; the end of the video counts too."""
        if k in (0, len(self.index)):
            return True
        return self.index[k] in self.shots or (self.index[k - 1] < self.turned <= self.index[k])

    def parts(self, cuts):
        """Yield the frames in tables that end at ``cuts`` and where the size changes, then the end."""
        n, start = len(self.index), 0
        sizes = {k for k in range(1, n) if self.index[k - 1] < self.turned <= self.index[k]}
        for stop in sorted({k for k in cuts if k < n} | sizes | {n}):
            at = np.array(self.index[start:stop])
            self.counts.shots += [(int(k), 1) for k in at if k in self.shots]
            wide, high = SIZES[int(at[0]) >= self.turned]
            images = rgb_images([np.broadcast_to(np.uint8(0), (high, wide, 3))] * len(at))
            pts, damaged = at + 1000 * self.number, np.zeros(len(at), bool)
            yield Part(self, Frames(at, pts, np.array(self.time_s[start:stop]), damaged, images))
            start = stop
        yield Part(self)

    def truth(self, step):
        """The frames that the detector sees, and all rows: (frame, person) -> (detected, box and score)."""
        n, rows = len(self.index), {}
        turns = {k for k in range(1, n) if self.index[k] // step > self.index[k - 1] // step}
        chosen = sorted(turns | {k for k in range(n) if self.begins(k) or self.begins(k + 1)})
        for k in chosen:
            rows |= {(self.index[k], p): (True, self.row(p, k)) for p in self.seen(k)}
        for a, b in zip(chosen, chosen[1:], strict=False):
            for k in range(a + 1, b):
                near = a if self.time_s[k] - self.time_s[a] <= self.time_s[b] - self.time_s[k] else b
                rows |= {(self.index[k], p): (False, self.row(p, near)) for p in self.seen(near)}
                rows |= {(self.index[k], p): (False, self.row(p, k)) for p in self.seen(a) & self.seen(b)}
        return [self.index[k] for k in chosen], rows


@st.composite
def walks(draw, number, stride):
    missing = draw(st.sets(st.integers(1, 30), max_size=4))
    index = [stride * k for k in range(draw(st.integers(1, 30))) if k not in missing]
    steps = draw(st.lists(st.sampled_from([0.015625, 0.03125, 0.125]), min_size=len(index), max_size=len(index)))
    walk = st.tuples(st.integers(0, 500), st.integers(-30, 30), st.integers(0, 15), st.integers(5, 60))
    shots, people = draw(st.sets(st.integers(1, 60), max_size=2)), draw(st.lists(walk, min_size=2, max_size=3))
    return Walk(number, index, np.cumsum(steps).tolist(), shots, draw(st.integers(1, 90)), people)


@given(st.data(), st.integers(2, 7), st.sampled_from([1, 3]))
def test_people_between_are_where_a_slow_reference_has_them(data, every, stride):
    videos = [data.draw(walks(number, stride)) for number in range(2)]
    parts = [list(video.parts(data.draw(st.lists(st.integers(1, 40), max_size=12)))) for video in videos]
    turns = data.draw(st.permutations([video.number for video, some in zip(videos, parts, strict=True) for _ in some]))
    size = data.draw(st.integers(1, 5))
    mixed = [parts[number].pop(0) for number in turns]
    asked = [[], []]

    def find(tables):
        found = []
        for frames in tables:
            video = videos[int(frames.pts[0]) // 1000]
            asked[video.number] += frames.frame_idx.tolist()
            places = [video.index.index(index) for index in frames.frame_idx]
            at = [(row, place, p) for row, place in enumerate(places) for p in sorted(video.seen(place))]
            rows = np.array([video.row(p, place) for _, place, p in at], np.float32).reshape(-1, 5)
            frame = np.array([row for row, *_ in at], np.int64)
            people = people_in(frames, frame, rows[:, :4], rows[:, 4])
            found.append(Found(frames, people, DetectCounts(people=len(rows), frames=len(frames))))
        return found

    batches = (mixed[start : start + size] for start in range(0, len(mixed), size))
    out = [part for batch in detect_some(batches, find, every * stride) for part in batch]
    for video in videos:
        chosen, truth = video.truth(every * stride)
        mine = [part.rows for part in out if part.video is video]
        assert mine.pop() is None and asked[video.number] == chosen
        assert [k for found in mine for k in found.frames.frame_idx] == video.index
        rows = {}
        for people in (found.people for found in mine):
            detected = (people.flags & BOX_INTERPOLATED) == 0
            columns = people.frame_idx.tolist(), people.bbox_xyxy.tolist(), people.det_score.tolist(), detected.tolist()
            for index, box, score, seen in zip(*columns, strict=True):
                rows[index, round(box[1]) // 400] = (seen, [*box, score])
        assert list(rows) == sorted(truth)
        assert (video.counts.detect.frames, video.counts.detect.people) == (len(chosen), len(rows))
        for key, (seen, row) in truth.items():
            assert rows[key][0] == seen
            np.testing.assert_allclose(rows[key][1], row, rtol=1e-5, atol=1e-4)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Three people for four frames; three who walk straight on for 20; and a cut at the tenth of 25 frames."""
    folder = tmp_path_factory.mktemp("films")
    cut = [picture(index, 2, 192, 144) for index in range(10)]
    cut += [255 - picture(index, 4, 192, 144)[::-1] for index in range(10, 25)]
    return [
        make_clip(folder / "a.mp4", frames=4, people=3),
        make_clip(folder / "b.mp4", frames=20, people=3),
        film(folder / "c.mp4", cut),
    ]


@pytest.fixture(scope="module")
def alone(films, toy_options, tmp_path_factory):
    """Each film's tracks file, detected in every third frame, processed in one thread, frame by frame."""
    out = tmp_path_factory.mktemp("alone")
    how = toy_options(detect_every=3, frame_batch=1, person_batch=1, prefetch=0)
    return [process(path, out / f"{path.stem}.parquet", how) for path in films]


def test_rows_stand_on_boxes_between_those_detected(films, alone, toy_options, tmp_path):
    whole = read_tracks(process(films[1], tmp_path / "whole.parquet", toy_options()).output)
    some = read_tracks(alone[1].output)
    seen = [0, 3, 6, 9, 12, 15, 18, 19]
    assert (alone[1].frames, alone[1].frames_detected) == (20, len(seen))
    detected = np.isin(some.frame_idx, seen)
    np.testing.assert_array_equal((some.flags & BOX_INTERPOLATED) == 0, detected)
    for name, column in some.columns().items():
        np.testing.assert_array_equal(column[detected], whole.columns()[name][np.isin(whole.frame_idx, seen)])
    for score in np.unique(whole.det_score):  # each colour has its own
        one, all_of = some[some.det_score == score], whole[whole.det_score == score]
        known = np.isin(all_of.frame_idx, seen)
        boxes = [np.interp(one.time_s, all_of.time_s[known], edge) for edge in all_of.bbox_xyxy[known].T]
        np.testing.assert_allclose(one.bbox_xyxy, np.transpose(boxes), atol=1e-4)
        np.testing.assert_allclose(one.betas, all_of.betas, atol=0.1)  # each crop is that of its own frame
    assert len(some) == len(whole) and read_meta(alone[1].output)["settings"]["detect_every"] == 3


def test_both_sides_of_a_cut_are_detected(alone):
    some = read_tracks(alone[2].output)
    assert {0, 3, 6, 9, 10, 12, 15, 18, 21, 24} == {*some.frame_idx[(some.flags & BOX_INTERPOLATED) == 0].tolist()}


def test_where_a_run_begins_changes_the_rows_of_its_first_gap_alone(films, alone, toy_options, tmp_path):
    how = toy_options(detect_every=3, start_s=7 / 25, end_s=17 / 25)
    some, whole = read_tracks(process(films[1], tmp_path / "a.parquet", how).output), read_tracks(alone[1].output)
    assert {7, 9, 12, 15, 16} == {*some.frame_idx[(some.flags & BOX_INTERPOLATED) == 0].tolist()}
    for name in ("frame_idx", "bbox_xyxy", "betas", "transl"):
        one, other = some.columns()[name], whole.columns()[name]
        same = [(rows.frame_idx >= 9) & (rows.frame_idx <= 15) for rows in (some, whole)]
        np.testing.assert_array_equal(one[same[0]], other[same[1]])


@pytest.mark.parametrize(("frames", "people", "prefetch", "videos"), [(4, 3, 2, 1), (7, 8, 1, 3), (64, 100, 2, 2)])
def test_tracks_are_the_same_bytes_whatever_is_in_flight(
    films, alone, toy_options, tmp_path, frames, people, prefetch, videos
):
    more = {"frame_batch": frames, "person_batch": people, "prefetch": prefetch, "videos_at_once": videos}
    jobs = [(path, tmp_path / f"{path.stem}.parquet") for path in films]
    assert not any(done.error for done in process_many(jobs, toy_options(detect_every=3, **more)))
    assert [out.read_bytes() for _, out in jobs] == [report.output.read_bytes() for report in alone]


def test_the_command_tells_how_many_frames_the_detector_saw(cliffvid, films):
    code, _, err = cliffvid("process", films[1], "--stride", 2, "--detect-every", 4)  # 0, 8, 16 and the last, 18
    assert code == 0 and "10 frames (4 seen by the detector)" in err
    code, _, err = cliffvid("process", films[1], "--detect-every", 0)
    assert code == 2 and "--detect-every 0: must be a whole number, 1 to 30" in err
