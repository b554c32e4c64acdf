"""The judge of accuracy against scenes whose cameras and people are known."""

from argparse import Namespace
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bench.accuracy import calibrate, confidence, labels, rows, run
from bench.accuracy.__main__ import versions_of
from bench.accuracy.adjust import adjusted
from bench.accuracy.confidence import Estimates
from bench.accuracy.false_positives import agreed_on, of_nobody
from bench.accuracy.follow import Follower
from bench.accuracy.scenes import Camera, Scene, read_cameras
from bench.accuracy.score import Pairs, common, measure
from bench.accuracy.triangulate import agreed, left_out, off_px, triangulate
from bench.accuracy.truth import HIPS, JOINTS, People, smoothed
from cliffvid.evaluate.ground_truth import Truth
from cliffvid.geometry import project
from cliffvid.models.body import load_body
from cliffvid.models.manifest import Manifest
from cliffvid.tables import IMPLAUSIBLE
from cliffvid.tracks.read import read_tracks
from clips import make_clip
from scenes import people
from track_files import make_tracks

SIZE = (1080, 1920)
FOCAL_PX = 1700.0


def camera_at(degrees: float, far_m: float = 4.0, height_m: float = 1.5) -> Camera:
    """A camera on a circle about the world's upright z axis that looks at a point one metre up; with a bent lens."""
    angle = np.radians(degrees)
    centre = np.array([far_m * np.cos(angle), far_m * np.sin(angle), height_m])
    forward = np.array([0, 0, 1.0]) - centre
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    turn = np.stack([right, np.cross(forward, right), forward])
    matrix = np.array([[FOCAL_PX, 0, 530], [0, FOCAL_PX, 950], [0, 0, 1]])
    return Camera(f"cam{degrees}", matrix, np.array([-0.05, 0.1, 1e-3, 5e-4, 0]), turn, -(turn @ centre))


CAMERAS = [camera_at(degrees) for degrees in (0, 80, 170, 250)]


def views(points):
    return np.stack([camera.project(points) for camera in CAMERAS])


@pytest.fixture
def cloud():
    return np.random.default_rng(0).uniform([-0.5, -0.5, 0.2], [0.5, 0.5, 1.8], (300, 3))


def test_a_calibration_of_qualisys_is_read():
    """Three metres above the ground and looking down along -z, with y up in the picture; millimetres, 64ths."""
    turn = " ".join(f'r{a}{b}="{float(a == b)}"' for a in (1, 2, 3) for b in (1, 2, 3))
    lens = 'focalLengthU="64000" focalLengthV="64000" centerPointU="32000" centerPointV="38400"'
    bends = " ".join(f'{kind}Distortion{k}="0"' for kind in ("radial", "tangental") for k in (1, 2, 3))
    text = f'<c><camera serial="a"><transform {turn} x="0" y="0" z="3000"/><intrinsic {lens} {bends}/></camera></c>'
    (camera,) = read_cameras(text)
    assert camera.name == "a" and camera.focal_px == 1000
    assert camera.seen(np.array([0.3, 0.6, 0.0])) == pytest.approx([0.3, -0.6, 3.0])
    assert camera.project(np.array([0.3, 0.6, 0.0])) == pytest.approx([500 + 100, 600 - 200])


def test_triangulation_recovers_points_through_a_bent_lens(cloud):
    assert triangulate(CAMERAS, views(cloud)) == pytest.approx(cloud, abs=1e-6)
    assert np.isnan(triangulate(CAMERAS[:2], np.full((2, 1, 2), np.nan))).all()


def test_views_that_do_not_agree_are_left_out(cloud):
    pixels = views(cloud)
    pixels[2, :100] += [300, -200]  # one view is wrong
    pixels[:2, 100:200, 1] += [[250], [-260]]  # two are
    pixels[0, 200:250] = np.nan  # one does not see it
    points, used = agreed(CAMERAS, pixels)
    assert points[:100] == pytest.approx(cloud[:100], abs=1e-6)
    assert (used[:, :100] == [[True], [True], [False], [True]]).all()
    assert np.isnan(points[100:200]).all() and not used[:, 100:200].any()
    assert points[200:] == pytest.approx(cloud[200:], abs=1e-6)
    assert (used[:, 200:250] == [[False], [True], [True], [True]]).all() and used[:, 250:].all()


