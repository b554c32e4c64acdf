from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import needs
from cliffvid import Options
from cliffvid.pipeline.appearance import Appearance
from cliffvid.pipeline.short_tracks import by_frame
from cliffvid.pipeline.track import Tracking, track
from cliffvid.pipeline.tracker import COST_MAX, Person, Track, Tracker, assigned, cheapest, in_full
from cliffvid.tables import BAD_CAMERA, ODD_DEPTH, SHORT_TRACK, Bodies, Tracks
from crossings import crossings
from reference import identity_figures


def bodies(rows):
    """Bodies from (frame_idx, time_s, score, box) rows; the body parameters are zero."""
    n = len(rows)
    table = Bodies.empty()
    columns = {name: np.zeros((n, *column.shape[1:]), column.dtype) for name, column in table.columns().items()}
    columns["frame_idx"] = np.array([r[0] for r in rows], np.int64)
    columns["pts"] = columns["frame_idx"].copy()
    columns["time_s"] = np.array([r[1] for r in rows], np.float64)
    columns["det_score"] = np.array([r[2] for r in rows], np.float32)
    columns["bbox_xyxy"] = np.array([r[3] for r in rows], np.float32).reshape(n, 4)
    return Bodies(**columns)


def walk(person, time_s, height=100.0):
    """A walker's box: each starts elsewhere and walks at about a body height a second, left or right."""
    x = 400 + 260 * person + (1 if person % 2 else -1) * 80 * time_s
    y = 200 + 20 * person + 6 * np.sin(5 * time_s + person)
    return [x - height * 0.2, y - height / 2, x + height * 0.2, y + height / 2]


def ids_of(rows, cut=None):
    tables = [bodies(rows[i : i + (cut or len(rows))]) for i in range(0, len(rows), cut or len(rows))]
    out = list(track(iter(tables), Tracker(Options())))
    return [
        (int(f), int(i), tuple(b)) for t in out for f, i, b in zip(t.frame_idx, t.track_id, t.bbox_xyxy, strict=True)
    ]


def noisy_walkers(seed, rate=25.0, people=4, seconds=4.0, miss=0.1):
    """Rows and the true person of each: noise, misses of up to several frames, changing scores, shuffled order."""
    rng = np.random.default_rng(seed)
    rows, truth = [], []
    for frame in range(int(seconds * rate)):
        for person in rng.permutation(people):
            if rng.random() < miss:
                continue
            box = np.array(walk(person, frame / rate)) + rng.normal(0, 2, 4)
            rows.append((frame, frame / rate, rng.uniform(0.3, 0.9), box.tolist()))
            truth.append(int(person))
    return rows, truth


@pytest.mark.parametrize("rate", [10.0, 25.0, 60.0])
def test_ids_hold_through_noise_and_misses_at_any_frame_rate(rate):
    rows, truth = noisy_walkers(1, rate)
    found = {(frame, box): track_id for frame, track_id, box in ids_of(rows)}
    ids = [found[row[0], tuple(np.array(row[3], np.float32))] for row in rows]
    assert len(set(zip(ids, truth, strict=True))) == len(set(ids)) == len(set(truth)) == 4


def test_ids_hold_over_a_gap_shorter_than_the_memory_and_end_after_it():
    def ids_with_gap(gap_s):
        times = [t / 25 for t in range(25)] + [1 + gap_s + t / 25 for t in range(25)]
        rows = [(i, t, 0.9, walk(0, t)) for i, t in enumerate(times)]
        return {track_id for _, track_id, _ in ids_of(rows)}

    memory_s = Options().track_memory_s
    assert ids_with_gap(0.6 * memory_s) == {1}
    assert ids_with_gap(memory_s + 0.5) == {1, 2}


def test_two_who_pass_each_other_keep_their_ids():
    rows, truth = [], []
    for frame in range(60):
        for person, (start, speed) in enumerate([(100, 120), (400, -120)]):
            x = start + speed * frame / 25
            rows.append((frame, frame / 25, 0.9, [x - 20, 100 + 15 * person, x + 20, 200 + 15 * person]))
            truth.append(person)
    found = {(frame, box): track_id for frame, track_id, box in ids_of(rows)}
    ids = [found[row[0], tuple(np.array(row[3], np.float32))] for row in rows]
    assert len(set(zip(ids, truth, strict=True))) == 2


LOOKS = st.builds(Appearance, st.sampled_from([0.0, 0.3, float("nan")]), st.just([0, 0, 0, 1]), st.just([0.0] * 10))


@given(LOOKS, st.lists(st.tuples(st.sampled_from([0, 0.2, 0.4, 0.7, 1]), LOOKS), max_size=5), st.sampled_from([0.6, 1]))
def test_the_cheapest_track_is_that_of_all_costs_in_full(looks, tracks, most):
    place, wide = (50, 50, 40, 100), (0, 0, 100, 100, 1e4)
    live = [Track(k, Person(place, wide, True, seen), 0.0, 0) for k, (_, seen) in enumerate(tracks)]
    asked = Person(place, wide, True, looks), [(cost, k) for k, (cost, _) in enumerate(tracks)], live, 0.1, most
    assert cheapest(*asked) == min(in_full(*asked), default=(0, -1))[1]


