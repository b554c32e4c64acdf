"""Up and floor: people on a known floor before known cameras, who walk, jump, lie, and err as networks do."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cliffvid.errors import UsageError
from cliffvid.models.body import load_body
from cliffvid.tables import IMPLAUSIBLE, Tracks
from cliffvid.tracks.convert import convert
from cliffvid.tracks.filters import running_median
from cliffvid.tracks.level import Levels, find_level, grounded, posed_rows, sole_m
from cliffvid.tracks.motion import Y_UP, Gaps, pieces
from cliffvid.tracks.options import ConvertOptions
from cliffvid.tracks.read import read_meta, read_tracks
from cliffvid.tracks.smooth import smooth
from cliffvid.tracks.video_tracks import level as find_levels
from cliffvid.tracks.write import WRITERS
from cliffvid.view.options import OverlayOptions
from cliffvid.view.report import report
from motion_files import Gltf, bvh_joints

BODY = load_body("open-body")
SOLE = BODY.rest_joints_m[10, 1] - BODY.rest_m.reshape(3, -1)[1].min()
# pitch (down), roll, in degrees, and height over the floor
CAMERAS = [(0, 0, 1.5), (18, -3, 5.3), (25, 20, 2.1), (-10, 5, 0.7), (55, 0, 6.0)]
ERRS = {"depth": 0.08, "size": 0.08, "pose": 0.06}  # of a row, of a track, and of each angle in radians


def camera(pitch, roll, height):
    """The rotation from the world (x right, y down, z ahead) to the camera, and where that is in the world."""
    return Rotation.from_euler("xz", [pitch, -roll], degrees=True).as_matrix(), np.array([0.0, -height, 0.0])


def walk(view, people=4, seconds=6.0, rate=10.0, seed=0, lift=None, errs=None, first=0, ids=0):
    """Tracks of people who walk on straight ways over the floor y = 0 at 1.4 m/s, and where their pelves are."""
    rng, (turn, at) = np.random.default_rng(seed), view
    count = int(seconds * rate)
    time_s = (first + np.arange(count)) / rate
    parts, places = [], []
    for k in range(people):
        heading, start = rng.uniform(-np.pi, np.pi), np.array([rng.uniform(-3, 3), 0, rng.uniform(9, 16)])
        way = start + 1.4 * (time_s - time_s.mean())[:, None] * [np.sin(heading), 0, np.cos(heading)]
        pose = np.zeros((count, 23, 3))
        swing = np.sin(2 * np.pi * time_s + k)
        for joint, reach in ((0, 0.35), (1, -0.35), (15, -0.4), (16, 0.4)):
            pose[:, joint, 0] = reach * swing
        facing = Rotation.from_euler("xy", [[np.pi, heading]] * count)
        given = facing.as_rotvec(), pose.reshape(count, 69), np.zeros((count, 10)), np.zeros((count, 3))
        joints = BODY.joints(*given)
        way[:, 1] = -joints[:, [7, 8, 10, 11], 1].max(axis=1) - SOLE  # down is y
        way[:, 1] -= 0 if lift is None else lift(k, time_s)
        places.append(joints[:, 0] + way)
        if errs:
            pose += rng.normal(0, errs["pose"], pose.shape)
        noise = Rotation.from_rotvec(rng.normal(0, errs["pose"] if errs else 0, (count, 3)))
        root = Rotation.from_matrix(turn) * facing * noise
        seen = (places[-1] - at) @ turn.T
        if errs:  # a body that is too large is seen too far away, its feet where they are in the picture
            far = np.exp(rng.normal(0, errs["size"]) + rng.normal(0, errs["depth"], (count, 1)))
            lower = joints[np.arange(count), np.array([7, 8, 10, 11])[joints[:, [7, 8, 10, 11], 1].argmax(axis=1)]]
            seen += (far - 1) * ((lower + way - at) @ turn.T)
        like = Tracks.empty(pose=69, shape=10)
        columns = {n: np.zeros((count, *c.shape[1:]), c.dtype) for n, c in like.columns().items()}
        columns["global_orient"], columns["body_pose"] = root.as_rotvec(), pose.reshape(count, 69)
        columns["transl"] = seen - BODY.rest_joints_m[0]
        columns["frame_idx"], columns["time_s"] = first + np.arange(count), time_s
        columns["track_id"][:], columns["det_score"][:], columns["focal_px"][:] = ids + k + 1, 0.9, 1200
        parts.append(Tracks(**{n: c.astype(getattr(like, n).dtype) for n, c in columns.items()}))
    whole = Tracks.concat(parts)
    return whole[np.lexsort((whole.track_id, whole.frame_idx))], np.stack(places)


def off_deg(level, view):
    return float(np.degrees(np.arccos(np.clip(level.up @ view[0] @ [0, -1, 0], -1, 1))))


@pytest.mark.parametrize("held", CAMERAS)
def test_up_and_floor_are_found_to_a_degree_and_a_hand(held):
    view = camera(*held)
    level = find_level(walk(view)[0], BODY)
    assert off_deg(level, view) <= 1
    assert abs(level.floor_m + held[2]) <= 0.1
    assert level.sure
    np.testing.assert_allclose(level.axes @ level.up, [0, -1, 0], atol=1e-12)
    np.testing.assert_allclose(level.axes @ level.axes.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(level.axes) > 0 and level.axes[0, 2] == pytest.approx(0)


def test_its_own_error_is_known():
    """With rows that err as a network's do, it is off by about what it says, and never by three times that."""
    ratios = []
    for seed in range(12):
        view = camera(*CAMERAS[1 + seed % 2])
        level = find_level(walk(view, people=1 + seed % 4, seed=seed, errs=ERRS)[0], BODY)
        ratios.append(off_deg(level, view) / level.sigma_deg)
    assert max(ratios) < 3 and 0.1 < np.median(ratios) < 1.5