def test_leaving_one_camera_out_tells_the_error_put_in(cloud):
    rng = np.random.default_rng(1)
    pixels = views(cloud) + rng.normal(0, 3.0, (4, len(cloud), 2))
    points, used = agreed(CAMERAS, pixels)
    off, error = left_out(CAMERAS, pixels, used)
    true = np.linalg.norm(points - cloud, axis=1)
    assert 1 < np.sqrt((error**2).mean() / (true**2).mean()) < 1.3  # a jackknife does not flatter
    assert np.abs(np.median(off, axis=1)).max() < 1.5
    pixels[1, :, 0] += 12  # one camera's picture is shifted
    assert np.median(left_out(CAMERAS, pixels, used)[0][1], axis=0) == pytest.approx([-12, 0], abs=1.5)


def test_cameras_are_moved_to_where_their_views_meet(cloud):
    """Turned and moved a little each; what no picture tells, the whole's place, turn and scale, stays as given."""
    rng = np.random.default_rng(6)
    given = []
    for camera in CAMERAS:
        turn = Rotation.from_rotvec(rng.normal(0, 0.003, 3)).as_matrix() @ camera.turn
        given.append(replace(camera, turn=turn, move=-turn @ (camera.centre + rng.normal(0, 0.015, 3))))
    pixels = views(cloud)
    before = off_px(given, triangulate(given, pixels), pixels)
    moved = adjusted(given, pixels)
    points = triangulate(moved, pixels)
    after = off_px(moved, points, pixels)
    assert np.median(before) > 1.5 and np.median(after) < 0.05
    apart = [np.linalg.norm(each.centre - camera.centre) for each, camera in zip(moved, given, strict=True)]
    assert np.max(apart) < 0.08
    sizes = [np.linalg.norm(each - each.mean(axis=0)) for each in (points, cloud)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.01)


def test_points_are_smoothed_and_only_short_gaps_filled():
    rate, frames = 60.0, 60
    line = (np.arange(frames) / rate)[:, None, None] * [[[1.0, -0.5, 0.2]]] + 1
    seen = line + np.random.default_rng(2).normal(0, 0.02, line.shape)
    seen[20:23], seen[35:50], seen[:2] = np.nan, np.nan, np.nan
    found = smoothed(seen, rate)
    assert np.flatnonzero(np.isnan(found[:, 0, 0])).tolist() == [0, 1, *range(35, 50)]
    off = np.sqrt(np.nanmean((found - line) ** 2))
    assert off < 0.65 * 0.02 and np.abs(found - line)[20:23].max() < 0.04


class Ideal:
    """Landmarks of whoever is nearest to where they are looked for, as each camera sees them."""

    def __init__(self, images, standing):
        self.camera = {id(image): camera for image, camera in zip(images, CAMERAS, strict=True)}
        self.standing = standing

    def find(self, image, around, passes=1):
        middle = (np.nanmin(around, axis=0) + np.nanmax(around, axis=0)) / 2
        seen = [self.camera[id(image)].project(person) for person in self.standing]
        return min(seen, key=lambda points: np.linalg.norm(points.mean(axis=0) - middle))


def test_people_are_followed_from_one_good_moment_on():
    shape = np.random.default_rng(3).uniform([-0.2, -0.2, 0.1], [0.2, 0.2, 1.7], (33, 3))
    images = [np.zeros((*SIZE[::-1], 3), np.uint8) for _ in CAMERAS]
    ideal = Ideal(images, [])
    follower = Follower(Scene("made", tuple(CAMERAS), ()), ideal)
    truth = []
    for frame in range(9):
        ideal.standing = [shape + [0.02 * frame - 0.6, 0.3, 0], shape + [0.5, -0.02 * frame, 0]]
        truth.append(ideal.standing)
        seeds = [np.zeros((0, 4))] * 4
        if frame in (2, 5):  # three views, one person after the other
            who = ideal.standing[0 if frame == 2 else 1]
            boxes = [
                np.hstack([camera.project(who).min(axis=0), camera.project(who).max(axis=0)]) for camera in CAMERAS
            ]
            seeds = [boxes[0][None], np.zeros((0, 4)), boxes[2][None], boxes[3][None]]
        follower.step(frame, images, seeds)
    first, second = follower.people
    assert first.frame_idx == list(range(2, 9)) and second.frame_idx == list(range(5, 9))
    for number, person in enumerate((first, second)):
        for frame, points in zip(person.frame_idx, person.points, strict=True):
            assert points == pytest.approx(truth[frame][number], abs=1e-6)


def truth_of(joints, evaluated, boxes=None, frames=None):
    count = len(joints)
    return Truth(
        name="made",
        dataset="pose2sim",
        frame_idx=np.arange(count) if frames is None else frames,
        person=np.zeros(count, int),
        evaluated=np.array(evaluated, bool),
        bbox_xyxy=np.zeros((count, 4)) if boxes is None else boxes,
        joints_m=joints,
        focal_px=np.full(count, FOCAL_PX),
        size_wh=SIZE,
        surface=None,
        no_surface="",
        everybody=True,
    )


