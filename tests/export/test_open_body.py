import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cliffvid.export.open.body import JOINTS, exact_product, rotation_between, solve, straightening
from cliffvid.export.open.landmarks import AT_JOINT, place_landmarks
from cliffvid.export.open.makehuman import ordered_sum, poles, shares, target_shares
from cliffvid.export.open.sources import OPEN
from cliffvid.models.manifest import BUNDLED

SMPL_PARENTS = [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21]
MIRRORED = [0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20, 23, 22]


@pytest.fixture(scope="module")
def body():
    with np.load(BUNDLED / "open-body" / "body.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module")
def joints(body):
    return body["J_regressor"].astype(np.float64) @ body["v_template"].astype(np.float64)


def skin(body, rotations, betas):
    """Posed vertices by the definition of SMPL's format, joint by joint, float64."""
    shaped = body["v_template"].astype(np.float64) + body["shapedirs"].astype(np.float64) @ betas
    rest = body["J_regressor"].astype(np.float64) @ shaped
    turned, place = [rotations[0]], [rest[0]]
    for joint in range(1, 24):
        parent = int(body["kintree_table"][0, joint])
        turned.append(turned[parent] @ rotations[joint])
        place.append(place[parent] + turned[parent] @ (rest[joint] - rest[parent]))
    moved = [(shaped - rest[joint]) @ turned[joint].T + place[joint] for joint in range(24)]
    return sum(body["weights"][:, joint, None].astype(np.float64) * moved[joint] for joint in range(24))


def test_has_the_arrays_of_an_smpl_file(body):
    count = len(body["v_template"])
    expected = {
        "v_template": ("float32", (count, 3)),
        "f": ("int32", (27036, 3)),
        "shapedirs": ("float32", (count, 3, 10)),
        "J_regressor": ("float32", (24, count)),
        "weights": ("float32", (count, 24)),
        "posedirs": ("float32", (count, 3, 207)),
        "kintree_table": ("int64", (2, 24)),
        "joint_names": (body["joint_names"].dtype.name, (24,)),
        "src_vertex": ("int32", (count,)),
    }
    assert {name: (array.dtype.name, array.shape) for name, array in body.items()} == expected
    assert count == 13524 and body["joint_names"].tolist() == JOINTS
    assert all(np.isfinite(array).all() for array in body.values() if array.dtype.kind == "f")


def test_joint_tree_is_smpls(body):
    parents, own = body["kintree_table"]
    assert own.tolist() == list(range(24))
    assert parents.tolist() == [2**32 - 1, *SMPL_PARENTS[1:]]


def test_weights_are_shares_of_at_most_four_joints(body):
    weights = body["weights"]
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    assert (weights > 0).sum(axis=1).max() <= 4
    np.testing.assert_allclose(weights.sum(axis=0), weights.sum(axis=0)[MIRRORED], rtol=0.1)


def test_joint_regressor_is_affine_and_sparse(body):
    np.testing.assert_allclose(body["J_regressor"].sum(axis=1), 1, atol=1e-3)
    assert ((body["J_regressor"] != 0).sum(axis=1) <= 120).all()


def test_stands_upright_in_a_t_pose_with_its_left_at_plus_x(body, joints):
    named = dict(zip(JOINTS, joints, strict=True))
    assert 1.55 < np.ptp(body["v_template"][:, 1]) < 1.85
    assert np.abs(joints[0]).max() < 1e-3
    for side, sign in (("left", 1), ("right", -1)):
        arm = np.stack([named[f"{side}_{part}"] for part in ("shoulder", "elbow", "wrist", "hand")])
        assert (np.diff(arm[:, 0]) * sign > 0.05).all()
        assert np.ptp(arm[:, 1]) < 0.03 and np.ptp(arm[:, 2]) < 0.03
        leg = np.stack([named[f"{side}_{part}"] for part in ("hip", "knee", "ankle")])
        assert (np.diff(leg[:, 1]) < -0.3).all() and (leg[:, 0] * sign > 0.05).all()
        assert named[f"{side}_foot"][2] > named[f"{side}_ankle"][2] + 0.05  # faces +z
    np.testing.assert_allclose(joints, joints[MIRRORED] * [-1, 1, 1], atol=3e-3)


def test_faces_are_closed_and_look_outwards(body):
    corners = body["v_template"].astype(np.float64)[body["f"]]
    volume = np.linalg.det(corners).sum() / 6
    assert 0.04 < volume < 0.1  # cubic metres
    edges = np.concatenate([body["f"][:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))])
    assert len(np.unique(edges, axis=0)) == len(edges)  # no edge runs twice the same way


