"""Place BlazePose's 33 landmarks on the open body: rest positions affine in betas, each fixed to one joint."""

from dataclasses import dataclass

import numpy as np

from cliffvid.tables import Array, Float64, Int64

PARENTS = np.array([-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21])
SKIN_VERTICES = 13380  # of MakeHuman's base mesh; then come helpers, among them the eyes
EYE_VERTICES = range(14598, 14742)
HEAD = 15
# fmt: off
AT_JOINT = {  # landmarks that are about joints: shoulders, elbows, wrists, hips, knees, ankles
    11: 16, 12: 17, 13: 18, 14: 19, 15: 20, 16: 21, 23: 1, 24: 2, 25: 4, 26: 5, 27: 7, 28: 8,
}
# Offsets of BlazePose's left-side landmarks from these joints in mm in the rest pose: left, up, front; the right side
# is mirrored. They make distances between landmarks as in real people. Measured by tests/bench/accuracy/offsets.py in
# two scenes, which agree within 1 cm except for the elbow's distance from its bone.
OFF_MM = {
    0: (0, 5, -13), 1: (1, -3, 4), 2: (0, 0, -8), 3: (-3, -3, 0), 7: (-15, -2, 25), 9: (-5, 13, -8),
    11: (-20, 13, 2), 13: (10, -11, -7), 15: (26, -16, 9), 17: (3, 6, 30), 19: (10, -4, -5), 21: (-6, 2, -29),
    23: (-8, -14, 4), 25: (2, -26, -1), 27: (1, 26, 7), 29: (-3, 8, 7), 31: (-3, 7, -7),
}
RIGHT_OF = {0: 0, 1: 4, 2: 5, 3: 6} | {left: left + 1 for left in (7, 9, *range(11, 33, 2))}
# fmt: on


@dataclass(frozen=True)
class Landmarks:
    """Landmarks and joints in the rest pose in metres; the last axis of directions is beta."""

    points_m: Float64  # float64 (33,3)
    point_directions_m: Float64  # float64 (33,3,10)
    joints_m: Float64  # float64 (24,3)
    joint_directions_m: Float64  # float64 (24,3,10)
    joint: Int64  # int64 (33,): the joint a landmark moves with


@dataclass(frozen=True)
class Spot:
    """A weighted mean of vertices that moves with a joint."""

    vertices: Int64
    weights: Float64
    joint: int


def place_landmarks(body: dict[str, Array]) -> Landmarks:
    """Return the landmarks of an open body (see `body.build_body`), placed by simple geometric rules."""
    mean = body["v_template"].astype(np.float64)
    shapes = np.concatenate([mean[..., None], body["shapedirs"].astype(np.float64)], axis=2)
    joints = np.stack([blend(np.flatnonzero(row), row[row != 0], shapes) for row in body["J_regressor"]])
    spots = find_face(body, mean)
    for side in (0, 1):  # left, right
        spots |= find_hand(body, mean, joints[20 + side, 0, 0], side)
        spots |= find_foot(body, mean, joints[7 + side, 1, 0], side)
    places, fixed_to = [], []
    for landmark in range(33):
        if landmark in AT_JOINT:
            fixed_to.append(AT_JOINT[landmark])
            places.append(joints[AT_JOINT[landmark]])
        else:
            spot = spots[landmark]
            fixed_to.append(spot.joint)
            places.append(blend(spot.vertices, spot.weights, shapes))
    points = np.stack(places)
    for left, off_mm in OFF_MM.items():
        points[left, :, 0] += np.array(off_mm) / 1000
        if left:
            points[RIGHT_OF[left], :, 0] += np.array(off_mm) * [-1, 1, 1] / 1000
    return Landmarks(points[..., 0], points[..., 1:], joints[..., 0], joints[..., 1:], np.array(fixed_to))


