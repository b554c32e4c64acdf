import numpy as np
import pytest

import reference
from cliffvid.body import load_body


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