def test_scores_of_known_errors():
    """Larger by a tenth and turned: nothing is left once aligned; depth is what was put in."""
    rng = np.random.default_rng(4)
    joints = rng.normal(0, 0.4, (6, 12, 3)) + [0, 0, 5]
    turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    found = 1.1 * joints[:4] @ turn.T
    facts = measure(truth_of(joints, [1, 1, 1, 1, 1, 0]), Pairs(np.arange(4), found, np.arange(1))).facts("made")
    hips = joints[:4, HIPS].mean(axis=1, keepdims=True)
    off = 1.1 * (joints[:4] - hips) @ turn.T - (joints[:4] - hips)
    assert facts["pa_mpjpe_mm"] == pytest.approx(0, abs=1e-6)
    assert facts["mpjpe_mm"] == pytest.approx(1000 * np.linalg.norm(off, axis=2).mean())
    assert (facts["people"], facts["found"], facts["recall"], facts["precision"]) == (5, 4, 0.8, 0.8)
    assert facts["depth_ratio"] == pytest.approx(1.1) and facts["found_besides"] == 1


def test_confidence_is_judged_and_calibrated():
    """Logits that are twice too large and one too low are found so; then shares are as told."""
    rng = np.random.default_rng(5)
    joints, whole = rng.normal(0, 2, 12 * 4000), rng.normal(0, 2, 4000)
    made = {
        "joint_confidence": Estimates(
            2 * joints - 1, np.where(rng.random(48000) < calibrate.sigmoid(joints), 0.05, 0.2)
        ),
        "confidence": Estimates(2 * whole - 3, np.where(rng.random(4000) < calibrate.sigmoid(whole), 0.05, 0.2)),
    }
    numbers = calibrate.fit([made])
    assert numbers == pytest.approx([0.5, 0.5, 1.5], abs=0.06)
    good = calibrate.calibrated(made, numbers)["joint_confidence"]
    facts = confidence.facts("made", good)
    assert facts["calibration_error"] < 0.015 and facts["rank"] > 0.5
    assert facts["brier"] < 0.75 * facts["brier_of_share"]
    bad = confidence.facts("made", Estimates(0.9 + 1e-9 * rng.random(48000), good.off_m))
    assert bad["calibration_error"] == pytest.approx(0.9 - facts["near"])
    assert bad["brier"] == pytest.approx(facts["near"] * 0.01 + (1 - facts["near"]) * 0.81)


class Seer:
    """Landmarks at the box's corners, but nobody in boxes that begin at x = 0, and in wide ones another person's."""

    def find(self, image, around, passes=1):
        if around[0, 0] == 0:
            return None
        return np.array(OTHER).reshape(2, 2) if np.ptp(around[:, 0]) > 50 else around


OTHER = [60.0, 20.0, 90.0, 90.0]


def test_rows_of_nobody_are_told_from_those_of_people_who_are_not_known(tmp_path):
    film = make_clip(tmp_path / "film.mp4", frames=3)
    truth = truth_of(np.zeros((2, 12, 3)), [1, 0], np.array([OTHER, [np.nan] * 4]), np.array([1, 2]))
    table = read_tracks(make_tracks(tmp_path / "made.npz", film, [[0, 0, 5.0]] * 4, frames=3))
    table.bbox_xyxy[:] = np.tile([[0, 5, 30, 60], [10, 5, 30, 60], [10, 5, 90, 60], OTHER], (3, 1))
    wrong = of_nobody(film, truth, table, np.arange(1, 12), Seer())  # all rows but the first
    assert wrong.tolist() == [4, 6, 7, 8]  # of the others some are of people whom the truth does not have


def test_who_stands_where_three_cameras_agree_is_no_false_positive(tmp_path):
    """The middle of each box sees the person; a box a metre beside it does not, and two cameras are too few."""
    table = read_tracks(make_tracks(tmp_path / "made.npz", tmp_path / "made.mp4", [[0, 0, 5.0]] * 2, frames=2))

    def seen(place, camera):
        u, v = camera.project(np.array([place]))[0]
        return [u - 150, v - 350, u + 150, v + 350]

    here, known = [0.3, -0.2, 1.0], [-0.9, 1.1, 1.0]
    tables = [replace(table, bbox_xyxy=np.zeros((4, 4), np.float32)) for _ in CAMERAS]
    for c, camera in enumerate(CAMERAS):
        there = known if c == 3 else here
        boxes = [seen(here, camera), seen([1.6, 0.6, 1.0], camera) if c == 1 else seen(known, camera)]
        tables[c].bbox_xyxy[:] = [boxes[0], boxes[1], seen(there, camera), boxes[1]]
    nobody = np.zeros((2, 33, 2))
    crowd = People(np.arange(2), np.zeros(2), np.tile(known, (2, 33, 1)), *[nobody] * 3)
    rows = [np.arange(4)] * 3 + [np.array([2, 3])]
    found = agreed_on(CAMERAS, crowd, tables, rows)
    assert [each.tolist() for each in found] == [[0, 2], [0, 2], [0, 2], []]
    assert not any(map(len, agreed_on(CAMERAS, crowd, tables, [rows[0], rows[1], rows[3][:0], rows[3]])))


