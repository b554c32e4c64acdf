"""Convert rotations in numpy: axis-angle vectors, matrices and quaternions (x, y, z, w)."""

import numpy as np

from .geometry import Array


def axis_angle(rotmat: Array) -> Array:
    """Return rotation matrices (...,3,3) as axis-angle (...,3), angle in [0, pi], float64.

    The unit quaternion is computed first, from the largest of its four squared components (Shepperd 1978). So neither
    tiny angles nor half turns lose precision.
    """
    m = np.moveaxis(rotmat, (-2, -1), (0, 1)).astype(np.float64, order="C")  # (3,3,...): components in a row are fast
    x, y, z = m[0, 0], m[1, 1], m[2, 2]
    wx, wy, wz = m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]
    xy, xz, yz = m[1, 0] + m[0, 1], m[0, 2] + m[2, 0], m[2, 1] + m[1, 2]
    ww, xx, yy, zz = 1 + x + y + z, 1 + x - y - z, 1 - x + y - z, 1 - x - y + z  # the squares, four times
    turns = np.array([wx, wy, wz, ww])  # the quaternion x, y, z, w times four times w, or another component
    largest = ww
    for square, row in ((xx, (xx, xy, xz, wx)), (yy, (xy, yy, yz, wy)), (zz, (xz, yz, zz, wz))):
        np.copyto(turns, row, where=square > largest)
        largest = np.maximum(square, largest)
    return rotation_vector(np.moveaxis(turns, 0, -1))


def rotation_matrix(vectors: Array) -> Array:
    """Return axis-angle (...,3) as rotation matrices (...,3,3), float64 (Rodrigues)."""
    v = vectors.astype(np.float64)
    angle = np.linalg.norm(v, axis=-1)[..., None, None]
    x, y, z = v[..., 0], v[..., 1], v[..., 2]
    zero = np.zeros_like(x)
    skew = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*v.shape, 3)
    # sin(a)/a and (1-cos(a))/a^2, smooth at zero
    matrix: Array = np.eye(3) + np.sinc(angle / np.pi) * skew + np.sinc(angle / (2 * np.pi)) ** 2 / 2 * (skew @ skew)
    return matrix


def quaternion(vectors: Array) -> Array:
    """Return axis-angle (...,3) as unit quaternions x, y, z, w (...,4), float64; w >= 0 for angles up to pi."""
    v = vectors.astype(np.float64)
    half = np.linalg.norm(v, axis=-1, keepdims=True) / 2
    return np.concatenate([v * np.sinc(half / np.pi) / 2, np.cos(half)], axis=-1)


def rotation_vector(turns: Array) -> Array:
    """Return quaternions x, y, z, w (...,4) of any length as axis-angle (...,3), angle in [0, pi], float64."""
    q = turns * np.where(turns[..., 3:] < 0, -1, 1)  # the shorter way round
    norm = np.linalg.norm(q[..., :3], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(norm, q[..., 3:])
    vector: Array = q[..., :3] * np.where(norm > 0, angle / np.where(norm > 0, norm, 1), 0)
    return vector


def quat_multiply(first: Array, second: Array) -> Array:
    """Return the product first x second of quaternions (...,4): ``second`` rotates in the frame that ``first`` made."""
    a, b, aw, bw = first[..., :3], second[..., :3], first[..., 3:], second[..., 3:]
    return np.concatenate([aw * b + bw * a + np.cross(a, b), aw * bw - (a * b).sum(axis=-1, keepdims=True)], axis=-1)


def quat_conjugate(turns: Array) -> Array:
    """Return the inverse of unit quaternions (...,4)."""
    inverse: Array = turns * np.array([-1.0, -1.0, -1.0, 1.0])
    return inverse


def slerp(first: Array, second: Array, share: Array) -> Array:
    """Return the rotation at ``share`` (...,1) of the shorter way from ``first`` to ``second`` (...,4).

    The way is taken at constant speed.
    """
    return quat_multiply(first, quaternion(share * rotation_vector(quat_multiply(quat_conjugate(first), second))))
