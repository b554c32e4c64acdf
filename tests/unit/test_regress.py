"""Bodies that do not fit what was seen are flagged, where the network tells how they are posed."""

import numpy as np
import pytest

from cliffvid.body import load_body
from cliffvid.geometry import project
from cliffvid.regress import RegressCounts, bodies
from cliffvid.types import AT_BORDER, IMPLAUSIBLE, Crops
from render.scenes import people

SIZE_WH, FOCAL_PX = (640, 480), 500.0
ON_THE_SIDE = [0, 0, np.pi / 2]


def boxes(places, turn=None):
    """The box (P,4) in the frame of each of some people who stand at places (P,3), or are turned so (3,)."""
    orient, pose, betas, transl = people(places)
    orient = orient if turn is None else np.tile(np.float32(turn), (len(orient), 1))
    joints = load_body("open-body").joints(orient, pose, betas, transl)
    points = project(joints, np.full(len(places), FOCAL_PX), SIZE_WH)
    return np.hstack([points.min(axis=1), points.max(axis=1)]).astype(np.float32)


def flags(detected, posed, scale=1.0, there=None):
    """The flags of people in boxes detected (P,4), whose bodies were posed in others."""
    count = len(detected)
    columns = {name: np.zeros((count, *c.shape[1:]), c.dtype) for name, c in Crops.empty(h=4, w=4).columns().items()}
    columns |= {"bbox_xyxy": np.clip(detected, 0, [*SIZE_WH] * 2).astype(np.float32)}
    columns["focal_px"][:], columns["frame_wh_px"][:], columns["crop_center_size_px"][:] = FOCAL_PX, SIZE_WH, 100
    columns["flags"][:] = AT_BORDER
    answer = {
        "rotmat": np.tile(np.eye(3, dtype=np.float32), (count, 24, 1, 1)),
        "betas": np.zeros((count, 10), np.float32),
        "camera": np.ones((count, 3), np.float32),
        "posed_xyxy": ((posed - [*np.divide(SIZE_WH, 2)] * 2) / FOCAL_PX).astype(np.float32),
        "posed_scale": np.full(count, scale, np.float32),
    }
    return bodies(Crops(**columns), answer if there is None else {n: answer[n] for n in there}, RegressCounts()).flags


STANDING = [[-1.5, 0.2, 5.0], [0.3, -0.3, 8.0], [0.0, 1.3, 3.0]]  # of the last the frame shows the upper half


@pytest.mark.parametrize(
    ("posed", "scale", "found"),
    [
        (boxes(STANDING), 1.0, [0, 0, 0]),
        (boxes(STANDING) + [6, -8, 6, -8], 1.6, [0, 0, 0]),
        (boxes(STANDING) + [90, 0, 90, 0], 1.0, [1, 1, 0]),  # beside, but for the one who fills the frame
        (boxes(STANDING, ON_THE_SIDE), 1.0, [1, 1, 1]),  # lies, where the box is that of one who stands
        (boxes(STANDING), 1.8, [1, 1, 1]),
        (boxes(STANDING), 0.55, [1, 1, 1]),
        (boxes(STANDING), np.nan, [1, 1, 1]),
        (boxes(STANDING) * np.nan, 1.0, [1, 1, 1]),
    ],
    ids=["fits", "nearly", "beside", "lies", "large", "small", "no scale", "no box"],
)
def test_bodies_that_do_not_fit_what_was_seen_are_flagged(posed, scale, found):
    assert (flags(boxes(STANDING), posed, scale) == AT_BORDER + IMPLAUSIBLE * np.array(found)).all()


def test_a_network_that_cannot_tell_flags_nobody():
    assert (flags(boxes(STANDING), boxes(STANDING) + 300, there=("rotmat", "betas", "camera")) == AT_BORDER).all()
