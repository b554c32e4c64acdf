"""Evaluation against slow float64 references, in the three layouts; nothing in their pickles is run."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bodies import body_arrays, save_npz
from cliffvid.errors import InputError, UsageError
from cliffvid.evaluate.evaluate import evaluate, match
from cliffvid.evaluate.ground_truth import Truth, read_truth
from cliffvid.evaluate.metrics import acceleration_mm, auc, procrustes
from cliffvid.evaluate.options import EvalOptions
from cliffvid.models.body import load_body
from cliffvid.models.smpl_files import add_body
from cliffvid.tracks.read import read_tracks
from reference import best_pairs, body_errors_mm, nearest_similar
from truth_files import SIZE, World, agora, agora_columns, emdb, found_tracks, pw3d

OPEN = EvalOptions(truth_body="open-body")
NEAR_MM = 1e-3
GOLDEN = Path(__file__).parents[1] / "golden"


def truths(world, evaluated=None):
    """(frame, person) -> box, joints and vertices in the camera, of those evaluated."""
    out = {}
    for k in range(world.count):
        joints, vertices, boxes = world.seen(world.world_joints(k)), None, world.boxes(k)
        vertices = np.einsum("fij,fkj->fki", world.cameras[:, :3, :3], world.world_vertices(k))
        vertices = vertices + world.cameras[:, None, :3, 3]
        for f in range(world.frames):
            if evaluated is None or evaluated[k][f]:
                out[f, k] = boxes[f], joints[f], vertices[f]
    return out


def expected(world, tracks, iou_min, scale=1.0, root=(0,), evaluated=None):
    """The scores, person by person; for frames of at most three people."""
    rows, body = read_tracks(tracks), load_body("open-body")
    given = rows.global_orient, rows.body_pose, rows.betas, rows.transl
    joints, vertices = body.joints(*given).astype(float), body.surface(*given)[0].astype(float)
    true, plain, aligned, pve, offs = truths(world, evaluated), [], [], [], {}
    for f in range(world.frames):
        people = [key for key in true if key[0] == f]
        here = np.flatnonzero(rows.frame_idx == f)
        boxes = [true[key][0] * scale for key in people]
        for t, c in best_pairs(boxes, rows.bbox_xyxy[here].astype(float), iou_min):
            _, j, v = true[people[t]]
            found_j, found_v = joints[here[c]], vertices[here[c]]
            each, near = body_errors_mm(found_j, j, root)
            plain.append(each)
            aligned.append(near)
            base_f, base_t = found_j[list(root)].mean(axis=0), j[list(root)].mean(axis=0)
            pve.append(
                1000 * np.mean([np.linalg.norm(a - base_f - b + base_t) for a, b in zip(found_v, v, strict=True)])
            )
            offs[people[t]] = (found_j - base_f) - (j - base_t)
    accel = []
    for f, k in offs:
        if (f - 1, k) in offs and (f + 1, k) in offs:
            bend = offs[f - 1, k] - 2 * offs[f, k] + offs[f + 1, k]
            accel.append(1000 * np.mean([np.linalg.norm(b) for b in bend]))
    plain = np.array(plain)
    curve = [np.mean(plain <= limit) for limit in range(0, 151, 5)]
    return {
        "people": len(true),
        "found": len(plain),
        "recall": len(plain) / len(true),
        "mpjpe_mm": plain.mean(),
        "pa_mpjpe_mm": np.mean(aligned),
        "pve_mm": np.mean(pve),
        "accel_mm_per_frame2": np.mean(accel),
        "auc": np.mean(curve),
        "auc_with_missed": np.mean(curve) * len(plain) / len(true),
    }


def agrees(score, truth):
    for name, value in truth.items():
        assert getattr(score, name) == pytest.approx(value, abs=NEAR_MM if "mm" in name else 1e-9), name


def test_3dpw_as_a_slow_independent_evaluation(tmp_path):
    world, boxes = World(), None
    boxes = [world.boxes(k) for k in range(2)]
    valid = np.ones((2, 12), int)
    valid[1, 7:9] = 0
    pw3d(tmp_path / "walk_00.pkl", world, valid=valid)
    extra = [(2, [0, 0, 30, 60]), (5, boxes[0][5] + 5)]
    tracks = found_tracks(tmp_path / "t.npz", world, boxes, skip={(3, 0), (4, 1), (10, 0)}, false_positives=extra)
    found = evaluate(tracks, tmp_path / "walk_00.pkl", OPEN)
    truth = expected(world, tracks, 0.3, evaluated=valid)
    assert truth["people"] == 22 and truth["found"] == 19
    agrees(found.overall, truth)
    agrees(found.sequences[0], truth)
    assert (found.sequences[0].name, found.overall.precision) == ("walk_00", None)
    assert found.joints == "the 24 joints of SMPL's skeleton" and found.root == "the pelvis"
    known = read_truth(tmp_path / "walk_00.pkl", "open-body")
    for k in range(2):
        mine = known.person == k
        np.testing.assert_allclose(known.joints_m[mine], world.seen(world.world_joints(k)), atol=1e-9)
        np.testing.assert_allclose(known.bbox_xyxy[mine], world.boxes(k), atol=1e-6)
        at = known.surface(np.flatnonzero(mine))
        np.testing.assert_allclose(at[3], world.seen(world.world_vertices(k)[3:4].repeat(12, 0))[3], atol=1e-5)
        np.testing.assert_array_equal(known.evaluated[mine], valid[k])


def test_without_smpl_joints_are_still_measured_and_the_surface_is_said_to_lack(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    load_body.cache_clear()
    world = World()
    tracks = found_tracks(tmp_path / "t.npz", world, [world.boxes(k) for k in range(2)])
    pw3d(tmp_path / "walk_00.pkl", world)
    emdb(tmp_path / "emdb.pkl", World(count=1))
    found = evaluate(tracks, tmp_path / "walk_00.pkl")
    truth = expected(world, tracks, 0.3)
    assert truth.pop("pve_mm") > 0 and found.overall.pve_mm is None
    agrees(found.overall, truth)
    assert any("no PVE: the body 'smpl-male' is not here" in note and "add-body" in note for note in found.notes)
    with pytest.raises(UsageError, match=r"SMPL_FEMALE\.pkl from .*cliffvid models add-body"):
        evaluate(tracks, tmp_path / "emdb.pkl")
    np.save(tmp_path / "J.npy", np.ones((17, 6890)) / 6890)
    with pytest.raises(UsageError, match="--joint-regressor needs the vertices of both: the body 'smpl-male'"):
        evaluate(tracks, tmp_path / "walk_00.pkl", EvalOptions(joint_regressor=tmp_path / "J.npy"))
    add_body(save_npz(tmp_path / "SMPL_MALE.npz", body_arrays("smpl")))
    add_body(save_npz(tmp_path / "SMPL_FEMALE.npz", body_arrays("smpl", 1)))
    load_body.cache_clear()
    found = evaluate(tracks, tmp_path / "walk_00.pkl")
    known = read_truth(tmp_path / "walk_00.pkl")
    for k, name in enumerate(("smpl-male", "smpl-female")):
        p, rows = world.people[k], np.flatnonzero(known.person == k)[:3]
        given = p["poses"][:3, :3], p["poses"][:3, 3:], np.tile(p["betas"], (3, 1)), p["trans"][:3]
        vertices = load_body(name).surface(*given)[0].astype(float)
        turned = np.einsum("fij,fkj->fki", world.cameras[:3, :3, :3], vertices) + world.cameras[:3, None, :3, 3]
        np.testing.assert_allclose(known.surface(rows), turned, atol=1e-5)
    assert any("'open-body' has 13380 vertices" in n or "vertices, the truth's 6890" in n for n in found.notes)
    load_body.cache_clear()


def test_emdb_with_its_own_root_and_frames_out_of_sight(tmp_path):
    world = World(count=1, seed=3)
    good = np.ones(12, bool)
    good[[4, 11]] = False
    emdb(tmp_path / "P1_01_walk_data.pkl", world, good=good)
    tracks = found_tracks(tmp_path / "t.npz", world, [world.boxes(0)], skip={(1, 0)})
    found = evaluate(tracks, tmp_path / "P1_01_walk_data.pkl", OPEN)
    agrees(found.overall, expected(world, tracks, 0.3, root=(1, 2), evaluated=[good]))
    assert (found.overall.people, found.overall.found) == (10, 9) and "hips" in found.root


def test_agora_counts_false_positives_and_ignores_hidden_people(tmp_path):
    world = World(frames=5, count=3, seed=4)
    hidden = np.zeros((5, 3))
    hidden[1, 0], hidden[2, 1] = 95, -1
    columns = agora_columns(world, hidden)
    agora(tmp_path / "validation_0.pkl", columns)
    boxes = [np.array([[*p[k].min(axis=0), *p[k].max(axis=0)] for p in columns["gt_joints_2d"]]) / 3 for k in range(3)]
    files = [f"{name[:-4]}_1280x720.png" for name in columns["imgPath"]] + ["another.png"]
    extra = [(0, [0, 0, 30, 60]), (4, [900, 5, 950, 90])]
    tracks = found_tracks(
        tmp_path / "t.npz",
        world,
        boxes,
        {(0, 2), (3, 1)},
        extra,
        size=(1280, 720),
        files=files,
        box_scale=1.1,
    )
    found = evaluate(tracks, tmp_path / "validation_0.pkl").overall
    assert (found.people, found.found) == (13, 11)
    precision, recall = 11 / 13, 11 / 13
    f1 = 2 * precision * recall / (precision + recall)
    assert (found.precision, found.recall, found.f1) == pytest.approx((precision, recall, f1))
    assert found.nmje_mm == pytest.approx(found.mpjpe_mm / f1) and found.nmve_mm == pytest.approx(found.pve_mm / f1)
    rows, body = read_tracks(tracks), load_body("open-body")
    plain, pve = [], []
    for i in np.flatnonzero(rows.track_id < 99):
        f, k = rows.frame_idx[i], rows.track_id[i] - 1
        if 0 <= hidden[f, k] <= 90:
            one = rows[i : i + 1]
            given = one.global_orient, one.body_pose, one.betas, one.transl
            joints, true = body.joints(*given)[0], world.seen(world.world_joints(k))[f]
            plain.append(body_errors_mm(joints, true)[0].mean())
            off = body.surface(*given)[0][0] - joints[0] - (columns["gt_verts"][f][k] - true[0])
            pve.append(1000 * np.linalg.norm(off, axis=1).mean())
    assert found.mpjpe_mm == pytest.approx(np.mean(plain), abs=NEAR_MM)
    assert found.pve_mm == pytest.approx(np.mean(pve), abs=NEAR_MM)
    truth = read_truth(tmp_path / "validation_0.pkl")
    np.testing.assert_allclose(truth.focal_px, 5333.3, rtol=1e-4)


def test_agoras_table_of_smplx_has_the_body_and_not_the_hands(tmp_path):
    world = World(frames=2)
    columns = agora_columns(world)
    for key, width in (("gt_joints_3d", 3), ("gt_joints_2d", 2)):
        columns[key] = [[np.vstack([j[:22], np.full((105, width), 9.0)]) for j in people] for people in columns[key]]
    agora(tmp_path / "smplx.pkl", columns)
    truth = read_truth(tmp_path / "smplx.pkl")
    assert truth.joints_m.shape == (4, 22, 3)
    boxes = [truth.bbox_xyxy[k::2] / 3 for k in range(2)]
    tracks = found_tracks(tmp_path / "t.npz", world, boxes, size=(1280, 720), files=columns["imgPath"])
    found, rows = evaluate(tracks, tmp_path / "smplx.pkl"), read_tracks(tracks)
    joints = load_body("open-body").joints(rows.global_orient, rows.body_pose, rows.betas, rows.transl)
    true = [world.seen(world.world_joints(k - 1))[f] for f, k in zip(rows.frame_idx, rows.track_id, strict=True)]
    errors = [body_errors_mm(a[:22], b[:22]) for a, b in zip(joints, true, strict=True)]
    assert found.joints == "the first 22 joints of SMPL's skeleton"
    assert found.overall.mpjpe_mm == pytest.approx(np.mean([e[0] for e in errors]), abs=NEAR_MM)
    assert found.overall.pa_mpjpe_mm == pytest.approx(np.mean([e[1] for e in errors]), abs=NEAR_MM)


def test_a_table_that_pandas_itself_pickled():
    truth, world = read_truth(GOLDEN / "agora_pandas2.pkl"), World(frames=3, count=2, seed=7)
    assert truth.files == ("ag_val_0.png", "ag_val_1.png", "ag_val_2.png") and truth.everybody
    assert truth.frame_idx.tolist() == [0, 0, 1, 1, 2, 2] and truth.person.tolist() == [0, 1] * 3
    assert truth.evaluated.tolist() == [True, False, True, True, True, True]
    for k in range(2):
        np.testing.assert_allclose(truth.joints_m[k::2], world.seen(world.world_joints(k)), atol=1e-6)
    assert truth.surface is None and "without vertices" in truth.no_surface


def test_a_regressor_of_17_joints_gives_the_14_of_the_papers(tmp_path):
    world = World()
    pw3d(tmp_path / "walk_00.pkl", world)
    tracks = found_tracks(tmp_path / "t.npz", world, [world.boxes(k) for k in range(2)])
    body = load_body("open-body")
    weights = np.random.default_rng(0).random((17, body.weights.shape[1])) ** 30
    weights /= weights.sum(axis=1, keepdims=True)
    np.save(tmp_path / "J_regressor_h36m.npy", weights)
    found = evaluate(
        tracks, tmp_path / "walk_00.pkl", EvalOptions("demo", tmp_path / "J_regressor_h36m.npy", "open-body")
    )
    rows, true, errors = read_tracks(tracks), truths(world), []
    vertices = body.surface(rows.global_orient, rows.body_pose, rows.betas, rows.transl)[0].astype(float)
    for i in range(len(rows)):
        a = weights @ vertices[i]
        b = weights @ true[int(rows.frame_idx[i]), int(rows.track_id[i]) - 1][2]
        a, b = a - a[0], b - b[0]  # right ankle to left ankle, right wrist to left wrist, neck, head
        picked = [6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10]
        near = nearest_similar(a[picked], b[picked])
        errors.append([1000 * np.linalg.norm(p - b[picked], axis=1).mean() for p in (a[picked], near)])
    assert [found.overall.mpjpe_mm, found.overall.pa_mpjpe_mm] == pytest.approx(np.mean(errors, axis=0), abs=NEAR_MM)
    assert found.joints.startswith("14 joints by J_regressor_h36m.npy")
    np.save(tmp_path / "J_regressor_h36m.npy", weights[:, 1:])
    with pytest.raises(InputError, match=r"expected numbers \(joints, "):
        evaluate(tracks, tmp_path / "walk_00.pkl", EvalOptions("demo", tmp_path / "J_regressor_h36m.npy", "open-body"))


def test_the_nearest_similarity_is_scipys_and_knows_no_mirror():
    rng = np.random.default_rng(0)
    true, found = rng.normal(size=(40, 24, 3)), rng.normal(size=(40, 24, 3))
    true[:20] = (
        found[:20] @ Rotation.random(20, random_state=1).as_matrix() * 1.7 + 3 + rng.normal(0, 0.05, (20, 24, 3))
    )
    true[10:20, :, 0] *= -1  # a mirrored body must not come out near
    for a, b, c in zip(procrustes(found, true), found, true, strict=True):
        np.testing.assert_allclose(a, nearest_similar(b, c), atol=1e-9)
    assert np.abs(procrustes(found[:10], true[:10]) - true[:10]).mean() < 0.1
    assert np.abs(procrustes(found[10:20], true[10:20]) - true[10:20]).mean() > 0.5
    flat = np.concatenate([found[..., :2], np.zeros((40, 24, 1))], axis=2)
    np.testing.assert_allclose(procrustes(flat, 2 * flat), 2 * flat, atol=1e-9)


def test_areas_and_accelerations_by_hand():
    assert auc(np.zeros((2, 24))) == 1 and auc(np.full((2, 24), 151.0)) == 0
    assert auc(np.full((1, 24), 75.0)) == pytest.approx(16 / 31)  # 75, 80 ... 150
    assert auc(np.zeros((3, 24)), missed=1) == 0.75
    times = np.arange(6.0)
    moving = np.zeros((6, 2, 3))
    moving[:, 0, 1] = 0.5 * 0.004 * times**2  # 4 mm a frame squared, one of two joints
    np.testing.assert_allclose(acceleration_mm(moving, np.zeros((6, 2, 3)), np.arange(6)), 2)
    assert len(acceleration_mm(moving, moving, np.array([0, 1, 2, 4, 5, 7]))) == 1  # three in a row, once


def test_matching_is_the_best_of_all_ways():
    rng = np.random.default_rng(2)
    for trial in range(60):
        n, m = rng.integers(1, 4, 2)
        low = rng.uniform(0, 60, (n + m, 2))
        boxes = np.hstack([low, low + rng.uniform(20, 80, (n + m, 2))]).astype(np.float32)
        evaluated = rng.random(n) < 0.8
        truth = Truth(
            "a",
            "3dpw",
            np.zeros(n, int),
            np.arange(n),
            evaluated,
            boxes[:n],
            np.zeros((n, 24, 3)),
            np.ones(n),
            SIZE,
            None,
            "",
        )
        theirs, mine, false_positives = match(truth, np.zeros(m, int), boxes[:n], boxes[n:], 0.3)
        pairs = best_pairs(boxes[:n].astype(float), boxes[n:].astype(float), 0.3)
        assert list(zip(theirs, mine, strict=True)) == [p for p in sorted(pairs) if evaluated[p[0]]], trial
        assert sorted(false_positives) == sorted(set(range(m)) - {found for _, found in pairs})


def test_folders_presets_and_what_is_left_out(tmp_path):
    truth, tracks = tmp_path / "truth", tmp_path / "tracks"
    (truth / "test").mkdir(parents=True)
    tracks.mkdir()
    worlds = {name: World(seed=i, frames=6 + i) for i, name in enumerate(("walk_00", "run_01", "sit_02"))}
    for name, world in worlds.items():
        pw3d(truth / "test" / f"{name}.pkl", world, name)
        if name != "sit_02":
            found_tracks(tracks / f"{name}.npz", world, [world.boxes(k) for k in range(2)], box_scale=1.2)
    found = evaluate(tracks, truth, OPEN)
    assert [s.name for s in found.sequences] == ["run_01", "walk_00"] and found.without_tracks == ["sit_02"]
    run, walk = found.sequences
    assert found.overall.people == run.people + walk.people == 26
    weighted = (run.mpjpe_mm * run.found + walk.mpjpe_mm * walk.found) / (run.found + walk.found)
    assert found.overall.mpjpe_mm == pytest.approx(weighted)
    assert any("made with --box-scale 1.2, not 1.1" in note for note in found.notes)
    paper = evaluate(tracks, truth, EvalOptions("paper", truth_body="open-body", iou_min=0.3))
    assert paper.overall == found.overall
    assert any("focal length of 800 px, known is 702" in note for note in paper.notes)
    assert not any("box-scale" in note for note in paper.notes)
    with pytest.raises(InputError, match="no tracks of"):
        (tmp_path / "none").mkdir()
        evaluate(tmp_path / "none", truth)
    with pytest.raises(UsageError, match="--protocol own: choose one of demo, paper"):
        EvalOptions("own")


class Evil:
    def __reduce__(self):
        return os.system, ("touch ran",)


def test_nothing_in_ground_truth_is_run_and_other_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    world = World(frames=2)
    good = pickle.loads(pw3d(tmp_path / "good.pkl", world).read_bytes())
    files = {
        "evil": (pickle.dumps(good | {"more": Evil()}), "system, which no such file needs"),
        "frame": (b"cpandas.io.common\nget_handle\n(S'ran'\nS'w'\ntR.", "pandas.io.common.get_handle"),
        "text": (b"text", "not ground truth"),
        "empty": (b"", "the file is empty"),
        "cut": ((tmp_path / "good.pkl").read_bytes()[:-900], "not ground truth"),
        "other": (pickle.dumps({"a": 1}), "its keys are a"),
        "list": (pickle.dumps([1]), "no table"),
        "short": (pickle.dumps(good | {"cam_poses": world.cameras[:1]}), "person 0 has 2 frames, the camera 1"),
    }
    for name, (data, words) in files.items():
        path = tmp_path / f"{name}.pkl"
        path.write_bytes(data)
        with pytest.raises(InputError, match=words):
            read_truth(path)
    with pytest.raises(InputError, match="no such file"):
        evaluate(tmp_path / "t.npz", tmp_path / "none.pkl")
    assert not (tmp_path / "ran").exists()


def test_tracks_of_something_else_are_refused(tmp_path):
    world = World(frames=3)
    pw3d(tmp_path / "walk_00.pkl", world)
    boxes = [world.boxes(k) for k in range(2)]
    with pytest.raises(InputError, match=r"frames of 800 x 480, but those of walk_00 have 642 x 479"):
        evaluate(found_tracks(tmp_path / "a.npz", world, boxes, size=(800, 480)), tmp_path / "walk_00.pkl")
    with pytest.raises(InputError, match="process all frames"):
        evaluate(found_tracks(tmp_path / "b.npz", world, boxes, stride=2), tmp_path / "walk_00.pkl")
    agora(tmp_path / "val.pkl", agora_columns(world))
    with pytest.raises(InputError, match="tracks of a video; agora needs"):
        evaluate(found_tracks(tmp_path / "c.npz", world, boxes, size=(1280, 720)), tmp_path / "val.pkl")