def blend(vertices: Int64, weights: Array, shapes: Float64) -> Float64:
    """Return the weighted sum (3,11) of selected vertices of shapes (V,3,11), added sequentially."""
    total: Float64 = sum(float(weight) * shapes[vertex] for vertex, weight in zip(vertices, weights, strict=True))
    return total


def even(vertices: Int64, joint: int) -> Spot:
    vertices = np.atleast_1d(vertices)
    return Spot(vertices, np.full(len(vertices), 1 / len(vertices)), joint)


def lowest(values: Float64) -> Int64:
    """Return indices by ascending value (stable)."""
    return np.argsort(values, kind="stable")


def find_face(body: dict[str, Array], mean: Float64) -> dict[int, Spot]:
    """Return nose 0, eyes 1 to 6 (inner, middle, outer; left first), ears 7 and 8, mouth 9 and 10."""
    x, y, z = mean.T
    source = body["src_vertex"]
    face = np.flatnonzero((body["weights"][:, HEAD] > 0.8) & (source < SKIN_VERTICES))
    middle = face[np.abs(x[face]) < 0.012]
    nose = middle[np.argmax(z[middle])]
    spots = {0: even(nose, HEAD)}
    for side, sign in enumerate((1, -1)):
        eye = np.flatnonzero((source >= EYE_VERTICES.start) & (source < EYE_VERTICES.stop) & (np.sign(x) == sign))
        eye_y, eye_z = (blend(eye, np.full(len(eye), 1 / len(eye)), axis) for axis in (y, z))
        front = eye[z[eye] > eye_z]
        across = np.abs(x[front])
        chosen = front[[np.argmin(across), np.argmax(z[front]), np.argmax(across)]]
        spots |= {1 + 3 * side + place: even(vertex, HEAD) for place, vertex in enumerate(chosen)}
        beside = face[(np.sign(x[face]) == sign) & (np.abs(y[face] - eye_y) < 0.05)]
        spots[7 + side] = even(beside[lowest(-np.abs(x[beside]))[:10]], HEAD)
        corner = np.array([sign * 0.024, y[nose] - 0.042, z[nose] - 0.028])
        distance = np.sqrt(sum((mean[:, axis] - corner[axis]) ** 2 for axis in range(3)))
        near = lowest(distance)[:4]
        nearness = 1 / (distance[near] + 1e-3)
        spots[9 + side] = Spot(near, nearness / sum(nearness), HEAD)
    return spots


def find_hand(body: dict[str, Array], mean: Float64, wrist_x: float, side: int) -> dict[int, Spot]:
    """Return knuckles of little finger 17, index finger 19, and thumb 21 (left; right: + 1). The palm faces down."""
    x, _, z = mean.T
    wrist = 20 + side
    hand = np.flatnonzero(body["weights"][:, wrist] + body["weights"][:, wrist + 2] > 0.8)
    reach = np.abs(x[hand] - wrist_x)
    knuckles = hand[np.abs(reach / reach.max() - 0.52) < 0.07]
    knuckles = knuckles[lowest(z[knuckles])]  # little finger first
    last = len(knuckles) - 1
    return {
        17 + side: even(knuckles[: int(0.2 * last) + 1], wrist),
        19 + side: even(knuckles[int(0.62 * last) + 1 : int(0.85 * last) + 1], wrist),
        21 + side: even(hand[lowest(-z[hand])[:60]], wrist),
    }


def find_foot(body: dict[str, Array], mean: Float64, ankle_y: float, side: int) -> dict[int, Spot]:
    """Return heel 29 and foot tip 31 (left; right: + 1)."""
    _, y, z = mean.T
    ankle = 7 + side
    foot = np.flatnonzero(body["weights"][:, ankle] + body["weights"][:, ankle + 3] > 0.8)
    sole = foot[y[foot] < ankle_y - 0.02]
    return {
        29 + side: even(sole[lowest(z[sole])[:15]], ankle),
        31 + side: even(sole[lowest(-z[sole])[:15]], ankle + 3),
    }
