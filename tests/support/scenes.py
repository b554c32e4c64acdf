"""Known bodies before known cameras."""

import numpy as np

from cliffvid.models.body import load_body
from cliffvid.rotations import axis_angle, rotation_matrix
from cliffvid.view.renderers import Scene

COLORS = np.array([[0.9, 0.2, 0.2], [0.2, 0.9, 0.2], [0.2, 0.2, 0.9]], np.float32)


def upright(turn_rad: float) -> np.ndarray:
    """global_orient of a person who stands in a y-down camera, turned about the vertical axis."""
    flip = rotation_matrix(np.array([np.pi, 0, 0]))
    return axis_angle(flip @ rotation_matrix(np.array([0, turn_rad, 0])))


def people(transl, seed=0):
    """``surface``'s four arguments for people at these places, each in a pose of their own."""
    rng = np.random.default_rng(seed)
    count = len(transl)
    pose = rng.normal(0, 0.2, (count, 23, 3))
    pose[:, 15, 2] -= 0.9  # arms down
    pose[:, 16, 2] += 0.9
    turns = np.array([upright(a) for a in rng.uniform(-2, 2, count)]).reshape(-1, 3)
    return turns, pose.reshape(count, 69), rng.normal(0, 1, (count, 10)), np.array(transl, float).reshape(-1, 3)


def scene(transl, focal_px, size_wh, seed=0) -> Scene:
    body = load_body("open-body")
    vertices, normals = body.surface(*people(transl, seed))
    return Scene(
        size_wh,
        float(focal_px),
        (size_wh[0] / 2, size_wh[1] / 2),
        body.levels,
        vertices,
        normals,
        COLORS[: len(transl)],
    )


# In two of them somebody stands before somebody else, named before or after. A plain camera; a wide one, close, with
# somebody cut by the frame's edge and odd sides; a long one on far people.
SCENES = {
    "plain": ([[-0.1, 0.2, 5.5], [-0.4, 0.1, 4.0]], 1200, (960, 720)),
    "wide": ([[-0.9, 0.3, 1.6], [0.3, 0.5, 2.0]], 460, (641, 481)),
    "long": ([[-1.5, 0.1, 240.0], [1.9, 0.0, 243.0], [1.5, 0.3, 250.0]], 60000, (960, 640)),
}