def test_nobody_who_lies_says_what_is_up():
    view = camera(10, 0, 2)
    tracks, _ = walk(view, people=2)
    lying = Rotation.from_euler("z", 90, degrees=True) * Rotation.from_rotvec(tracks.global_orient)
    tracks.global_orient[:] = lying.as_rotvec()
    assert find_level(tracks, BODY) is None
    level = Levels.find(tracks, BODY, "auto").at(0)
    assert level.up.tolist() == [0, -1, 0] and level.floor_m is None


def jump(k, time_s):
    """The first one jumps half a metre high for half a second, the second is on a balcony."""
    high = np.clip(1 - ((time_s - 3.0) / 0.25) ** 2, 0, 1) * 0.5
    return high if k == 0 else 2.5 if k == 1 else 0


def test_depths_that_err_are_put_right_by_the_floor():
    """Depths that jump by 8 %, and sizes wrong by as much: positions to a few centimetres, jumps stay."""
    view = camera(18, -3, 3.5)
    tracks, truth = walk(view, people=4, lift=jump, errs=ERRS | {"pose": 0.0}, seconds=6)
    exact, _ = walk(view, people=4, seconds=6)
    moved = grounded(tracks, BODY, Levels((0,), (find_level(exact, BODY),)))
    turn, at = view

    def off_m(rows, k):
        mine = rows[rows.track_id == k + 1]
        return np.linalg.norm((mine.transl + BODY.rest_joints_m[0]) @ turn + at - truth[k], axis=1)

    for k in (2, 3):
        assert np.median(off_m(tracks, k)) > 0.5 and np.median(off_m(moved, k)) < 0.12
    assert np.array_equal(off_m(moved, 1), off_m(tracks, 1))
    mine = moved[moved.track_id == 1]
    height = -((mine.transl + BODY.rest_joints_m[0]) @ turn + at)[:, 1]
    air = np.abs(mine.time_s - 3.0) < 0.15
    assert 0.25 < np.median(height[air]) - np.median(height[~air]) < 0.8


def test_the_order_of_rows_changes_nothing_but_the_order():
    tracks, _ = walk(camera(18, -3, 3.5), people=2, errs=ERRS, seconds=2)
    levels = Levels((0,), (find_level(tracks, BODY),))
    np.testing.assert_array_equal(
        grounded(tracks[::-1], BODY, levels).transl, grounded(tracks, BODY, levels).transl[::-1]
    )


def save(path, tracks, shots=(), moving=None):
    with WRITERS["npz"](path, tracks) as writer:
        writer.write(tracks)
        info = {"name": "a.mp4", "codec": "h264", "width_px": 1280, "height_px": 720}
        counts = {"decode": {"frames": 200}, "shots": [list(pair) for pair in shots]}
        counts |= {} if moving is None else {"moving": moving}  # older files have none
        writer.finish({"video": info, "body": {"name": "open-body"}, "models": [], "complete": True, "counts": counts})
    return path