@given(st.lists(st.dictionaries(st.integers(0, 4), st.floats(0, COST_MAX), max_size=4), max_size=4))
def test_people_are_assigned_at_the_least_total_cost_of_all_ways(costs):
    chosen = assigned([[(cost, column) for column, cost in row.items()] for row in costs])
    taken = [column for column in chosen if column >= 0]
    assert len(set(taken)) == len(taken)

    def total(columns):
        return sum(row[column] - COST_MAX for row, column in zip(costs, columns, strict=True) if column >= 0)

    ways = product(*([-1, *row] for row in costs))
    ways = [way for way in ways if len(set(way) - {-1}) == sum(column >= 0 for column in way)]
    assert total(chosen) == pytest.approx(min(map(total, ways)))


@given(st.integers(0, 1000), st.integers(1, 40))
def test_ids_do_not_depend_on_how_rows_are_cut(seed, cut):
    rows, _ = noisy_walkers(seed, seconds=0.6)
    assert ids_of(rows, cut) == ids_of(rows)


@given(st.integers(0, 1000))
def test_frames_are_whole_ids_unique_in_a_frame_and_rows_sorted(seed):
    rows, _ = noisy_walkers(seed, seconds=0.6, miss=0.4)
    out = ids_of(rows, 7)
    keys = [(frame, track_id) for frame, track_id, _ in out]
    assert keys == sorted(set(keys))
    assert sorted((f, b) for f, _, b in out) == sorted((r[0], tuple(np.array(r[3], np.float32))) for r in rows)


def test_tracks_of_nothing_are_none():
    assert list(track(iter([]), Tracker(Options()))) == []
    assert list(track(iter([Bodies.empty()]), Tracker(Options()))) == []


@given(st.integers(0, 1000), st.integers(1, 40))
def test_rows_come_as_soon_as_their_frame_is_whole_and_frame_by_frame_if_asked_for(seed, cut):
    rows, _ = noisy_walkers(seed, seconds=0.6)
    tracking, seen, sent = Tracking(Tracker(Options())), 0, 0
    for i in range(0, len(rows), cut):
        part = rows[i : i + cut]
        sent += len(part)
        tracks = tracking.feed(bodies(part))
        seen += 0 if tracks is None else len(tracks)
        assert sent - seen == sum(row[0] == part[-1][0] for row in rows[:sent])
        if tracks is not None:
            tables = list(by_frame(tracks))
            assert [set(t.frame_idx) for t in tables] == [{i} for i in dict.fromkeys(tracks.frame_idx)]
            assert sum(map(len, tables)) == len(tracks)


def identified(rows, shots=()):
    """The track id of each row, which are told apart by frame and box."""
    out = list(track(iter([rows]), Tracker(Options()), shots))
    known = {
        (int(f), tuple(b)): int(i) for t in out for f, b, i in zip(t.frame_idx, t.bbox_xyxy, t.track_id, strict=True)
    }
    return np.array([known[int(f), tuple(b)] for f, b in zip(rows.frame_idx, rows.bbox_xyxy, strict=True)])


# Figures of ByteTrack (pyxtrackers 2026.3, thresholds 0.5 and 0.8, 50 frames of memory) on the same rows.
@pytest.mark.parametrize(
    ("crowd", "idf1", "switches", "byte"),
    [
        ({"people": 8, "pillars": 1, "leave": True}, 0.9, 10, (0.812, 46)),
        ({"people": 6, "pillars": 0}, 0.8, 30, (0.640, 47)),
        ({"people": 12, "pillars": 0}, 0.72, 90, (0.563, 179)),
        ({"people": 6, "pillars": 2}, 0.56, 60, (0.434, 73)),
    ],
    ids=["who leave", "crossing", "a crowd", "behind pillars"],
)
@pytest.mark.slow
def test_people_who_hide_each_other_keep_their_ids(crowd, idf1, switches, byte):
    """Walkers whose truth is known, four films of 20 s each."""
    figures = []
    for seed in range(4):
        rows, who = crossings(seed, **crowd)
        figures.append(identity_figures(rows.frame_idx, who, identified(rows)))
    found = np.mean([figure for figure, _ in figures]), sum(count for _, count in figures)
    assert found[0] > max(idf1, byte[0]) and found[1] < min(switches, byte[1])