def test_betas_are_standard_deviations_of_orthogonal_shapes(body):
    shapes = body["shapedirs"].astype(np.float64).reshape(-1, 10)
    gram = shapes.T @ shapes
    size = np.sqrt(np.diag(gram))
    assert (np.diff(size) < 0).all()  # biggest first
    assert np.abs(gram / np.outer(size, size) - np.eye(10)).max() < 1e-3
    top = body["v_template"][:, 1].argmax()
    assert (body["shapedirs"][top, 1] >= 0).all()


def test_skinning(body, joints):
    rest = [np.eye(3)] * 24
    np.testing.assert_allclose(skin(body, rest, np.zeros(10)), body["v_template"], atol=1e-6)
    rng = np.random.default_rng(0)
    betas = rng.normal(size=10)
    turn = Rotation.from_rotvec(rng.normal(size=3)).as_matrix()
    still = skin(body, rest, betas)
    shaped = body["v_template"] + body["shapedirs"] @ betas
    np.testing.assert_allclose(still, shaped, atol=1e-5)
    pelvis = (body["J_regressor"].astype(np.float64) @ shaped)[0]
    turned = skin(body, [turn, *rest[1:]], betas)
    np.testing.assert_allclose(turned, (still - pelvis) @ turn.T + pelvis, atol=1e-5)
    bent = skin(body, [*rest[:18], turn, *rest[19:]], np.zeros(10))  # left elbow: nothing but forearm and hand moves
    moved = np.linalg.norm(bent - body["v_template"], axis=1) > 5e-3  # the rig has 11 stray weights of up to 0.5 %
    assert moved.any() and (body["v_template"][moved, 0] > joints[16, 0]).all()


def test_shapes_keep_the_joints_inside_the_body(body, joints):
    """What the manifest says of the regressor: joints of a shape are near the middle of the flesh around them."""
    for joint in (4, 5, 18, 19):  # knees, elbows: the mean of a thin slice of the limb is the limb's axis
        for betas in (np.zeros(10), np.eye(10)[0] * 2, -np.eye(10)[1] * 2):
            shaped = body["v_template"] + body["shapedirs"] @ betas
            place = body["J_regressor"].astype(np.float64) @ shaped
            axis = 1 if joint in (4, 5) else 0
            own = (body["weights"][:, joint] > 0.2) & (np.abs(shaped[:, axis] - place[joint, axis]) < 0.02)
            assert np.linalg.norm(shaped[own].mean(axis=0) - place[joint]) < 0.03


def test_landmarks_lie_where_their_names_say(body, joints):
    landmarks = place_landmarks({name: array for name, array in body.items() if name != "posedirs"})
    points = landmarks.points_m
    np.testing.assert_allclose(landmarks.joints_m, joints, atol=1e-12)
    assert all(landmarks.joint[landmark] == joint for landmark, joint in AT_JOINT.items())
    for left, right in [(1, 4), (2, 5), (3, 6), *((number, number + 1) for number in [7, 9, *range(11, 33, 2)])]:
        assert points[left, 0] > 0 > points[right, 0]
        np.testing.assert_allclose(points[left], points[right] * [-1, 1, 1], atol=0.015)
    assert points[0, 2] == points[:11, 2].max()  # the nose is foremost
    assert points[1, 0] < points[2, 0] < points[3, 0] < points[7, 0]  # inner eye to ear
    assert points[9, 1] < points[0, 1] < points[2, 1]  # mouth, nose, eyes
    assert points[21, 2] > points[19, 2] > points[17, 2]  # thumb, index, little finger: palms down
    assert (points[[17, 19, 21], 0] > points[15, 0]).all()
    assert points[31, 2] > points[27, 2] > points[29, 2]  # toe, ankle, heel
    assert points[29, 1] < points[27, 1]
    grown = landmarks.points_m + landmarks.point_directions_m @ (np.eye(10)[0] * 2)
    assert np.ptp(grown[:, 1]) > np.ptp(points[:, 1]) + 0.05  # beta 0 is mostly height


# Lengths over that of the thigh, between landmarks of four cameras' views of two scenes: single person, several people.
MEASURED = {
    (23, 24): (0.46, 0.49), (11, 13): (0.67, 0.72), (13, 15): (0.66, 0.61), (25, 27): (0.91, 0.88),
    (27, 31): (0.47, 0.45), (27, 29): (0.21, 0.19),
}  # fmt: skip


