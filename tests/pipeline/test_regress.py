"""Bodies that do not fit what was seen are flagged, and confidence kept, where the network tells."""

import numpy as np
import pytest

from cliffvid.geometry import project
from cliffvid.models.body import load_body
from cliffvid.pipeline.regress import posed as posed_by
from cliffvid.tables import AT_BORDER, IMPLAUSIBLE, Crops
from scenes import people

SIZE_WH, FOCAL_PX = (640, 480), 500.0


def boxes(places):
    """The box (P,4) in the frame of each of some people who stand at places (P,3)."""
    joints = load_body("open-body").joints(*people(places))
    points = project(joints, np.full(len(places), FOCAL_PX), (SIZE_WH[0] / 2, SIZE_WH[1] / 2))
    return np.hstack([points.min(axis=1), points.max(axis=1)]).astype(np.float32)


def bodies(detected, posed, off=0.1, there=None, **more):
    """People in boxes detected (P,4), whose bodies were posed in others; ``more``: what the network tells besides."""
    count = len(detected)
    columns = {name: np.zeros((count, *c.shape[1:]), c.dtype) for name, c in Crops.empty(h=4, w=4).columns().items()}
    columns |= {"bbox_xyxy": np.clip(detected, 0, [*SIZE_WH] * 2).astype(np.float32)}
    columns["focal_px"][:], columns["frame_wh_px"][:], columns["crop_center_size_px"][:] = FOCAL_PX, SIZE_WH, 100
    columns["center_px"][:] = np.divide(SIZE_WH, 2)
    columns["flags"][:] = AT_BORDER
    answer = {
        "rotmat": np.tile(np.eye(3, dtype=np.float32), (count, 24, 1, 1)),
        "betas": np.zeros((count, 10), np.float32),
        "camera": np.ones((count, 3), np.float32),
        "posed_xyxy": ((posed - [*np.divide(SIZE_WH, 2)] * 2) / FOCAL_PX).astype(np.float32),
        "posed_off": np.full(count, off, np.float32),
        **more,
    }
    return posed_by(Crops(**columns), answer if there is None else {n: answer[n] for n in there}).bodies


def flags(*given, **more):
    return bodies(*given, **more).flags


STANDING = [[-1.5, 0.2, 5.0], [0.3, -0.3, 8.0], [0.0, 1.75, 3.0]]


def test_people_have_the_confidence_that_the_network_tells():
    """Of the second the network sees nobody."""
    told = {"confidence": np.float32([0.2, 0.3, 0.4]), "joint_confidence": np.random.rand(3, 24).astype(np.float32)}
    found = bodies(boxes(STANDING), boxes(STANDING), presence=np.float32([0.9, 0.1, 0.9]), **told)
    for name, column in told.items():
        np.testing.assert_array_equal(getattr(found, name), column[[0, 2]])
    assert bodies(boxes(STANDING), boxes(STANDING)).confidence is None


@pytest.mark.parametrize(
    ("posed", "off", "found"),
    [
        (boxes(STANDING), 0.1, [0, 0, 0]),
        (boxes(STANDING) + [6, -8, 6, -8], 0.39, [0, 0, 0]),
        (boxes(STANDING) + [90, 0, 90, 0], 0.1, [1, 1, 1]),
        (boxes(STANDING), 0.41, [1, 1, 1]),
        (boxes(STANDING), np.nan, [1, 1, 1]),
        (boxes(STANDING) * np.nan, 0.1, [1, 1, 1]),
    ],
    ids=["fits", "nearly", "beside", "off", "off by no number", "nowhere"],
)
def test_bodies_that_do_not_fit_what_was_seen_are_flagged(posed, off, found):
    """Of the third the frame shows the head alone, and the body reaches below."""
    assert (flags(boxes(STANDING), posed, off) == AT_BORDER + IMPLAUSIBLE * np.array(found)).all()


def test_a_network_that_cannot_tell_flags_nobody():
    assert (flags(boxes(STANDING), boxes(STANDING) + 300, there=("rotmat", "betas", "camera")) == AT_BORDER).all()
