"""The open head for one person, in float64 and plain loops: the slow truth for export/open/head.py."""

import math

import numpy as np
from scipy.spatial.transform import Rotation

from cliffvid.export.open.confidence import OFFSET, SCALE

CHAIN = {
    1: 0, 2: 0, 3: 0, 4: 1, 5: 2, 6: 3, 7: 4, 8: 5, 9: 6, 10: 7, 11: 8, 12: 9, 13: 9, 14: 9, 15: 12, 16: 13, 17: 14,
    18: 16, 19: 17, 20: 18, 21: 19, 22: 20, 23: 21,
}  # fmt: skip
FOCUS = 33


def regress(seen, world, bbox_info, numbers, body):
    """rotmat (24,3,3), betas (10,), camera (3,), the posed body's box (4,) in the image, how far its landmarks are
    there from those seen over the extent of those, the joints' confidence (24,) and that of all, from seen (39,5),
    world (39,3) and bbox_info (3,).
    """
    centre_x, centre_y, side = bbox_info[0] / 2.8, bbox_info[1] / 2.8, bbox_info[2] * 0.06 + 0.24
    visible = [1 / (1 + math.exp(-seen[i][3])) for i in range(FOCUS)]
    position = [(seen[i][0] / 256 - 0.5, seen[i][1] / 256 - 0.5) for i in range(FOCUS)]
    image = [(centre_x + side * u, centre_y + side * v) for u, v in position]
    hips = (np.array(world[23], float) + world[24]) / 2
    to_ray = ray_rotation(centre_x, centre_y)
    target = [to_ray @ (np.array(world[i], float) - hips) for i in range(FOCUS)]
    state = np.concatenate([numbers["mean_rot6d"], np.zeros(10)]).astype(float)
    answers, costs = [], []
    for _ in range(3):
        _, points, _, move = evaluate(state, image, visible, body)
        inputs = []
        inputs += [2 * value for point in target for value in point]
        inputs += [2 * value for pair in position for value in pair]
        inputs += [*visible, centre_x, centre_y, side, *state]
        inputs += [4 * value for i in range(FOCUS) for value in target[i] - points[i]]
        for i in range(FOCUS):
            x, y, z = points[i] + move
            for seen_at, shown_at in ((image[i][0], x / max(z, 0.2)), (image[i][1], y / max(z, 0.2))):
                inputs.append(8 * min(max((seen_at - shown_at) / side, -1), 1))
        state = state + network(np.array(inputs), numbers)
        rotmat, points, hip, move = evaluate(state, image, visible, body)
        x, y, z = move - hip
        shown = np.array([(px / max(pz, 0.2), py / max(pz, 0.2)) for px, py, pz in np.array(points) + move])
        weights = [seen_so**2 + 1e-3 for seen_so in visible]
        camera = np.array([2 / (side * z), x - centre_x * z, y - centre_y * z])
        missed = np.average(((shown - image) ** 2).sum(axis=1), weights=weights)
        off = math.sqrt(missed) / extent(np.array(image), weights)
        low, high = shown.min(axis=0), shown.max(axis=0)
        grown = 0.03 * max(high - low)
        posed = (rotmat, state[144:], camera, np.array([*low - grown, *high + grown]), off)
        answers.append((*posed, *confidence(rotmat, state[144:], visible, numbers)))
        costs.append(distance(points, move, target, image, side, visible))
    return answers[max(i for i in range(3) if i == 0 or costs[i] < 1.15 * min(costs[:i]))]


def distance(points, move, target, image, side, visible):
    """Metres from the landmarks in space, and 4 for a crop's side in the image, weight visible^2 + 0.001."""
    total = weights = 0.0
    for point, wanted, (u, v), seen in zip(points, target, image, visible, strict=True):
        x, y, z = point + move
        across, down = ((u - x / max(z, 0.2)) / side, (v - y / max(z, 0.2)) / side)
        missed = math.hypot(min(max(across, -1), 1), min(max(down, -1), 1))
        total += (seen**2 + 1e-3) * (math.dist(point, wanted) + 4 * missed)
        weights += seen**2 + 1e-3
    return total / weights


def ray_rotation(x, y):
    ray = np.array([x, y, 1.0]) / math.sqrt(x * x + y * y + 1)
    axis = np.cross([0, 0, 1], ray)
    sine = np.linalg.norm(axis)
    if sine < 1e-12:
        return np.eye(3)
    return Rotation.from_rotvec(axis / sine * math.atan2(sine, ray[2])).as_matrix()