def test_landmarks_are_as_far_apart_as_on_real_people(body):
    points = place_landmarks({name: array for name, array in body.items() if name != "posedirs"}).points_m
    for right in (0, 1):
        thigh = np.linalg.norm(points[23 + right] - points[25 + right])
        for (one, other), measured in MEASURED.items():
            ends = (one, other) if other == 24 else (one + right, other + right)
            length = np.linalg.norm(np.subtract(*points[list(ends)])) / thigh
            assert min(measured) - 0.03 < length < max(measured) + 0.03, ends


def test_sums_without_blas():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 7))
    np.testing.assert_allclose(ordered_sum(rows), rows.sum(axis=0), atol=1e-12)
    root = rng.normal(size=(20, 34))
    matrix, right = root.T @ root + 0.1 * np.eye(34), rng.normal(size=34)
    np.testing.assert_allclose(solve(matrix, right), np.linalg.solve(matrix, right), atol=1e-9)
    left, other = rng.integers(-(2**20), 2**20, (5, 300)), rng.integers(-(2**20), 2**20, (300, 6))
    exact = [[sum(int(a) * int(b) for a, b in zip(row, column, strict=True)) for column in other.T] for row in left]
    assert exact_product(left, other).astype(np.int64).tolist() == exact


def test_rotation_between_is_the_least_one():
    rng = np.random.default_rng(0)
    for start, end in rng.normal(size=(20, 2, 3)):
        rotation = rotation_between(start, end)
        np.testing.assert_allclose(rotation @ start / np.linalg.norm(start), end / np.linalg.norm(end), atol=1e-12)
        angle = np.arccos(start @ end / np.linalg.norm(start) / np.linalg.norm(end))
        np.testing.assert_allclose(Rotation.from_matrix(rotation).magnitude(), angle, atol=1e-6)


def test_straightening_brings_limbs_to_the_t_pose():
    rng = np.random.default_rng(0)
    rotations = straightening(rng.normal(size=(24, 3)))
    for rotation in rotations:
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(rotation) > 0


def test_ankles_point_twelve_degrees_outwards():
    joints = np.random.default_rng(0).normal(size=(24, 3))
    for ankle, sign in ((7, 1), (8, -1)):
        joints[ankle + 3] = joints[ankle] + [0.3, -0.2, 0.8]
        foot = straightening(joints)[ankle] @ [0.3, -0.2, 0.8]
        np.testing.assert_allclose(np.degrees(np.arctan2(foot[0], foot[2])), 12 * sign, atol=1e-9)


def test_macro_shares():
    assert poles(0.25, (0, "low"), (0.5, "middle"), (1, "high")) == [("low", 0.5), ("middle", 0.5)]
    assert poles(0.5, (0, "low"), (0.5, "middle"), (1, "high")) == [("middle", 1.0)]
    assert poles(1.0, (0, "low"), (0.5, "middle"), (1, "high")) == [("high", 1.0)]
    with pytest.raises(ValueError, match=r"1\.5 is outside"):
        poles(1.5, (0, "low"), (1, "high"))
    shape = {"male": 0.3, "age": 0.6, "muscle": 0.2, "weight": 0.9, "height": 0.4, "proportions": 0.7}
    found = target_shares(shape | {"african": 0.2, "asian": 0.3, "caucasian": 0.5})
    for prefix, total in (("universal-", 1), ("height/", 0.2), ("proportions/", 0.4)):
        np.testing.assert_allclose(sum(share for name, share in found if name.startswith(prefix)), total)
    ancestry = [share for name, share in found if name.split("-")[0] in ("african", "asian", "caucasian")]
    np.testing.assert_allclose(sum(ancestry), 1)
    assert dict(found)["asian-female-young"] == pytest.approx(0.3 * 0.7 * 0.8)


def test_samples_are_adults_of_all_kinds():
    rows = (OPEN / "body_samples.csv").read_text().splitlines()
    assert rows[0] == "male,age,muscle,weight,height,proportions,african,asian,caucasian"
    values = np.array([[float(word) for word in row.split(",")] for row in rows[1:]])
    assert values.shape == (400, 9) and values.min() >= 0 and values.max() <= 1 and values[:, 1].min() >= 0.5
    np.testing.assert_allclose(values[:, 6:].sum(axis=1), 1, atol=2e-6)
    assert 0.4 < values[:, 0].mean() < 0.6


def test_shares_add_up():
    rows = shares(np.random.default_rng(0).random((5, 24)))
    np.testing.assert_allclose(rows.sum(axis=1), 1)


def test_manifest_says_what_the_body_is(body):
    manifest = json.loads((BUNDLED / "open-body" / "manifest.json").read_text())
    assert "13,524" in manifest["summary"] and manifest["licence"].startswith("CC0")
