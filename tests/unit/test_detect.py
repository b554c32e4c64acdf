import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import reference
from cliffvid.detect import letterboxed, select
from cliffvid.models import Letterbox, Selection


@given(
    st.integers(0, 40), st.sampled_from(["product", "objectness"]), st.sampled_from([0.0, 1.0]), st.integers(0, 10**6)
)
def test_selection_is_that_of_the_slow_reference(n, kind, offset, seed):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 60, (n, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 60, (n, 2))], axis=1).astype(np.float32)
    objectness, prob = rng.uniform(0, 1, (2, n)).astype(np.float32)
    score = objectness * prob if kind == "product" else objectness
    rows, scores, full = select(boxes, objectness, prob, 0.3, Selection(kind, 0.3, 0.45, offset))
    good = np.flatnonzero(score > 0.3)
    want = good[reference.suppress(boxes[good].astype(float), score[good], 0.45, offset)]
    assert rows.tolist() == want.tolist()
    np.testing.assert_array_equal(scores, score[rows])
    assert full == (len(good) == n)


def test_equal_scores_keep_their_order():
    boxes = np.array([[0, 0, 10, 10], [100, 0, 110, 10], [0, 0, 10, 10]], np.float32)
    ones = np.ones(3, np.float32)
    assert select(boxes, ones, ones, 0.5, Selection("product", 0.5, 0.45, 0))[0].tolist() == [0, 1]


def test_letterbox_leaves_the_margin_grey_and_the_picture_in_the_middle():
    frames = np.full((2, 50, 100, 3), 7, np.uint8)
    canvas = letterboxed(frames, Letterbox(64, 64, "area", 128))
    assert (canvas[:, 16:48] == 7).all() and (canvas[:, :16] == 128).all() and (canvas[:, 48:] == 128).all()
