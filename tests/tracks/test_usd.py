"""USD as usd-core reads it: skeletons, surfaces, times and the camera are those of the tracks."""

import os
import resource

import numpy as np
import pytest
from hypothesis import given, settings

import needs
from cliffvid import read_tracks
from cliffvid.errors import OutputError, UsageError
from cliffvid.geometry import project
from cliffvid.models.body import SMPL_JOINTS, load_body
from cliffvid.tracks.convert import convert
from cliffvid.tracks.options import ConvertOptions
from motions import MOTIONS, RATE, random_motion, save, truth_at

needs.package("pxr")
from pxr import Gf, Usd, UsdGeom, UsdSkel, UsdValidation  # noqa: E402


class Read:
    """A stage, and each person's skeleton as UsdSkel evaluates it."""

    def __init__(self, path):
        self.stage = Usd.Stage.Open(str(path))
        self.rate = self.stage.GetTimeCodesPerSecond()
        self.cache = UsdSkel.Cache()
        for root in self.roots():
            assert self.cache.Populate(UsdSkel.Root(root), Usd.PrimDefaultPredicate)

    def roots(self):
        return [prim for prim in self.stage.Traverse() if prim.IsA(UsdSkel.Root)]

    def joints(self, root, time_s):
        query = self.cache.GetSkelQuery(UsdSkel.Skeleton(root.GetChild("skeleton")))
        return np.array(query.ComputeJointSkelTransforms(time_s * self.rate))[:, 3, :3]

    def surface(self, root, time_s):
        query = self.cache.GetSkelQuery(UsdSkel.Skeleton(root.GetChild("skeleton")))
        mesh, at = root.GetChild("body"), time_s * self.rate
        points = UsdGeom.Mesh(mesh).GetPointsAttr().Get()
        moves = query.ComputeSkinningTransforms(at)
        assert self.cache.GetSkinningQuery(mesh).ComputeSkinnedPoints(moves, points, at)
        return np.array(points)


def complaints(path):
    """What usd-core's validators have to say."""
    every = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    errors = UsdValidation.ValidationContext(every).Validate(Usd.Stage.Open(str(path)))
    return [f"{error.GetName()}: {error.GetMessage()}" for error in errors]


@settings(max_examples=10)
@given(MOTIONS)
def test_usd_moves_as_the_tracks_do_with_a_sample_at_each_rows_own_time(tmp_path_factory, motion):
    folder = tmp_path_factory.mktemp("usd")
    tracks, rows = random_motion(folder, *motion)
    convert(tracks, folder / "o.usdc")
    read = Read(folder / "o.usdc")
    (root,) = read.roots()
    samples = UsdSkel.Animation(root.GetChild("animation")).GetRotationsAttr().GetTimeSamples()
    np.testing.assert_allclose(np.array(samples) / read.rate, rows.time_s, atol=1e-9)
    assert read.stage.GetStartTimeCode() / read.rate == pytest.approx(rows.time_s[0])
    assert read.stage.GetEndTimeCode() / read.rate == pytest.approx(rows.time_s[-1])
    for time_s in (rows.time_s[0], rows.time_s[-1], (rows.time_s[0] + 2 * rows.time_s[-1]) / 3):
        np.testing.assert_allclose(read.joints(root, time_s), truth_at(rows, time_s) * [1, -1, -1], atol=1e-4)
    last, body = rows[-1:], load_body("open-body")
    whole = body.surface(last.global_orient, last.body_pose, last.betas, last.transl)[0][0] * [1, -1, -1]
    surface = read.surface(root, rows.time_s[-1])
    np.testing.assert_allclose(surface, whole, atol=2e-3)
    low, high = np.array(UsdGeom.Boundable(root).GetExtentAttr().Get())
    assert (low <= surface).all() and (surface <= high).all()