def test_each_shot_has_a_camera_and_all_stand_upright_in_every_format(tmp_path):
    """Two shots by cameras that are held differently: all on the floor, upright, at the right speed."""
    views = camera(18, -3, 5.3), camera(-10, 5, 1.7)
    parts = [walk(view, people=3, first=60 * i, ids=3 * i, seed=i)[0] for i, view in enumerate(views)]
    path = save(tmp_path / "a.npz", Tracks.concat(parts), shots=[(60, 1)])
    level = convert(path, tmp_path / "bvh", ConvertOptions("bvh")).level
    assert "18 degrees down" in level and "from frame 60 on the camera looks 10 degrees up" in level
    convert(path, tmp_path / "amass", ConvertOptions("amass"))
    convert(path, tmp_path / "a.glb", ConvertOptions("gltf"))
    file = Gltf((tmp_path / "a.glb").read_bytes())
    for track in range(1, 7):
        start_s = 0.0 if track < 4 else 6.0
        joints, step_s = bvh_joints(tmp_path / "bvh" / f"a_track{track:04d}.bvh")
        feet = np.stack([joints[f"{side}_foot"] for side in ("left", "right")])
        assert abs(np.median(feet[..., 1].min(axis=0)) - SOLE) < 0.1
        way = joints["neck"] - (joints["left_ankle"] + joints["right_ankle"]) / 2
        lean = np.degrees(np.arccos(way[:, 1] / np.linalg.norm(way, axis=1)))
        assert np.median(lean) < 3
        moved = joints["pelvis"][-1] - joints["pelvis"][0]
        assert np.linalg.norm(moved[[0, 2]]) == pytest.approx(1.4 * step_s * (len(joints["pelvis"]) - 1), rel=0.05)
        amass = np.load(tmp_path / "amass" / f"a_track{track:04d}.npz")
        assert str(amass["frame"]) == "level_zup"
        assert amass["trans"][:, 2].std() < 0.1 and amass["trans"][:, 2].mean() > 0
        world = file.at(start_s + 2.0)
        assert world[file.names[f"track_{track}/head"]][1, 3] > 1.3
        assert -0.1 < min(world[file.names[f"track_{track}/{side}_foot"]][1, 3] for side in ("left", "right")) < 0.2


def test_where_the_camera_moves_it_is_taken_to_be_level(tmp_path):
    """Two shots, of which the second moves: by default it has no level, in what is converted, drawn and smoothed."""
    views = camera(18, -3, 5.3), camera(25, 20, 2.1)
    parts = [walk(view, people=3, first=60 * i, ids=3 * i, seed=i)[0] for i, view in enumerate(views)]
    path = save(tmp_path / "a.npz", Tracks.concat(parts), shots=[(60, 1)], moving=[1])
    done = convert(path, tmp_path / "auto", ConvertOptions("bvh"))
    assert "18 degrees down" in done.level and not any("moves" in warning for warning in done.warnings)
    assert done.level.endswith("from frame 60 on the camera moves and is taken to be level")
    (warning,) = convert(path, tmp_path / "floor", ConvertOptions("bvh", up="floor")).warnings
    assert "the camera moves in the shots from frame 60 on" in warning and "--up auto" in warning
    found = find_levels(read_tracks(path)).levels
    assert off_deg(found[0], views[0]) <= 1 and found[1].up.tolist() == [0, -1, 0] and found[1].floor_m is None
    smooth(path, tmp_path / "s.parquet")
    assert [each["camera_moves"] for each in read_meta(tmp_path / "s.parquet")["level"]] == [False, True]
    page = report(path, tmp_path / "a.html", skeleton_only=True, up="floor")
    assert warning in page.warnings and warning[1:] in (tmp_path / "a.html").read_text()


def test_up_may_be_given_or_be_the_cameras(tmp_path):
    view = camera(18, -3, 5.3)
    tracks, _ = walk(view)
    path = save(tmp_path / "a.npz", tracks)
    up = ",".join(map(str, view[0] @ [0, -1, 0]))
    for given, floor in ((up, 5.3), ("floor", 5.3), ("camera", None)):
        convert(path, tmp_path / given[:5], ConvertOptions("amass", up=given))
        amass = np.load(tmp_path / given[:5] / "a_track0001.npz")
        assert (
            np.isnan(amass["floor_below_camera_m"])
            if floor is None
            else abs(amass["floor_below_camera_m"] - floor) < 0.1
        )
    for wrong in ("", "up", "0,0,0", "1,2", "nan,0,1", "0,-1,0,0"):
        for options in (OverlayOptions, lambda up: ConvertOptions("bvh", up=up)):
            with pytest.raises(UsageError, match="--up"):
                options(up=wrong)


