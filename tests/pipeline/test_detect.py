import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from cliffvid import Options
from cliffvid.errors import UsageError
from cliffvid.models.manifest import Manifest, canvas_shape
from cliffvid.pipeline.detect import detect, select
from cliffvid.rules import Letterbox, Selection
from cliffvid.tables import Frames
from plane_frames import rgb_images


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=5),
    st.sampled_from(["product", "objectness"]),
    st.sampled_from([0.0, 1.0]),
    st.integers(0, 10**6),
)
def test_selection_is_that_of_the_slow_reference_in_every_frame(counts, kind, offset, seed):
    """Frames of several numbers of candidates, of coarse scores, many of which are equal."""
    rng = np.random.default_rng(seed)
    shape = len(counts), max(*counts, 1)
    low = rng.uniform(0, 60, (*shape, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 60, (*shape, 2))], axis=2).astype(np.float32)
    objectness, prob = rng.integers(4, 11, (2, *shape)).astype(np.float32) / 10
    for each, count in zip(objectness, counts, strict=True):
        each[count:] = 0.0
    score = objectness * prob if kind == "product" else objectness
    frame, slot, scores, full = select(boxes, objectness, prob, Selection(kind, 0.3, 0.45, offset))
    for i in range(len(counts)):
        good = np.flatnonzero(score[i] > 0.3)
        want = good[reference.suppress(boxes[i, good].astype(float), score[i, good], 0.45, offset)]
        assert slot[frame == i].tolist() == want.tolist()
        assert full[i] == (len(good) == shape[1])
    assert (np.diff(frame) >= 0).all()
    np.testing.assert_array_equal(scores, score[frame, slot])


def test_equal_scores_keep_their_order():
    boxes = np.array([[[0, 0, 10, 10], [100, 0, 110, 10], [0, 0, 10, 10]]], np.float32)
    ones = np.ones((1, 3), np.float32)
    assert select(boxes, ones, ones, Selection("product", 0.5, 0.45, 0))[1].tolist() == [0, 1]


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
    frames = Frames(
        np.arange(2), np.arange(2), np.zeros(2), np.zeros(2, bool), rgb_images(np.zeros((2, 64, 64, 3), np.uint8))
    )
    (found,) = detect([frames], Network(), options)
    np.testing.assert_array_equal(found.people.det_score, np.float32(scores * 2))


class Looking:
    """A network that takes any canvas, and answers with the place of the brightest pixel on it."""

    rules = {  # noqa: RUF012
        "letterbox": Letterbox(96, 96, "area", 128, least_px=32, shape="square"),
        "selection": Selection("objectness", 0.5, 0.3, 0),
    }
    manifest = Manifest(None, "looking", "detect", "", "", 0, {}, rules=rules)

    def run(self, inputs):
        self.seen = inputs["image"].shape
        at = [np.unravel_index(image[..., 0].argmax(), image.shape[:2]) for image in inputs["image"]]
        box = np.array([[[x - 2, y - 2, x + 3, y + 3]] for y, x in at], np.float32)
        return {"box_px": box, "objectness": np.ones((len(box), 1)), "class_prob": np.ones((len(box), 1))}


@pytest.mark.parametrize(
    ("wh", "shape", "canvas_hw"),
    [
        ((192, 108), "frame", (64, 96)),
        ((192, 108), "square", (96, 96)),
        ((192, 108), "auto", (96, 96)),
        ((100, 180), "frame", (96, 64)),
        ((90, 90), "frame", (96, 96)),
        ((400, 20), "frame", (32, 96)),
    ],
)
def test_a_pixel_is_found_where_it_is_whatever_the_canvas(wh, shape, canvas_hw):
    w, h = wh
    rgb = np.zeros((1, h, w, 3), np.uint8)
    x, y = w // 3, 2 * h // 3
    rgb[0, y - 3 : y + 4, x - 3 : x + 4] = 255
    frames = Frames(np.zeros(1, int), np.zeros(1, int), np.zeros(1), np.zeros(1, bool), rgb_images(rgb))
    network = Looking()
    (found,) = detect([frames], network, Options(detector_shape=shape))
    assert network.seen == (1, *canvas_hw, 3)
    x0, y0, x1, y1 = found.people.bbox_xyxy[0]
    pixel = max(wh) / 96
    assert abs((x0 + x1) / 2 - x) <= 4 + pixel and abs((y0 + y1) / 2 - y) <= 4 + pixel


def test_a_network_of_one_canvas_is_told():
    assert canvas_shape(Network.manifest, Options()) == "square"
    with pytest.raises(UsageError, match=r"--detector-shape frame: .* takes pictures of 64 x 64 alone"):
        canvas_shape(Network.manifest, Options(detector_shape="frame"))
