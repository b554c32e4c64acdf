import numpy as np
import pytest

import needs
import reference
from bodies import body_arrays, save_npz
from cliffvid.errors import ModelError
from cliffvid.models.body import load_body, vertex_normals
from cliffvid.models.smpl_files import add_body
from cliffvid.rotations import rotation_matrix


@pytest.fixture(scope="module")
def body():
    return load_body("open-body")


def test_joints_are_those_of_the_slow_reference(body):
    rng = np.random.default_rng(0)
    pose, betas, transl = rng.normal(0, 0.7, (5, 24, 3)), rng.normal(0, 1, (5, 10)), rng.normal(0, 3, (5, 3))
    joints = body.joints(pose[:, 0], pose[:, 1:].reshape(5, 69), betas, transl)
    for got, turns, shape, shift in zip(joints, pose, betas, transl, strict=True):
        rest = body.rest_joints_m + body.joint_dirs_m @ shape
        np.testing.assert_allclose(got, reference.posed_joints(rest, body.parents, turns, shift), atol=1e-9)


def test_the_root_turns_about_the_resting_pelvis(body):
    betas = np.ones((1, 10))
    for turn in (np.zeros((1, 3)), np.array([[np.pi, 0, 0]])):
        joints = body.joints(turn, np.zeros((1, 69)), betas, np.array([[1.0, 2.0, 3.0]]))
        rest_pelvis = body.rest_joints_m[0] + body.joint_dirs_m[0] @ betas[0]
        np.testing.assert_allclose(joints[0, 0], rest_pelvis + [1, 2, 3], atol=1e-12)
    assert joints[0, 15, 1] < joints[0, 7, 1]  # turned by half about x, as people in a y-down camera: head above feet


def test_an_upright_person_of_human_size(body):
    rest = body.rest_joints_m
    assert 1.3 < rest[15, 1] - rest[7, 1] < 1.7  # head joint over ankle
    assert rest[1, 0] > 0 > rest[2, 0]  # the left hip is on +x, as in SMPL
    np.testing.assert_allclose(rest[[4, 7, 18]] * [-1, 1, 1], rest[[5, 8, 19]], atol=0.01)  # left mirrors right


@pytest.mark.parametrize("kind", ["smpl", "smplx"])
def test_licensed_bodies_move_as_their_own_package_moves_them(kind, tmp_path, monkeypatch):
    """Vertices and joints of synthetic body files against the package ``smplx``, within 0.01 mm."""
    smplx = needs.package("smplx")
    torch = needs.package("torch")

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    arrays = body_arrays(kind)
    load_body.cache_clear()
    add_body(save_npz(tmp_path / f"{kind.upper()}_NEUTRAL.npz", arrays))
    body = load_body(kind)
    load_body.cache_clear()
    rng = np.random.default_rng(1)
    moved, betas = (23, 10) if kind == "smpl" else (21, 11)
    pose = rng.normal(0, 0.5, (6, 1 + moved, 3)).astype(np.float32)
    shape = rng.normal(0, 1, (6, betas)).astype(np.float32)
    transl = rng.normal(0, 3, (6, 3)).astype(np.float32)
    turn = torch.from_numpy(rotation_matrix(pose)).float()
    given = {"global_orient": turn[:, :1], "body_pose": turn[:, 1:]}
    if kind == "smpl":
        other = smplx.SMPLLayer(model_path="", data_struct=smplx.utils.Struct(**arrays), num_betas=betas)
    else:
        empty = {"hands_componentsl": np.eye(45), "hands_componentsr": np.eye(45), "lmk_faces_idx": np.zeros(51, int)}
        more = {"hands_meanl": np.zeros(45), "hands_meanr": np.zeros(45), "lmk_bary_coords": np.ones((51, 3)) / 3}
        save_npz(tmp_path / "SMPLX_NEUTRAL.npz", arrays | empty | more)
        other = smplx.SMPLXLayer(str(tmp_path / "SMPLX_NEUTRAL.npz"), num_betas=betas, use_face_contour=False)
    with torch.no_grad():
        truth = other(betas=torch.from_numpy(shape), transl=torch.from_numpy(transl), **given)
    vertices, _ = body.surface(pose[:, 0], pose[:, 1:].reshape(6, -1), shape, transl)
    joints = body.joints(pose[:, 0], pose[:, 1:].reshape(6, -1), shape, transl)
    np.testing.assert_allclose(vertices, truth.vertices.numpy(), atol=1e-5)
    np.testing.assert_allclose(joints, truth.joints[:, : len(body.parents)].numpy(), atol=1e-5)


def test_the_surface_follows_its_bones_and_its_normals_point_outward(body):
    """Turned as one piece the surface is the resting one, turned; normals agree with those of the posed mesh."""
    rng = np.random.default_rng(2)
    turn, betas, transl = rng.normal(0, 1, (3, 3)), rng.normal(0, 1, (3, 10)), rng.normal(0, 1, (3, 3))
    still, posed = (body.surface(a, np.zeros((3, 69)), betas, transl) for a in (np.zeros((3, 3)), turn))
    pelvis = body.rest_joints(betas)[:, None, 0] + transl[:, None]
    rotation = rotation_matrix(turn)
    np.testing.assert_allclose(posed[0] - pelvis, (still[0] - pelvis) @ rotation.transpose(0, 2, 1), atol=2e-6)
    for vertices, normals in zip(*posed, strict=True):
        truth = vertex_normals(vertices.astype(float), body.faces)
        assert np.median((truth * normals).sum(axis=1)) > 0.96  # calmed for shading


def test_more_betas_or_joints_than_the_body_has_are_refused(body):
    with pytest.raises(ModelError, match="10 betas, the tracks have 11"):
        body.joints(np.zeros((1, 3)), np.zeros((1, 69)), np.zeros((1, 11)), np.zeros((1, 3)))
    with pytest.raises(ModelError, match="24 joints, the tracks have 25"):
        body.surface(np.zeros((1, 3)), np.zeros((1, 72)), np.zeros((1, 10)), np.zeros((1, 3)))


def test_coarser_levels_lie_on_the_whole_surface(body):
    """Fewer and fewer faces, of the same vertices; the area they cover shrinks by little; no face is a line."""
    rest = body.rest_m.reshape(3, -1).T.astype(float)

    def area(faces):
        a, b, c = (rest[faces[:, k]] for k in range(3))
        return np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2

    counts = [len(faces) for _, faces in body.levels]
    assert counts == sorted(counts, reverse=True) and counts[0] == len(body.faces) > 3 * counts[-1]
    for cell_m, faces in body.levels[1:]:
        assert area(faces) > 0.85 * area(body.faces)
        assert len(np.unique(np.sort(faces, axis=1), axis=0)) > 0.95 * len(faces)
        middles = rest[faces].mean(axis=1)[::40]
        near = np.linalg.norm(middles[:, None] - rest[None], axis=2).min(axis=1)
        assert near.max() < 3 * cell_m
