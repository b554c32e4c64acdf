import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from cliffvid import Options
from cliffvid.detect import DetectCounts, detect, letterboxed, select
from cliffvid.models import Letterbox, Manifest, Selection
from cliffvid.types import Frames


@given(
    st.integers(0, 40), st.sampled_from(["product", "objectness"]), st.sampled_from([0.0, 1.0]), st.integers(0, 10**6)
)
def test_selection_is_that_of_the_slow_reference(n, kind, offset, seed):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 60, (n, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 60, (n, 2))], axis=1).astype(np.float32)
    objectness, prob = rng.uniform(0, 1, (2, n)).astype(np.float32)
    score = objectness * prob if kind == "product" else objectness
    rows, scores, full = select(boxes, objectness, prob, Selection(kind, 0.3, 0.45, offset))
    good = np.flatnonzero(score > 0.3)
    want = good[reference.suppress(boxes[good].astype(float), score[good], 0.45, offset)]
    assert rows.tolist() == want.tolist()
    np.testing.assert_array_equal(scores, score[rows])
    assert full == (len(good) == n)


def test_equal_scores_keep_their_order():
    boxes = np.array([[0, 0, 10, 10], [100, 0, 110, 10], [0, 0, 10, 10]], np.float32)
    ones = np.ones(3, np.float32)
    assert select(boxes, ones, ones, Selection("product", 0.5, 0.45, 0))[0].tolist() == [0, 1]


class Network:
    """Answers three boxes to every frame: the second overlaps the first by a third, the third is alone and faint."""

    rules = {"letterbox": Letterbox(64, 64, "area", 128), "selection": Selection("objectness", 0.5, 0.3, 0)}  # noqa: RUF012
    manifest = Manifest(None, "network", "detect", "", "", 0, {}, rules=rules)

    def run(self, inputs):
        n = len(inputs["image"])
        box = np.array([[0, 0, 20, 40], [10, 0, 30, 40], [40, 0, 60, 40]], np.float32)
        objectness = np.array([0.9, 0.8, 0.4], np.float32)
        return {
            "box_px": np.tile(box, (n, 1, 1)),
            "objectness": np.tile(objectness, (n, 1)),
            "class_prob": np.ones((n, 3)),
        }


@pytest.mark.parametrize(
    ("options", "scores"),
    [
        (Options(), [0.9]),
        (Options(iou_max=0.4), [0.9, 0.8]),
        (Options(score=0.3), [0.9, 0.4]),
        (Options(score=0.85, iou_max=0.9), [0.9]),
    ],
)
def test_thresholds_are_the_manifests_unless_told(options, scores):
    frames = Frames(np.arange(2), np.arange(2), np.zeros(2), np.zeros(2, bool), np.zeros((2, 64, 64, 3), np.uint8))
    (found,) = detect(iter([frames]), Network(), options, DetectCounts())
    np.testing.assert_array_equal(found.people.det_score, np.float32(scores * 2))


def test_letterbox_leaves_the_margin_grey_and_the_picture_in_the_middle():
    frames = np.full((2, 50, 100, 3), 7, np.uint8)
    canvas = letterboxed(frames, Letterbox(64, 64, "area", 128))
    assert (canvas[:, 16:48] == 7).all() and (canvas[:, :16] == 128).all() and (canvas[:, 48:] == 128).all()