@pytest.mark.parametrize("crowd", [{"people": 8, "pillars": 1, "leave": True}, {"people": 6, "pillars": 2}])
def test_figures_of_identities_are_those_of_motmetrics(crowd):
    motmetrics = needs.package("motmetrics")
    rows, who = crossings(0, **crowd)
    ids, film = identified(rows), motmetrics.MOTAccumulator()
    for frame in np.unique(rows.frame_idx):
        here = rows.frame_idx == frame
        apart = np.where(np.eye(here.sum()) == 1, 0, np.nan)  # each row is of one person
        film.update(who[here], ids[here], apart, frameid=int(frame))
    theirs = motmetrics.metrics.create().compute(film, metrics=["idf1", "num_switches"])
    idf1, switches = identity_figures(rows.frame_idx, who, ids)
    assert theirs.idf1.item() == pytest.approx(idf1) and theirs.num_switches.item() == switches


def test_ids_are_the_same_every_time():
    rows, _ = crossings(0, seconds=4)
    np.testing.assert_array_equal(identified(rows), identified(rows))


def standing(times, boxes, depth=5.0, facing=0.0):
    """Rows of one person each, in whose way nobody is."""
    rows = bodies([(round(t * 25), t, 0.9, box) for t, box in zip(times, boxes, strict=True)])
    rows.transl[:, 2] = depth
    rows.global_orient[:, 1] = facing
    return rows


def test_who_comes_back_is_known_by_depth_and_facing():
    """A second behind a pillar, out a body's width beside where the walk would have led; not if it is somebody else."""
    times = np.concatenate([np.arange(0, 1, 0.04), np.arange(2.2, 3, 0.04)])
    boxes = [[100 + (150 if t > 2 else 0), 100, 140 + (150 if t > 2 else 0), 300] for t in times]
    rows = standing(times, boxes)
    assert set(identified(rows)) == {1}
    rows.transl[times > 2, 2] = 9.0
    assert set(identified(rows)) == {1, 2}
    rows.transl[:, 2] = 5.0
    rows.global_orient[times > 2, 1] = np.pi
    rows.betas[times > 2] = 2.0
    assert set(identified(rows)) == {1, 2}


def test_a_cut_ends_all_tracks_and_a_flash_does_not():
    times = np.arange(0, 2, 0.04)
    rows = standing(times, [[100, 100, 140, 300]] * len(times))
    np.testing.assert_array_equal(identified(rows, [(20, 1)]), np.where(rows.frame_idx < 20, 1, 2))
    flash = (rows.frame_idx >= 20) & (rows.frame_idx < 22)
    np.testing.assert_array_equal(identified(rows, [(20, 1), (22, 0)]), np.where(flash, 2, 1))


@pytest.mark.parametrize("cut", [1, 7, 1000])
def test_depths_that_leap_are_flagged_and_who_runs_is_not(cut):
    """One stands, taken for a child once and for a giant once; one runs up to the camera at 10 m/s."""
    times = np.arange(0, 1.8, 0.04)
    stands = standing(times, [[100, 100, 140, 300]] * len(times), np.full(len(times), 10.0))
    stands.transl[[20, 30], 2] = 4.0, 25.0
    runs = standing(times, [[600, 100, 640, 300]] * len(times), 20.5 - 10 * times)
    rows = Bodies.concat([stands, runs])
    rows = rows[np.argsort(rows.frame_idx, kind="stable")]
    tables = [rows[i : i + cut] for i in range(0, len(rows), cut)]
    tracks = Tracks.concat(list(track(iter(tables), Tracker(Options()))))
    odd = np.flatnonzero(tracks.flags == ODD_DEPTH)
    assert list(zip(tracks.frame_idx[odd], tracks.track_id[odd], strict=True)) == [(20, 1), (30, 1)]
    assert len(tracks) == len(rows) and set(tracks.track_id) == {1, 2} and not np.delete(tracks.flags, odd).any()


def test_an_impossible_camera_tells_no_depth():
    times = np.arange(0, 1, 0.04)
    rows = standing(times, [[100, 100, 140, 300]] * len(times))
    rows.transl[:20, 2], rows.flags[:20] = -1e7, BAD_CAMERA
    tracks = Tracks.concat(list(track(iter([rows]), Tracker(Options()))))
    np.testing.assert_array_equal(tracks.flags, rows.flags)


@pytest.mark.parametrize("cut", [1, 7, 1000])
def test_short_tracks_are_flagged_and_no_row_is_lost_or_moved(cut):
    """A second and a half, half a second, and one frame at the very end."""
    rows = [(i, i / 25, 0.9, [100, 100, 140, 300]) for i in range(38)]
    rows += [(i, i / 25, 0.9, [400, 100, 440, 300]) for i in range(20, 33)] + [(200, 8.0, 0.9, [700, 100, 740, 300])]
    rows.sort(key=lambda row: row[0])
    tables = [bodies(rows[i : i + cut]) for i in range(0, len(rows), cut)]
    plain, flagged = (Tracks.concat(list(track(iter(tables), Tracker(Options(min_track_s=s))))) for s in (0.0, 1.0))
    for name, column in plain.columns().items():
        if name != "flags":
            np.testing.assert_array_equal(getattr(flagged, name), column)
    np.testing.assert_array_equal(flagged.flags, np.where(plain.track_id == 1, 0, SHORT_TRACK))
    assert not plain.flags.any()
