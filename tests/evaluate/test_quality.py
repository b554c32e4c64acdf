import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cliffvid.evaluate.quality import compare, take_samples
from cliffvid.models.manifest import BUNDLED, read_manifest
from cliffvid.models.session import open_session
from cliffvid.options import Options


class Said:
    """Stands for a session whose answers are known."""

    def __init__(self, **answer):
        self.answer = answer

    def run(self, inputs):
        return self.answer


def bodies(count, presence, **more):
    turned = Rotation.random(count * 24, rng=0).as_matrix().reshape(count, 24, 3, 3)
    said = {"rotmat": turned, "betas": np.zeros((count, 10)), "camera": np.ones((count, 3)), "presence": presence}
    return {name: np.asarray(array, np.float32) for name, array in (said | more).items()}


def test_angles_are_those_between_rotations_of_people_that_both_see():
    manifest = read_manifest(BUNDLED / "cliff-open")
    wanted = bodies(4, [0.9, 0.9, 0.9, 0.1])
    angles_deg = np.full((4, 24), 0.25)
    angles_deg[2, :3] = 0.001, 30, 179.5
    angles_deg[3] = 90  # in whom nobody is seen
    axes = Rotation.random(96, rng=1).as_matrix()[:, 0]
    turns = Rotation.from_rotvec(axes * np.radians(angles_deg.reshape(96, 1))).as_matrix().reshape(4, 24, 3, 3)
    found = bodies(4, [0.9, 0.9, 0.6, 0.1], rotmat=wanted["rotmat"] @ turns, betas=np.full((4, 10), 0.125))
    figures = compare(manifest, Said(**wanted), Said(**found), [{}, {}])
    assert figures["persons"] == 6 and figures["persons_changed_percent"] == 0
    assert figures["rotation_median_deg"] == pytest.approx(0.25, abs=1e-3)
    assert figures["rotation_p99_deg"] == pytest.approx(np.quantile(np.tile(angles_deg[:3], (2, 1)), 0.99), abs=0.01)
    assert figures["betas_p99"] == 0.125 and figures["camera_p99"] == 0
    lost = compare(manifest, Said(**wanted), Said(**found | {"presence": np.float32([0.9, 0.4, 0.6, 0.8])}), [{}])
    assert lost["persons"] == 3 and lost["persons_changed_percent"] == pytest.approx(100 * 2 / 3)


def test_people_missed_and_made_up_are_counted_and_moves_told():
    manifest = read_manifest(BUNDLED / "yolov3-tiny")
    boxes = np.float32([[0, 0, 40, 100], [100, 0, 140, 100], [200, 0, 240, 100], [300, 0, 340, 100]])
    moved = boxes + np.float32([[0, 0, 0, 0], [0, 0, 0, 2], [0, 0, 0, 0], [0, 0, 0, 0]])
    sure, ones = np.float32([0.9, 0.8, 0.7, 0.1]), np.ones(4, np.float32)
    wanted = Said(box_px=boxes[None], objectness=sure[None], class_prob=ones[None])
    # the third is missed, the fourth made up; order does not matter
    found = Said(box_px=moved[None, ::-1], objectness=np.float32([[0.6, 0.2, 0.8, 0.9]]), class_prob=ones[None])
    figures = compare(manifest, wanted, found, [{}])
    assert figures["persons"] == 3
    assert figures["missed_percent"] == figures["extra_percent"] == pytest.approx(100 / 3)
    assert figures["persons_changed_percent"] == pytest.approx(200 / 3)
    assert figures["box_shift_median_percent"] == pytest.approx(1) and figures["box_shift_p99_percent"] > 1.9
    none = Said(box_px=boxes[None], objectness=0 * sure[None], class_prob=ones[None])
    assert compare(manifest, none, none, [{}])["persons_changed_percent"] == 0


def test_samples_are_what_the_networks_of_a_run_were_asked(toys, clip):
    with (
        open_session(read_manifest(toys / "toy-detector")) as detector,
        open_session(read_manifest(toys / "toy-regressor")) as regressor,
    ):
        samples = take_samples(clip, detector, regressor, Options())
    assert sum(len(batch["image"]) for batch in samples.frames) == 30
    crops = np.concatenate([batch["crop"] for batch in samples.crops])
    assert len(crops) == 90 and {"crop", "bbox_info"} == set(samples.crops[0])
    assert len(np.unique(crops[:, 16, 12] // 64, axis=0)) == 3  # each of the three people's colours in the middle