def test_versions_are_compared_on_what_both_found():
    one = Pairs(np.array([0, 2, 5]), np.arange(3.0).reshape(3, 1, 1), np.arange(0))
    other = Pairs(np.array([2, 3, 5]), np.arange(3.0).reshape(3, 1, 1), np.arange(4))
    a, b = common([one, other])
    assert a.theirs.tolist() == b.theirs.tolist() == [2, 5]
    assert a.joints_m.ravel().tolist() == [1, 2] and b.joints_m.ravel().tolist() == [0, 2]


class Opened(NamedTuple):
    """What a session says of itself."""

    manifest: Manifest
    backend: str
    precision: str


def test_each_network_runs_as_asked_alone_and_with_the_other(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "open_session", lambda manifest, b, precision: Opened(manifest, b, precision))
    asked = Namespace(against=None, detector=["openvino:int8"], regressor=["openvino:bf16"])
    exact = "person-open fp32 by onnxruntime", "cliff-open fp32 by onnxruntime"
    other = "person-open int8 by openvino", "cliff-open bf16 by openvino"
    assert [version.words for version in versions_of(asked, tmp_path)] == [
        f"{detector} + {regressor}" for detector in (exact[0], other[0]) for regressor in (exact[1], other[1])
    ]


@pytest.fixture
def standing(tmp_path):
    """12 people who stand in a row before a camera, in one film, with boxes around what is posed."""
    places = [[0.6 * k - 3.3, 0.2, 9.0] for k in range(12)]
    table = read_tracks(make_tracks(tmp_path / "made.npz", tmp_path / "made.mp4", places, frames=1, focal_px=800.0))
    given = people(places)
    pixels = project(load_body("open-body").joints(*given), np.full(12, 800.0), (500, 400))
    table.bbox_xyxy[:] = np.hstack([pixels.min(axis=1), pixels.max(axis=1)])
    return table


def test_rows_that_nobody_can_have_are_found(standing):
    body = load_body("open-body")
    assert not np.any([*rows.implausible(standing, body, (1000, 800)).values()])
    standing.bbox_xyxy[2] += 200  # the box is elsewhere
    standing.global_orient[5] = [np.pi / 2, 0, 0]  # on the back, though the box is that of one who stands
    standing.transl[8] *= 2  # twice as far, so twice as large
    found = rows.implausible(standing, body, (1000, 800))
    assert np.flatnonzero(found["lying"]).tolist() == [5]
    assert np.flatnonzero(found["scale"]).tolist() == [8]
    standing.flags[5] = IMPLAUSIBLE
    facts = rows.facts("made", standing, body, (1000, 800))
    assert facts["implausible"] - 1 == facts["unflagged"] == np.any([*found.values()], axis=0).sum() - 1
    assert 2 in np.flatnonzero(found["apart"]) and not found["apart"][[0, 1, 3, 4, 6, 7, 9, 10, 11]].any()


def test_labels_give_recall_and_precision(standing):
    boxes = standing.bbox_xyxy[:8].tolist()
    frames = {"0": {"people_xyxy": [*boxes[:6], [5, 5, 30, 60]], "ignore_xyxy": boxes[6:]}}
    facts = labels.facts("made", labels.counts(labels.labelled("made", frames), standing))
    assert (facts["people"], facts["found"]) == (7, 6)
    assert facts["precision"] == pytest.approx(6 / 10)  # two of the twelve are to be ignored


def test_the_labels_shipped_are_boxes():
    for name, known in labels.read_labels().items():
        truth = labels.labelled(name, known["frames"])
        assert known["from"] and truth.evaluated.any()
        assert (truth.bbox_xyxy[:, :2] < truth.bbox_xyxy[:, 2:]).all()


def test_the_joints_compared_are_those_of_the_body():
    names = np.array(load_body("open-body").joint_names)[JOINTS].tolist()
    parts = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    assert [name.split("_")[-1] for name in names] == [part for part in parts for _ in range(2)]
    assert [name.split("_")[0] for name in names] == ["left", "right"] * 6
