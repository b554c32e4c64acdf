"""Converted files: read by plain readers of their formats, people are where and when the tracks say they are."""

import csv
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

import needs
from bodies import body_arrays, save_npz
from cliffvid import read_meta, read_tracks
from cliffvid.errors import InputError, UsageError
from cliffvid.models.body import SMPL_JOINTS, load_body
from cliffvid.models.smpl_files import add_body
from cliffvid.rotations import quaternion, slerp
from cliffvid.tables import BAD_CAMERA, Tracks
from cliffvid.tracks.convert import convert
from cliffvid.tracks.formats.bvh import euler_zxy
from cliffvid.tracks.motion import weighted_median
from cliffvid.tracks.options import ConvertOptions
from motion_files import Gltf, bvh_joints
from motions import MOTIONS, RATE, random_motion, save, truth_at
from reference import turned

FORMATS = ("npz", "parquet", "cliff", "csv", "amass", "bvh", "gltf")
# Which way is up, and which way somebody looks who faces the camera: by format.
UP = dict.fromkeys(FORMATS, (0, -1, 0)) | {"amass": (0, 0, 1), "bvh": (0, 1, 0), "gltf": (0, 1, 0)}
AHEAD = dict.fromkeys(FORMATS, (0, 0, -1)) | {"amass": (0, -1, 0), "bvh": (0, 0, 1), "gltf": (0, 0, 1)}


def joints_in(path: Path, to: str, time_s: float = 0.0) -> np.ndarray:
    """SMPL's joints (24,3) of the one person in a converted file at that time, in the file's own axes."""
    body = load_body("open-body")
    if to == "bvh":
        joints, step_s = bvh_joints(path)
        return np.stack([joints[name][round(time_s / step_s)] for name in SMPL_JOINTS])
    if to == "gltf":
        file = Gltf(path.read_bytes())
        world = file.at(time_s)
        return np.stack([world[file.names[f"track_1/{name}"]][:3, 3] for name in SMPL_JOINTS])
    if to == "amass":
        data = np.load(path)
        row = round(time_s * data["mocap_framerate"])
        pose = np.zeros((1, 69))
        pose[:, :63] = data["poses"][row, 3:66]
        return body.joints(data["poses"][row : row + 1, :3], pose, np.zeros((1, 10)), data["trans"][row : row + 1])[0]
    if to == "csv":
        with path.open() as text:
            row = next(r for r in csv.DictReader(text) if abs(float(r["time_s"]) - time_s) < 1e-9)
        given_ = [
            [float(value) for key, value in row.items() if key.startswith("global_orient")],
            [float(row[f"{name}_{axis}_rad"]) for name in SMPL_JOINTS[1:] for axis in "xyz"],
            [float(row[f"beta_{k}"]) for k in range(10)],
            [float(row[f"transl_{axis}_m"]) for axis in "xyz"],
        ]
        return body.joints(*(np.array(values)[None] for values in given_))[0]
    if to == "cliff":
        with np.load(path) as data:
            return data["pred_joints"][0]
    rows = read_tracks(path)
    return body.joints(rows.global_orient, rows.body_pose, rows.betas, rows.transl)[0]


@pytest.mark.parametrize("to", FORMATS)
def test_who_stands_upright_and_faces_the_camera_does_so_in_every_format(to, tmp_path):
    """Head over feet by a person's height, toes ahead, the left hand where the camera sees it: on its right."""
    frames = [0, 1, 2]
    tracks = save(tmp_path / "a.npz", frames, [1] * 3, turn=[np.pi, 0, 0], transl=[0.4, 0.2, 5.0])
    out = tmp_path / {"bvh": "o.bvh", "gltf": "o.glb"}.get(to, "o.npz")
    assert convert(tracks, out, ConvertOptions(to)).files == [out]
    joints = dict(zip(SMPL_JOINTS, joints_in(out, to), strict=True))
    up, ahead = np.array(UP[to]), np.array(AHEAD[to])
    for side in ("left", "right"):
        height = up @ (joints["head"] - joints[f"{side}_foot"])
        assert 1.3 < height < 1.8
        assert ahead @ (joints[f"{side}_foot"] - joints[f"{side}_ankle"]) > 0.08
    assert joints["left_hand"][0] - joints["right_hand"][0] > 1.2
    # 5 m from the camera, which is at the origin, and a little to its right and below it
    np.testing.assert_allclose(-ahead @ joints["pelvis"], 5.0, atol=1e-4)
    np.testing.assert_allclose(-up @ joints["pelvis"], 0.2, atol=1e-4)
    np.testing.assert_allclose(joints["pelvis"][0], 0.4, atol=1e-4)