def test_the_sole_is_under_the_foot():
    assert sole_m(BODY) == pytest.approx(SOLE) and 0 < SOLE < 0.05


def test_rows_without_numbers_and_floors_above_the_camera_count_for_nothing():
    view = camera(18, -3, 5.3)
    tracks, _ = walk(view)
    want = find_level(tracks, BODY)
    tracks.transl[7], tracks.transl[8], tracks.betas[40] = np.nan, np.inf, np.nan
    level = find_level(tracks, BODY)
    np.testing.assert_allclose([*level.up, level.floor_m], [*want.up, want.floor_m], atol=0.01)
    for up in ("0,1,0", "0,0,1"):
        above = Levels.find(tracks, BODY, up).at(0)
        assert above.floor_m is None and "no floor" in above.words()


def test_single_rows_that_err_leave_their_track_on_the_floor():
    """A first row far too far away, one that does not fit, and shapes that change from row to row."""
    view = camera(18, -3, 5.3)
    tracks, truth = walk(view, people=2)
    levels = Levels((0,), (find_level(tracks, BODY),))
    first, odd = np.flatnonzero(tracks.track_id == 1)[[0, 20]]
    tracks.transl[first] *= 1.6
    tracks.transl[odd] *= 1.3
    tracks.flags[odd] |= IMPLAUSIBLE
    tracks.betas[:] = np.random.default_rng(0).normal(0, 0.3, tracks.betas.shape)
    found = [piece for piece in pieces(tracks, BODY, Y_UP, levels, 0.5, Gaps()) if piece.track_id == 1]
    off = np.diff(found[0].pelvis_m, axis=0) - np.diff(truth[0], axis=0) * [1, -1, -1]
    assert len(found) == 1 and np.linalg.norm(off, axis=1).max() < 0.4  # of 8 m


def test_the_level_is_that_of_all_people_whichever_are_written(tmp_path):
    """The second of three walks on a stage of a metre."""
    tracks, _ = walk(camera(18, -3, 5.3), people=3, lift=lambda k, time_s: 1.0 * (k == 1))
    path = save(tmp_path / "a.npz", tracks)
    levels = {
        convert(path, tmp_path / str(track), ConvertOptions("bvh", track=track)).level for track in ((), (1,), (2,))
    }
    assert len(levels) == 1


def test_smoothed_tracks_record_the_level_of_each_shot(tmp_path):
    views = camera(18, -3, 5.3), camera(-10, 5, 1.7)
    parts = [walk(view, people=3, first=60 * i, ids=3 * i, seed=i)[0] for i, view in enumerate(views)]
    smooth(save(tmp_path / "a.npz", Tracks.concat(parts), shots=[(60, 1)]), tmp_path / "s.parquet")
    recorded = read_meta(tmp_path / "s.parquet")["level"]
    assert [level["from_frame"] for level in recorded] == [0, 60]
    for level, (rotation, place) in zip(recorded, views, strict=True):
        np.testing.assert_allclose(level["up"], rotation @ [0, -1, 0], atol=0.02)
        assert abs(level["floor_m"] - place[1]) < 0.1 and 0 < level["up_sigma_deg"] < 5


def test_rows_are_left_out_of_long_films_and_people_are_not(monkeypatch):
    view = camera(18, -3, 5.3)
    tracks, _ = walk(view, people=2, errs=ERRS)
    monkeypatch.setattr("cliffvid.tracks.level.ROWS_MAX", 60)
    assert len(np.unique(posed_rows(tracks, BODY)[0].track_id)) == 2


def test_a_running_median_is_that_of_the_values_around():
    """Against the median of each time's neighbours, one by one, over more rows than are computed together."""
    rng = np.random.default_rng(0)
    time_s = np.cumsum(rng.uniform(0.01, 0.2, 700))
    values = rng.normal(size=700)
    values[rng.random(700) < 0.3] = np.nan
    values[100:140] = np.nan
    found = running_median(values, time_s, 0.5)
    assert 0 < np.isnan(found).sum() < 60
    for i, at in enumerate(time_s):
        half = min(0.5, at - time_s[0], time_s[-1] - at)
        near = values[(time_s >= at - half) & (time_s <= at + half)]
        near = near[~np.isnan(near)]
        np.testing.assert_equal(found[i], np.median(near) if len(near) else np.nan)