def evaluate(state, image, visible, body):
    """rotations, landmarks from the hips, the hips from the origin, and the hips' place seen from the camera."""
    rotations = []
    for joint in range(24):
        six = state[6 * joint : 6 * joint + 6].reshape(3, 2)
        first = six[:, 0] / np.linalg.norm(six[:, 0])
        second = six[:, 1] - first * (first @ six[:, 1])
        second = second / np.linalg.norm(second)
        rotations.append(np.stack([first, second, np.cross(first, second)], axis=1))
    betas = state[144:]
    rest_joints = body.joints_m + body.joint_directions_m @ betas
    rest_points = body.points_m + body.point_directions_m @ betas
    turned, place = {0: rotations[0]}, {0: rest_joints[0]}
    for joint, parent in CHAIN.items():
        turned[joint] = turned[parent] @ rotations[joint]
        place[joint] = place[parent] + turned[parent] @ (rest_joints[joint] - rest_joints[parent])
    points = []
    for i in range(FOCUS):
        joint = int(body.joint[i])
        points.append(place[joint] + turned[joint] @ (rest_points[i] - rest_joints[joint]))
    hip = (points[23] + points[24]) / 2
    points = [point - hip for point in points]
    return np.array(rotations), points, hip, translation(points, image, visible)


def translation(points, image, visible):
    """Least squares by rows: (X + tx) - u (Z + tz) = 0, (Y + ty) - v (Z + tz) = 0, weight visible^2 + 0.001.

    tz is at least 0.8 and at most 1.25 times the points' extent across over that of what was seen, and then fixed.
    """
    rows, right, weights = [], [], []
    for (x, y, z), (u, v), seen in zip(points, image, visible, strict=True):
        weight = math.sqrt(seen * seen + 1e-3)
        rows += [[weight, 0, -weight * u], [0, weight, -weight * v]]
        right += [weight * (u * z - x), weight * (v * z - y)]
        weights.append(weight**2)
    rows, right = np.array(rows), np.array(right)
    usual = extent(np.array(points)[:, :2], weights) / extent(np.array(image), weights)
    away = np.clip(np.linalg.lstsq(rows, right, rcond=None)[0][2], 0.8 * usual, 1.25 * usual)
    across = np.linalg.lstsq(rows[:, :2], right - rows[:, 2] * away, rcond=None)[0]
    return np.array([*across, away])


def extent(spots, weights):
    return math.sqrt(np.cov(spots.T, aweights=weights, ddof=0).trace())


def network(inputs, numbers):
    hidden = numbers["input_weight"].astype(float) @ inputs + numbers["input_bias"]
    for block in ("block0", "block1"):
        inner = normalise(hidden, numbers, f"{block}_norm")
        inner = numbers[f"{block}_first_weight"].astype(float) @ inner + numbers[f"{block}_first_bias"]
        inner = np.array([0.5 * value * (1 + math.erf(value / math.sqrt(2))) for value in inner])
        hidden = hidden + numbers[f"{block}_second_weight"].astype(float) @ inner + numbers[f"{block}_second_bias"]
    return numbers["output_weight"].astype(float) @ normalise(hidden, numbers, "last_norm") + numbers["output_bias"]


def confidence(rotmat, betas, visible, numbers):
    """Probabilities (24,) of the joints, and of their mean: two layers, then the calibration to real people."""
    inputs = np.array([*rotmat.ravel(), *betas, *visible])
    hidden = numbers["confidence_first_weight"].astype(float) @ inputs + numbers["confidence_first_bias"]
    hidden = np.array([max(value, 0) for value in hidden])
    logit = numbers["confidence_second_weight"].astype(float) @ hidden + numbers["confidence_second_bias"]
    offset = [OFFSET["joint_confidence"]] * 24 + [OFFSET["confidence"]]
    *joints, whole = (1 / (1 + math.exp(-SCALE * value - more)) for value, more in zip(logit, offset, strict=True))
    return np.array(joints), whole


def normalise(values, numbers, name):
    spread = math.sqrt(np.mean((values - values.mean()) ** 2) + 1e-5)
    return (values - values.mean()) / spread * numbers[f"{name}_weight"] + numbers[f"{name}_bias"]