@settings(max_examples=25)
@given(MOTIONS, st.sampled_from([30, 60, 120]))
def test_bvh_moves_as_the_tracks_do(tmp_path_factory, motion, fps):
    folder = tmp_path_factory.mktemp("bvh")
    tracks, rows = random_motion(folder, *motion)
    convert(tracks, folder / "o.bvh", ConvertOptions("bvh", fps=fps))
    joints, step_s = bvh_joints(folder / "o.bvh")
    assert step_s == pytest.approx(1 / fps, abs=1e-9)
    count = len(joints["pelvis"])
    assert count == int((rows.time_s[-1] - rows.time_s[0]) * fps + 1e-6) + 1
    for k in range(count):
        truth = truth_at(rows, min(rows.time_s[0] + k / fps, rows.time_s[-1])) * [1, -1, -1]
        np.testing.assert_allclose(np.stack([joints[name][k] for name in SMPL_JOINTS]), truth, atol=2e-5)
    convert(tracks, folder / "cm.bvh", ConvertOptions("bvh", fps=fps, cm=True))
    for name, places in bvh_joints(folder / "cm.bvh")[0].items():
        np.testing.assert_allclose(places, joints[name] * 100, atol=2e-3)


def test_another_library_reads_the_bvh(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of how it names PyGLM
        bvhio = needs.package("bvhio")
    tracks, rows = random_motion(tmp_path, 5, [2, 1, 3])
    convert(tracks, tmp_path / "o.bvh", ConvertOptions("bvh"))
    told = bvhio.readAsBvh(str(tmp_path / "o.bvh"))
    assert told.FrameCount == 7 and told.FrameTime == pytest.approx(1 / 60, abs=1e-8)
    root = bvhio.readAsHierarchy(str(tmp_path / "o.bvh"))
    for frame in range(7):
        root.loadPose(frame)
        places = {joint.Name: np.array(joint.PositionWorld) for joint, *_ in root.layout()}
        truth = truth_at(rows, min(rows.time_s[0] + frame / 60, rows.time_s[-1])) * [1, -1, -1]
        np.testing.assert_allclose(np.stack([places[name] for name in SMPL_JOINTS]), truth, atol=1e-4)


@settings(max_examples=15)
@given(MOTIONS)
def test_gltf_moves_as_the_tracks_do_with_a_key_at_each_rows_own_time(tmp_path_factory, motion):
    folder = tmp_path_factory.mktemp("glb")
    tracks, rows = random_motion(folder, *motion)
    report = convert(tracks, folder / "o.glb", ConvertOptions("gltf"))
    file, body = Gltf((folder / "o.glb").read_bytes()), load_body("open-body")
    keys = file.numbers(file.json["animations"][0]["samplers"][0]["input"])
    np.testing.assert_allclose(keys, rows.time_s, atol=1e-6)
    for time_s in (rows.time_s[0], rows.time_s[-1], (rows.time_s[0] + 2 * rows.time_s[-1]) / 3):
        truth = truth_at(rows, time_s) * [1, -1, -1]
        world = file.at(float(np.float32(time_s)))
        found = np.stack([world[file.names[f"track_1/{name}"]][:3, 3] for name in SMPL_JOINTS])
        np.testing.assert_allclose(found, truth, atol=2e-4)
    surface = file.skinned("track_1_body", file.at(float(np.float32(rows.time_s[-1]))))
    last = rows[-1:]
    whole = body.surface(last.global_orient, last.body_pose, last.betas, last.transl)[0][0] * [1, -1, -1]
    np.testing.assert_allclose(surface, whole, atol=2e-3)
    assert report.warnings == [] or "interpolated" in report.warnings[0]


@settings(max_examples=20)
@given(MOTIONS, st.sampled_from(["smplh", "smplx"]))
def test_amass_moves_as_the_tracks_do(tmp_path_factory, motion, layout):
    """What each reader takes: see the assertions' comments. open-body's betas are not handed on."""
    folder = tmp_path_factory.mktemp("amass")
    tracks, rows = random_motion(folder, *motion)
    convert(tracks, folder / "o.npz", ConvertOptions("amass", layout=layout))
    with np.load(folder / "o.npz", allow_pickle=False) as archive:
        data = dict(archive)
    frames = len(data["poses"])
    assert data["poses"].shape == (frames, {"smplh": 156, "smplx": 165}[layout]) and data["trans"].shape == (frames, 3)
    assert data["betas"].ndim == 1 and len(data["betas"]) >= 10 and not data["betas"].any()
    # aitviewer, HumanML3D and PHC read mocap_framerate, Blender's add-ons and GMR mocap_frame_rate, as numpy scalars
    for key in ("mocap_framerate", "mocap_frame_rate", "fps"):
        assert data[key].shape == () and data[key].item() == 60.0
    assert str(data["gender"]) == "neutral" and data["gender"].dtype.kind == "U"
    # the first 66 numbers are SMPL's joints alike in all layouts; the rest are hands, jaw and eyes, which rest
    assert not data["poses"][:, 66:].any()
    np.testing.assert_array_equal(data["poses"][:, :3], data["root_orient"])
    np.testing.assert_array_equal(data["poses"][:, 3:66], data["pose_body"])
    assert data["pose_hand"].shape == (frames, 90) and data["time0_s"] == rows.time_s[0]
    body = load_body("open-body")
    pose = np.concatenate([data["pose_body"], np.zeros((frames, 6))], axis=1)
    found = body.joints(data["root_orient"], pose, np.zeros((frames, 10)), data["trans"])[:, :22]
    # the tracks' motion by a body of mean shape whose pelvis is where the tracks' is: open-body's rests at the origin
    for k in range(frames):
        shaped = truth_at(rows, min(rows.time_s[0] + k / 60, rows.time_s[-1]))
        np.testing.assert_allclose(found[k, 0], shaped[0][[0, 2, 1]] * [1, 1, -1], atol=1e-4)
    plain = Tracks(**(rows.columns() | {"betas": np.zeros_like(rows.betas)}))
    for k in range(frames):
        truth = truth_at(plain, min(rows.time_s[0] + k / 60, rows.time_s[-1]))[:22]
        np.testing.assert_allclose(found[k] - found[k, 0], (truth - truth[0])[:, [0, 2, 1]] * [1, 1, -1], atol=1e-4)


@given(MOTIONS, st.sampled_from(["npz", "parquet", "cliff"]))
@settings(max_examples=20)
def test_tables_come_back_to_the_bit(tmp_path_factory, motion, to):
    folder = tmp_path_factory.mktemp("table")
    tracks, rows = random_motion(folder, *motion)
    convert(tracks, folder / "o", ConvertOptions(to))
    back = read_tracks(folder / "o")
    for name, column in rows.columns().items():
        np.testing.assert_array_equal(getattr(back, name), column)
    assert read_meta(folder / "o")["video"] == read_meta(tracks)["video"]


@given(MOTIONS)
@settings(max_examples=20)
def test_csv_comes_back_to_the_bit(tmp_path_factory, motion):
    folder = tmp_path_factory.mktemp("csv")
    tracks, rows = random_motion(folder, *motion)
    convert(tracks, folder / "o.csv", ConvertOptions("csv"))
    with (folder / "o.csv").open() as text:
        header, *lines = csv.reader(text)
    assert len(set(header)) == len(header)
    groups = [("time_s", "float64", 1), ("track_id", "int32", 1), ("bbox_x0_px", "float32", 4)]
    groups += [("global_orient_x_rad", "float32", 3), ("left_hip_x_rad", "float32", 69), ("beta_0", "float32", 10)]
    groups += [("transl_x_m", "float32", 3), ("pred_cam_s", "float32", 3), ("crop_cx_px", "float32", 3)]
    names = ["time_s", "track_id", "bbox_xyxy", "global_orient", "body_pose", "betas", "transl", "pred_cam"]
    groups += [("confidence", "float32", 1), ("pelvis_confidence", "float32", 24)]
    names += ["crop_center_size_px", "confidence", "joint_confidence"]
    for (first, dtype, width), name in zip(groups, names, strict=True):
        at = header.index(first)
        found = np.array([line[at : at + width] for line in lines], dtype=object).astype(dtype)
        np.testing.assert_array_equal(found.reshape(getattr(rows, name).shape), getattr(rows, name))


def walkers(folder: Path) -> Path:
    """Track 1 with a short gap and a long one, track 2 whole but for an impossible camera, track 7 of one row."""
    frames = [*range(0, 30), *range(40, 60), *range(120, 150)]
    rows = [(f, 1) for f in frames] + [(f, 2) for f in range(10, 40)] + [(50, 7)]
    frames, ids = np.array(rows).T
    flags = np.where((frames == 20) & (ids == 2), BAD_CAMERA, 0)
    transl = np.stack([ids * 1.0, np.zeros(len(ids)), np.where(flags, 1e6, 5.0)], axis=1)
    return save(folder / "w.npz", frames, ids, turn=[np.pi, 0, 0], transl=transl, flags=flags)


@pytest.mark.parametrize("to", ["amass", "bvh", "gltf"])
def test_gaps_are_bridged_or_cut_and_told(to, tmp_path):
    tracks = walkers(tmp_path)
    report = convert(tracks, tmp_path / "out", ConvertOptions(to))
    assert report.tracks == 3 and report.rows == 111
    said = "\n".join(report.warnings)
    assert "1 rows with an impossible camera left out" in said and "2 gaps of up to 0.5 s interpolated" in said
    assert "1 gaps longer than 0.5 s" in said
    if to != "gltf":
        names = [path.name.rsplit(".")[0] for path in report.files]
        assert names == ["w_track0001_01", "w_track0001_02", "w_track0002", "w_track0007"]
        lengths = {"amass": lambda p: len(np.load(p)["poses"]), "bvh": lambda p: len(bvh_joints(p)[0]["pelvis"])}[to]
        assert [lengths(path) for path in report.files] == [60, 30, 30, 1]
        report = convert(tracks, tmp_path / "one", ConvertOptions(to, track=(1,), max_gap_s=2.0))
        assert [lengths(path) for path in report.files] == [150] and report.files[0].stem == "w_track0001"
        return
    file = Gltf(report.files[0].read_bytes())

    def seen(time_s: float) -> list[bool]:
        world = file.at(time_s)
        sizes = [np.ptp(file.skinned(f"track_{i}_body", world), axis=0).max() for i in (1, 2, 7)]
        return [bool(size > 1) for size in sizes]

    assert seen(0.0) == [True, False, False] and seen(35 / RATE) == [True, True, False]
    assert seen(50.5 / RATE) == [True, False, True] and seen(90 / RATE) == [False] * 3
    assert seen(125 / RATE) == [True, False, False] and seen(151 / RATE) == [False] * 3


def test_few_frames_a_second_are_no_gaps(tmp_path):
    tracks = save(tmp_path / "a.npz", range(0, 600, 60), [1] * 10, turn=[np.pi, 0, 0], transl=[0, 0, 5])
    report = convert(tracks, tmp_path / "o", ConvertOptions("bvh"))
    assert len(report.files) == 1 and report.warnings == []
    assert len(bvh_joints(report.files[0])[0]["pelvis"]) == 541


def test_the_gltf_camera_sees_people_where_the_video_did(tmp_path):
    from cliffvid.geometry import project

    tracks = save(tmp_path / "a.npz", [0, 1], [1, 1], turn=[2.8, 0.3, 0.1], transl=[0.8, -0.3, 4.0])
    rows, body = read_tracks(tracks), load_body("open-body")
    joints = body.joints(rows.global_orient, rows.body_pose, rows.betas, rows.transl)
    truth = project(joints, rows.focal_px, (640, 360))[0]
    convert(tracks, tmp_path / "o.glb", ConvertOptions("gltf"))
    file = Gltf((tmp_path / "o.glb").read_bytes())
    world, camera = file.at(0.0), file.json["cameras"][0]["perspective"]
    np.testing.assert_array_equal(world[file.names["camera"]], np.eye(4))  # at the origin, looks along -z
    points = np.stack([world[file.names[f"track_1/{name}"]][:3, 3] for name in SMPL_JOINTS])
    depth, reach = -points[:, 2], np.tan(camera["yfov"] / 2)
    u = 640 * (1 + points[:, 0] / depth / reach / camera["aspectRatio"])
    v = 360 * (1 - points[:, 1] / depth / reach)
    np.testing.assert_allclose(np.stack([u, v], axis=1), truth, atol=0.01)


def test_a_skeleton_is_sticks_from_joint_to_joint(tmp_path):
    tracks, rows = random_motion(tmp_path, 3, [1, 1])
    convert(tracks, tmp_path / "o.glb", ConvertOptions("gltf", skeleton_only=True))
    file, body = Gltf((tmp_path / "o.glb").read_bytes()), load_body("open-body")
    assert (tmp_path / "o.glb").stat().st_size < 60_000
    joints = truth_at(rows, rows.time_s[0]) * [1, -1, -1]
    sticks = file.skinned("track_1_body", file.at(float(np.float32(rows.time_s[0])))).reshape(-1, 6, 3)
    assert len(sticks) == 23
    np.testing.assert_allclose(sticks[:, 0], joints[list(body.parents[1:])], atol=1e-4)
    np.testing.assert_allclose(sticks[:, 1], joints[1:], atol=1e-4)
    # closed and facing outwards: the volume by the faces (Gauss) is that of two pyramids
    primitive = file.json["meshes"][0]["primitives"][0]
    faces = file.numbers(primitive["indices"]).reshape(-1, 3).astype(int)
    a, b, c = (file.numbers(primitive["attributes"]["POSITION"]).astype(float)[faces[:, k]] for k in range(3))
    volumes = (a * np.cross(b, c)).sum(axis=1).reshape(-1, 8).sum(axis=1) / 6
    assert (volumes > 0).all()


def test_a_gltf_for_each_person_has_only_that_one_with_the_same_bones(tmp_path):
    tracks = walkers(tmp_path)
    files = convert(tracks, tmp_path / "out", ConvertOptions("gltf", per_person=True)).files
    assert [path.name for path in files] == ["w_track0001.glb", "w_track0002.glb", "w_track0007.glb"]
    whole = Gltf(convert(tracks, tmp_path / "o.glb").files[0].read_bytes())
    for track, path in zip((1, 2, 7), files, strict=True):
        file = Gltf(path.read_bytes())
        (skin,) = file.json["skins"]
        assert [file.json["nodes"][joint]["name"] for joint in skin["joints"]] == SMPL_JOINTS
        alone, among = (each.skinned(f"track_{track}_body", each.at(0.8)) for each in (file, whole))
        np.testing.assert_allclose(alone, among, atol=1e-6)
    with pytest.raises(UsageError, match=r"one file, but there are 3 people; name a folder, or --track"):
        convert(tracks, tmp_path / "p.glb", ConvertOptions(per_person=True))


def test_another_library_reads_the_gltf(tmp_path):
    trimesh = needs.package("trimesh")
    tracks = walkers(tmp_path)
    convert(tracks, tmp_path / "o.glb", ConvertOptions("gltf"))
    scene = trimesh.load(tmp_path / "o.glb")
    assert len(scene.geometry) == 3
    for mesh in scene.geometry.values():
        np.testing.assert_array_equal(mesh.faces, load_body("open-body").faces)
        assert mesh.vertex_normals.shape == mesh.vertices.shape


@pytest.fixture
def own_bodies(tmp_path, monkeypatch):
    """Synthetic SMPL and SMPL-X bodies where the user's would be."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    load_body.cache_clear()
    for kind in ("smpl", "smplx"):
        add_body(save_npz(tmp_path / f"{kind.upper()}_NEUTRAL.npz", body_arrays(kind)))
    yield
    load_body.cache_clear()


@pytest.mark.usefixtures("own_bodies")
@pytest.mark.parametrize("family", ["smpl", "smplx"])
def test_licensed_bodies_keep_their_betas_and_their_place_in_amass(family, tmp_path):
    rng = np.random.default_rng(0)
    betas = np.tile(rng.normal(0, 1, {"smpl": 10, "smplx": 11}[family]), (2, 1))
    given_ = {"turn": rng.normal(0, 1, (2, 3)), "transl": [0.3, 0.1, 4.0], "betas": betas, "body": family}
    tracks = save(tmp_path / "t.npz", [0, 1], [1, 1], **given_)
    rows, body = read_tracks(tracks), load_body(family)
    report = convert(tracks, tmp_path / "o.npz", ConvertOptions("amass"))
    data = np.load(tmp_path / "o.npz")
    assert report.warnings == [] and data["poses"].shape[1] == {"smpl": 156, "smplx": 165}[family]
    np.testing.assert_allclose(data["betas"], betas[0], atol=1e-6)
    pose, betas = np.zeros((2, 63)), np.tile(data["betas"], (2, 1))
    found = body.joints(data["root_orient"], pose, betas, data["trans"])
    truth = body.joints(rows.global_orient, rows.body_pose, rows.betas, rows.transl)
    np.testing.assert_allclose(found, truth[..., [0, 2, 1]] * [1, 1, -1], atol=1e-5)
    # to the other layout: the pelvis stays, by that body's own resting pelvis; the betas mean nothing there
    other, layout = {"smpl": ("smplx", "smplx"), "smplx": ("smpl", "smplh")}[family]
    report = convert(tracks, tmp_path / "p.npz", ConvertOptions("amass", layout=layout))
    data = np.load(tmp_path / "p.npz")
    assert len(report.warnings) == 1 and "betas are zeros" in report.warnings[0] and not data["betas"].any()
    found = load_body(other).joints(data["root_orient"], pose, np.zeros((2, 10)), data["trans"])[:, 0]
    np.testing.assert_allclose(found, truth[:, 0, [0, 2, 1]] * [1, 1, -1], atol=1e-5)


@pytest.mark.usefixtures("own_bodies")
def test_a_licensed_surface_is_warned_about(tmp_path):
    tracks = save(tmp_path / "t.npz", [0, 1], [1, 1], turn=[np.pi, 0, 0], transl=[0, 0, 5], body="smpl")
    whole = convert(tracks, tmp_path / "a.glb", ConvertOptions("gltf"))
    assert any("the surface of the licensed body 'smpl': do not pass it on" in line for line in whole.warnings)
    assert any("pose correctives" in line for line in whole.warnings)
    bones = convert(tracks, tmp_path / "b.glb", ConvertOptions("gltf", skeleton_only=True))
    assert bones.warnings == []
    assert b"NORMAL" in (tmp_path / "a.glb").read_bytes() and b"NORMAL" not in (tmp_path / "b.glb").read_bytes()


@pytest.mark.usefixtures("own_bodies")
def test_all_55_joints_of_smplx_have_names_and_places(tmp_path):
    tracks = save(tmp_path / "t.npz", [0, 1], [1, 1], turn=[np.pi, 0, 0], transl=[0, 0, 5], body="smplx")
    body, rows = load_body("smplx"), read_tracks(tracks)
    truth = body.joints(rows.global_orient, rows.body_pose, rows.betas, rows.transl)[0] * [1, -1, -1]
    convert(tracks, tmp_path / "o.bvh", ConvertOptions("bvh"))
    found = bvh_joints(tmp_path / "o.bvh")[0]
    np.testing.assert_allclose([found[name][0] for name in body.joint_names], truth, atol=1e-4)
    assert body.joint_names[25] == "left_index1" and body.joint_names[54] == "right_thumb3"
    convert(tracks, tmp_path / "o.glb", ConvertOptions("gltf", skeleton_only=True))
    file = Gltf((tmp_path / "o.glb").read_bytes())
    world = file.at(0.0)
    np.testing.assert_allclose([world[file.names[f"track_1/{n}"]][:3, 3] for n in body.joint_names], truth, atol=1e-4)


def test_what_cannot_be_meant_is_refused_and_leaves_nothing(tmp_path):
    tracks = walkers(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UsageError, match=r"4 pieces of motion; name a folder, or --track"):
        convert(tracks, tmp_path / "o.bvh", ConvertOptions("bvh"))
    with pytest.raises(UsageError, match="no track 3; it holds 1 to 7"):
        convert(tracks, tmp_path / "o.glb", ConvertOptions("gltf", track=(3,)))
    with pytest.raises(UsageError, match="is also an input"):
        convert(tracks, tracks, ConvertOptions("npz", overwrite=True))
    for bad in ({"to": "fbx"}, {"fps": 0}, {"layout": "smpl"}, {"max_gap_s": -1.0}):
        with pytest.raises(UsageError):
            ConvertOptions(**({"to": "bvh"} | bad))
    assert sorted(tmp_path.iterdir()) == before
    convert(tracks, tmp_path / "o.glb", ConvertOptions("gltf"))
    with pytest.raises(UsageError, match="exists already"):
        convert(tracks, tmp_path / "o.glb", ConvertOptions("gltf"))
    nobody = save(tmp_path / "n.npz", [], [])
    for to in ("amass", "bvh", "gltf"):
        with pytest.raises(InputError, match="no row has a valid position"):
            convert(nobody, tmp_path / "p", ConvertOptions(to))
    assert convert(nobody, tmp_path / "n.csv", ConvertOptions("csv")).rows == 0
    convert(nobody, tmp_path, ConvertOptions("parquet"))
    assert len(read_tracks(tmp_path / "n.parquet")) == 0


def test_the_same_file_whenever_it_is_written(tmp_path):
    tracks = walkers(tmp_path)
    for to in ("amass", "bvh", "trc", "gltf"):
        one, two = (convert(tracks, tmp_path / name, ConvertOptions(to, track=(2,))).files[0] for name in ("a", "b"))
        assert one.read_bytes() == two.read_bytes()
        one.unlink(), two.unlink()


VECTORS = st.lists(st.floats(-7, 7), min_size=3, max_size=3).map(np.array)


@given(VECTORS, VECTORS, st.floats(0, 1))
def test_slerp_and_quaternions_turn_as_rotations_do(first, second, share):
    np.testing.assert_allclose(
        Rotation.from_quat(quaternion(first)).as_matrix() @ [1, 2, 3], turned(np.arange(1, 4), first), atol=1e-9
    )
    a, b = Rotation.from_rotvec(first), Rotation.from_rotvec(second)
    if (a.inv() * b).magnitude() < 3.1:  # half a turn has two shortest ways
        truth = (a * Rotation.from_rotvec((a.inv() * b).as_rotvec() * share)).as_matrix()
        found = slerp(quaternion(first), quaternion(second), np.array([share]))
        np.testing.assert_allclose(Rotation.from_quat(found).as_matrix(), truth, atol=1e-7)


@given(VECTORS)
def test_euler_angles_turn_back(vector):
    z, x, y = euler_zxy(quaternion(vector))
    again = Rotation.from_euler("ZXY", [z, x, y]).as_matrix()
    np.testing.assert_allclose(again, Rotation.from_rotvec(vector).as_matrix(), atol=1e-4)


@pytest.mark.parametrize("about_x", [90, -90])
def test_euler_angles_of_a_limb_straight_up(about_x):
    truth = Rotation.from_euler("ZXY", [30, about_x, 20], degrees=True)
    found = Rotation.from_euler("ZXY", euler_zxy(truth.as_quat()))
    np.testing.assert_allclose(found.as_matrix(), truth.as_matrix(), atol=1e-4)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=9))
def test_a_weighted_median_is_the_median_of_repeated_values(pairs):
    values, counts = np.array(pairs, float).T
    repeated = np.repeat(values, counts.astype(int)) if counts.any() else values
    found = weighted_median(values[:, None], counts)
    assert found == pytest.approx(np.median(repeated))
