"""Smoothing: motion whose truth is known comes nearer to it, and nothing else changes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from cliffvid import read_meta, read_tracks
from cliffvid.errors import UsageError
from cliffvid.models.body import load_body
from cliffvid.rotations import rotation_matrix
from cliffvid.tables import BAD_CAMERA, IMPLAUSIBLE, INTERPOLATED, ODD_DEPTH, Tracks
from cliffvid.tracks.filters import parabola, savgol
from cliffvid.tracks.options import SmoothOptions
from cliffvid.tracks.smooth import smooth, smoothed, steadiness
from cliffvid.tracks.write import WRITERS

METHODS = [SmoothOptions(), SmoothOptions("one-euro")]
BODY = load_body("open-body")


def walk(seed: int = 0, seconds: float = 6.0, rate: float = 25.0, people: int = 2) -> Tracks:
    """People who walk across the picture and swing their limbs, on a clock that is not even; nothing errs."""
    rng = np.random.default_rng(seed)
    count = int(seconds * rate)
    time_s = (np.arange(count) + rng.uniform(-0.3, 0.3, count)) / rate
    time_s -= time_s[0]
    rows = []
    for person in range(people):
        like = Tracks.empty(pose=69, shape=10)
        columns = {n: np.zeros((count, *c.shape[1:]), c.dtype) for n, c in like.columns().items()}
        swing = np.sin(2 * np.pi * time_s + person)[:, None]
        pose = np.zeros((count, 23, 3))
        for joint, reach in ((0, 0.5), (1, -0.5), (15, -0.4), (16, 0.4)):
            pose[:, joint, 0] = reach * swing[:, 0]
        pose[:, 3:5, 0] = 0.3 + 0.3 * swing
        turn = Rotation.from_rotvec([np.pi, 0, 0]) * Rotation.from_rotvec(np.pi / 2 * np.eye(3)[[1] * count])
        columns |= {"frame_idx": np.arange(count), "pts": np.arange(count) * 100, "time_s": time_s}
        columns["track_id"][:], columns["det_score"][:], columns["focal_px"][:] = person + 1, 0.9, 1000
        columns["global_orient"], columns["body_pose"] = turn.as_rotvec(), pose.reshape(count, 69)
        columns["transl"][:, 0], columns["transl"][:, 2] = -3 + 1.2 * time_s, 6 + person
        columns["betas"][:] = rng.normal(0, 1, 10)
        columns["bbox_xyxy"] = np.stack([time_s * 10, 0 * time_s, time_s * 10 + 50, 0 * time_s + 120], axis=1)
        rows.append(Tracks(**{n: c.astype(getattr(like, n).dtype) for n, c in columns.items()}))
    whole = Tracks.concat(rows)
    return whole[np.lexsort((whole.track_id, whole.frame_idx))]


def noisy(truth: Tracks, seed: int = 1) -> Tracks:
    """As a network sees them frame by frame: all numbers err, depth most, and one row in forty is wildly off."""
    rng = np.random.default_rng(seed)
    count = len(truth)
    turns = np.concatenate([truth.global_orient, truth.body_pose], axis=1).reshape(-1, 3)
    sigma = np.where(rng.random(count) < 1 / 40, 0.8, 0.08).repeat(24)[:, None]
    turns = (Rotation.from_rotvec(turns) * Rotation.from_rotvec(rng.normal(0, 1, turns.shape) * sigma)).as_rotvec()
    turns = turns.reshape(count, 72).astype(np.float32)
    betas = (truth.betas + rng.normal(0, 0.3, truth.betas.shape)).astype(np.float32)
    transl = truth.transl * (1 + rng.normal(0, 0.02, (count, 1))) + rng.normal(0, 0.005, (count, 3))
    new = {"global_orient": turns[:, :3].copy(), "body_pose": turns[:, 3:].copy(), "betas": betas}
    return Tracks(**(truth.columns() | new | {"transl": transl.astype(np.float32)}))


def joints(rows: Tracks) -> np.ndarray:
    return BODY.joints(rows.global_orient, rows.body_pose, rows.betas, rows.transl)


def save(path, rows: Tracks, body="open-body"):
    with WRITERS["npz"](path, rows) as writer:
        writer.write(rows)
        info = {"name": "a.mp4", "codec": "h264", "width_px": 1280, "height_px": 720}
        writer.finish({"video": info, "body": {"name": body}, "counts": {"rows": len(rows)}})
    return path


@pytest.mark.parametrize("options", METHODS, ids=lambda o: o.method)
def test_it_is_nearer_to_the_truth_and_much_steadier(options):
    truth = walk()
    raw = noisy(truth)
    steady = smoothed(raw, BODY, options)
    np.testing.assert_array_equal(steady.frame_idx, raw.frame_idx)

    def errors(rows):
        found, real = joints(rows), joints(truth)
        about = np.linalg.norm((found - found[:, :1]) - (real - real[:, :1]), axis=-1).mean()
        return about, np.linalg.norm(found[:, 0] - real[:, 0], axis=-1).mean()

    (about, place), (about_raw, place_raw) = errors(steady), errors(raw)
    most = {"savgol": 0.65, "one-euro": 0.95}[options.method]
    assert about < most * about_raw and place < most * place_raw
    before, after, real = (steadiness(rows, BODY) for rows in (raw, steady, truth))
    for name in before:
        assert after[name] < 0.5 * before[name] and real[name] < before[name], name
    assert np.ptp(steady.betas[steady.track_id == 1], axis=0).max() == 0


def test_the_true_motion_itself_is_hardly_touched():
    truth = walk()
    away = np.linalg.norm(joints(smoothed(truth, BODY, SmoothOptions())) - joints(truth), axis=-1)
    assert away.mean() < 0.004 and away.max() < 0.03


@pytest.mark.parametrize("options", METHODS, ids=lambda o: o.method)
def test_what_stands_still_stays_to_the_last_digit_but_rounding(options):
    truth = walk(seconds=2)
    still = Tracks(
        **{
            n: c if n in ("frame_idx", "pts", "time_s", "track_id") else c[[0, 1] * (len(c) // 2)]
            for n, c in truth.columns().items()
        }
    )
    steady = smoothed(still, BODY, options)
    for name in ("body_pose", "transl", "betas"):
        np.testing.assert_allclose(getattr(steady, name), getattr(still, name), atol=3e-5, err_msg=name)
    turns = (rotation_matrix(rows.global_orient) for rows in (steady, still))  # half a turn has two names
    np.testing.assert_allclose(*turns, atol=3e-5)


def test_one_euro_never_looks_ahead_and_savgol_lags_behind_nothing():
    raw = noisy(walk(people=1))
    cut = raw[:80]
    for name in ("global_orient", "body_pose"):
        whole, part = (getattr(smoothed(rows, BODY, SmoothOptions("one-euro")), name) for rows in (raw, cut))
        np.testing.assert_array_equal(whole[:80], part)
    truth = walk(people=1)
    angle = truth.body_pose[:, 0]
    for method, lag in (("savgol", 0), ("one-euro", 1)):
        found = smoothed(truth, BODY, SmoothOptions(method)).body_pose[:, 0]
        shifts = [np.abs(found[10:-10] - np.roll(angle, k)[10:-10]).mean() for k in range(6)]
        assert int(np.argmin(shifts)) >= lag and (lag or np.argmin(shifts) == 0)


def test_short_gaps_are_filled_and_flagged_and_long_ones_stay():
    truth = walk(people=2)
    frame, who = truth.frame_idx, truth.track_id
    kept = ~((who == 1) & (((frame >= 40) & (frame < 48)) | ((frame >= 80) & (frame < 110))))
    steady = smoothed(truth[kept], BODY, SmoothOptions())
    new = steady[(steady.flags & INTERPOLATED) != 0]
    np.testing.assert_array_equal(new.frame_idx, np.arange(40, 48))
    assert set(new.track_id) == {1} and not new.det_score.any()
    real = truth[(who == 1) & (frame >= 40) & (frame < 48)]
    np.testing.assert_array_equal(new.time_s, real.time_s)  # the other person was seen in those frames
    np.testing.assert_array_equal(new.pts, real.pts)
    np.testing.assert_allclose(new.bbox_xyxy, real.bbox_xyxy, atol=1e-3)
    away = np.linalg.norm(joints(new) - joints(real), axis=-1)  # of hands and feet in full swing
    assert away.max() < 0.15 and away.mean() < 0.02
    keys = list(zip(steady.frame_idx, steady.track_id, strict=True))
    assert keys == sorted(set(keys)) and len(steady) == kept.sum() + 8
    # a second time nothing is left to fill
    assert len(smoothed(steady, BODY, SmoothOptions())) == len(steady)


def test_every_second_frame_is_no_gap():
    truth = walk(people=1)
    half = truth[truth.frame_idx % 2 == 0]
    assert len(smoothed(half, BODY, SmoothOptions())) == len(half)


def test_an_impossible_camera_keeps_its_transl_and_spoils_no_other():
    raw = noisy(walk(people=1))
    flags, transl = raw.flags.copy(), raw.transl.copy()
    flags[50], transl[50] = BAD_CAMERA, [0, 0, -1e8]
    broken = Tracks(**(raw.columns() | {"flags": flags, "transl": transl}))
    for options in METHODS:
        steady, plain = smoothed(broken, BODY, options), smoothed(raw, BODY, options)
        np.testing.assert_array_equal(steady.transl[50], transl[50])
        assert np.abs(np.delete(steady.transl, 50, 0) - np.delete(plain.transl, 50, 0)).max() < 0.3


def test_a_row_of_odd_depth_is_placed_by_its_neighbours():
    truth = walk(people=1)
    flags, transl = truth.flags.copy(), truth.transl.copy()
    flags[50], transl[50] = ODD_DEPTH, transl[50] / 3
    for options in METHODS:
        broken = Tracks(**(truth.columns() | {"flags": flags, "transl": transl}))
        steady, plain = smoothed(broken, BODY, options), smoothed(truth, BODY, options)
        np.testing.assert_allclose(steady.transl, plain.transl, atol=0.1)
        np.testing.assert_array_equal(steady.flags, flags)


def test_an_implausible_row_is_posed_by_its_neighbours():
    """The first row has none before it: it keeps its pose, and its flag."""
    truth = walk(people=1)
    columns = {name: column.copy() for name, column in truth.columns().items()}
    for row in (0, 50):
        columns["flags"][row], columns["transl"][row, 2] = IMPLAUSIBLE, 1.0
        columns["global_orient"][row] = [0, 0, 1.5]
        columns["body_pose"][row] = 0.7
    for options in METHODS:
        steady, plain = smoothed(Tracks(**columns), BODY, options), smoothed(truth, BODY, options)
        np.testing.assert_array_equal(np.flatnonzero(steady.flags), [0])
        apart = np.linalg.norm(joints(steady) - joints(plain), axis=-1).max(axis=1)
        assert apart[50] < 0.15 and apart[0] > 1 and apart[60:].max() < 0.02, options.method


def test_rows_of_low_confidence_count_less_and_confidence_stays():
    """One row in four is turned, and says so; rows that are filled in have none."""
    truth = walk(people=1)
    off = np.arange(len(truth)) % 4 == 1
    turn = Rotation.from_rotvec(truth.global_orient) * Rotation.from_rotvec(
        np.where(off, 0.2, 0)[:, None] * [[0, 1, 0]]
    )
    raw = Tracks(**(truth.columns() | {"global_orient": turn.as_rotvec().astype(np.float32)}))
    told = Tracks(**raw.columns(), confidence=np.where(off, 0.05, 0.9).astype(np.float32))
    apart = [np.linalg.norm(joints(smoothed(r, BODY, SmoothOptions())) - joints(truth), axis=-1) for r in (told, raw)]
    assert apart[0].mean() < 0.7 * apart[1].mean()
    steady = smoothed(told[np.arange(len(told)) != 10], BODY, SmoothOptions())
    assert steady.confidence[10] == 0
    np.testing.assert_array_equal(np.delete(steady.confidence, 10), np.delete(told.confidence, 10))


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 30), st.sampled_from(METHODS))
def test_any_tracks_stay_tracks(seed, count, options):
    """Rotations anywhere on the sphere, few rows, strange clocks: finite numbers, turns of at most half a circle."""
    rng = np.random.default_rng(seed)
    like = Tracks.empty(Tracks.optional(), pose=69, shape=10, joints=24)
    columns = {n: rng.normal(0, 3, (count, *c.shape[1:])).astype(c.dtype) for n, c in like.columns().items()}
    frames = np.sort(rng.choice(3 * count, count, replace=False))
    columns |= {"frame_idx": frames, "time_s": np.cumsum(rng.uniform(0.001, 0.2, 3 * count))[frames]}
    columns["track_id"] = rng.integers(1, 4, count).astype(np.int32)
    columns["flags"] = rng.choice([0, BAD_CAMERA, ODD_DEPTH, IMPLAUSIBLE], count).astype(np.uint16)
    columns["transl"][:, 2] = np.abs(columns["transl"][:, 2]) + 0.2
    steady = smoothed(Tracks(**columns), BODY, options)
    old = steady[(steady.flags & INTERPOLATED) == 0]
    np.testing.assert_array_equal(old.frame_idx, np.sort(frames))
    for name, column in steady.columns().items():
        assert np.isfinite(column).all(), name
    assert np.linalg.norm(steady.body_pose.reshape(-1, 3), axis=1).max() < np.pi + 1e-5
    assert (np.diff(steady.frame_idx) >= 0).all()


def test_a_parabola_is_its_own_smoothing_on_any_clock():
    rng = np.random.default_rng(0)
    time_s = np.cumsum(rng.uniform(0.01, 0.07, 200))
    values = np.stack([3 + 2 * time_s - 0.5 * time_s**2, time_s], axis=1)
    found = savgol(values, time_s, rng.uniform(0.3, 1, 200), 0.13)
    np.testing.assert_allclose(found, values, atol=6e-3)
    # and the weights are those of numpy's own least squares
    away, weights = rng.normal(0, 1, 9), rng.uniform(0.1, 1, 9)
    fit = np.polynomial.polynomial.polyfit(away, values[:9], 2, w=np.sqrt(weights))[0]
    mine = (parabola(weights[None, :, None], away[None])[0] * values[:9]).sum(axis=0)
    np.testing.assert_allclose(mine, fit, atol=5e-3)


def test_neighbours_are_averaged_across_the_half_turn():
    """Axis-angle jumps from pi to -pi; the rotations do not."""
    truth = walk(people=1, seconds=2)
    turn = Rotation.from_rotvec([0, np.pi, 0]) * Rotation.from_rotvec(np.outer(np.sin(9 * truth.time_s), [0, 0.1, 0]))
    raw = Tracks(**(truth.columns() | {"global_orient": turn.as_rotvec().astype(np.float32)}))
    assert np.abs(np.diff(raw.global_orient, axis=0)).max() > 5
    steady = smoothed(raw, BODY, SmoothOptions())
    away = Rotation.from_matrix(rotation_matrix(steady.global_orient)).inv() * turn
    assert away.magnitude().max() < 0.05


def test_the_file_says_what_was_done_and_the_raw_one_stays(tmp_path):
    raw = save(tmp_path / "a.npz", noisy(walk(seconds=2)))
    before = raw.read_bytes()
    for name in ("s.npz", "s.parquet"):
        report = smooth(raw, tmp_path / name)
        told = read_meta(tmp_path / name)["smoothing"]
        assert told["method"] == "savgol" and told["sigma_s"] == 0.13 and told["after"] == report.after
        assert len(read_tracks(tmp_path / name)) == report.rows == 100
    assert raw.read_bytes() == before
    with pytest.raises(UsageError, match="is also an input"):
        smooth(raw, raw, SmoothOptions(overwrite=True))
    with pytest.raises(UsageError, match="exists already"):
        smooth(raw, tmp_path / "s.npz")
    for bad in ({"method": "mean"}, {"sigma_s": 0.0}, {"speed_gain": -1.0}):
        with pytest.raises(UsageError):
            SmoothOptions(**bad)
    nobody = save(tmp_path / "n.npz", Tracks.empty(pose=69, shape=10))
    assert smooth(nobody, tmp_path / "o.npz").rows == 0


def test_without_the_body_file_a_stand_in_measures(tmp_path):
    raw = save(tmp_path / "a.npz", noisy(walk(seconds=2)), body="smpl")
    report = smooth(raw, tmp_path / "s.npz")
    assert "the body 'smpl' is not here" in report.warnings[0]
    rows = noisy(walk(seconds=1))
    x = {"body_pose": rows.body_pose[:, :63].copy(), "betas": np.zeros((len(rows), 11), np.float32)}
    assert smooth(save(tmp_path / "x.npz", Tracks(**(rows.columns() | x)), "smplx"), tmp_path / "y.npz").rows == len(
        rows
    )