def test_people_have_the_same_bones_and_are_seen_when_they_are_there(tmp_path):
    ids, frames = [1] * 10 + [2] * 5, [*range(10), *range(60, 65)]
    tracks = save(tmp_path / "a.npz", frames, ids, turn=[np.pi, 0, 0], transl=[0, 0, 5])
    assert convert(tracks, tmp_path / "o.usda").files == [tmp_path / "o.usda"]
    assert (tmp_path / "o.usda").read_bytes().startswith(b"#usda 1.0") and complaints(tmp_path / "o.usda") == []
    read = Read(tmp_path / "o.usda")
    stage = read.stage
    assert UsdGeom.GetStageUpAxis(stage) == "Y" and UsdGeom.GetStageMetersPerUnit(stage) == 1
    assert read.rate == RATE and stage.GetDefaultPrim().GetPath() == "/World"
    one, two = (UsdSkel.Skeleton(root.GetChild("skeleton")) for root in read.roots())
    assert one.GetJointsAttr().Get() == two.GetJointsAttr().Get()
    assert [path.rpartition("/")[2] for path in one.GetJointsAttr().Get()] == SMPL_JOINTS
    assert UsdSkel.Topology(one.GetJointsAttr().Get()).Validate() == (True, "")
    parents = UsdSkel.Topology(one.GetJointsAttr().Get()).GetParentIndices()
    assert tuple(parents) == load_body("open-body").parents
    for time_s, seen in ((0.1, [True, False]), (0.5, [False, False]), (1.05, [False, True])):
        shown = [UsdGeom.Imageable(root).ComputeVisibility(time_s * RATE) for root in read.roots()]
        assert shown == ["inherited" if each else "invisible" for each in seen]


def test_the_usd_camera_sees_people_where_the_video_did(tmp_path):
    tracks = save(tmp_path / "a.npz", range(40), [1] * 40, turn=[2.8, 0.3, 0.1], transl=[0.8, -0.3, 4.0])
    rows, body = read_tracks(tracks)[:1], load_body("open-body")
    joints = body.joints(rows.global_orient, rows.body_pose, rows.betas, rows.transl)
    truth = project(joints, rows.focal_px, (640, 360))[0]
    convert(tracks, tmp_path / "o.usd", ConvertOptions("usd", up="0.2,-0.9,-0.3"))
    read = Read(tmp_path / "o.usd")
    camera = UsdGeom.Camera(read.stage.GetPrimAtPath("/World/camera")).GetCamera(0)
    matrix = camera.frustum.ComputeViewMatrix() * camera.frustum.ComputeProjectionMatrix()
    (root,) = read.roots()
    seen = np.array([matrix.Transform(Gf.Vec3d(*map(float, joint))) for joint in read.joints(root, 0.0)])
    np.testing.assert_allclose(640 * (1 + seen[:, 0]), truth[:, 0], atol=0.1)
    np.testing.assert_allclose(360 * (1 - seen[:, 1]), truth[:, 1], atol=0.1)


def test_a_file_for_each_person_without_surface_and_what_is_refused(tmp_path):
    tracks = save(tmp_path / "a.npz", [0, 1, 0, 1], [1, 1, 3, 3], turn=[np.pi, 0, 0], transl=[0, 0, 5])
    options = ConvertOptions("usd", per_person=True, skeleton_only=True)
    files = convert(tracks, tmp_path / "out", options).files
    assert [file.name for file in files] == ["a_track0001.usd", "a_track0003.usd"]
    for file in files:
        read = Read(file)
        assert len(read.roots()) == 1 and complaints(file) == []
        assert not any(prim.IsA(UsdGeom.Mesh) for prim in read.stage.Traverse())
    with pytest.raises(UsageError, match=r"o.obj: the ending tells how to write it; choose one of .usd, .usda, .usdc"):
        convert(tracks, tmp_path / "o.obj", ConvertOptions("usd"))
    odd = tmp_path / os.fsdecode(b"\xff") / "o.usd"
    with pytest.raises(OutputError, match=r"cannot write it \(usd-core takes only folders whose names are UTF-8\)"):
        convert(tracks, odd)
    before = sorted(tmp_path.iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(OutputError, match=r"cannot write it .*File too large"):
            convert(tracks, tmp_path / "o.usd", ConvertOptions("usd"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(tmp_path.iterdir()) == before
