"""Compute error metrics in millimetres from points in metres; a row is one person in one frame."""

import numpy as np
from numpy.typing import NDArray

from ..geometry import Array

# AUC is the PCK averaged over these thresholds (Mehta 2017, MPI-INF-3DHP).
PCK_MM = np.arange(0, 151, 5)


def rooted(points: Array, root: Array) -> Array:
    """Return points (P,N,3) relative to their root (P,3)."""
    moved: Array = points - root[:, None]
    return moved


def distances_mm(found: Array, true: Array) -> Array:
    """Return the distances (P,N) in mm between points (P,N,3) and the true ones."""
    away: Array = 1000 * np.linalg.norm(found - true, axis=2)
    return away


def procrustes(found: Array, true: Array) -> Array:
    """Return points (P,N,3) after Procrustes alignment to the true ones (Umeyama 1991), without reflection."""
    from_mean, to_mean = found.mean(axis=1, keepdims=True), true.mean(axis=1, keepdims=True)
    a, b = found - from_mean, true - to_mean
    u, sizes, vt = np.linalg.svd(np.einsum("pni,pnj->pij", b, a))
    sign = np.ones_like(sizes)
    sign[:, 2] = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    turn = (u * sign[:, None]) @ vt
    scale = (sizes * sign).sum(axis=1) / np.maximum((a**2).sum(axis=(1, 2)), 1e-30)
    aligned: Array = scale[:, None, None] * (a @ turn.transpose(0, 2, 1)) + to_mean
    return aligned


def auc(mm: Array, missed: int = 0) -> float:
    """Return the area under the PCK curve, 0 to 1, for distances (P,J); ``missed`` people have no correct joints."""
    shares = np.array([(mm <= threshold).mean(axis=1).sum() for threshold in PCK_MM])
    return float(shares.mean() / (len(mm) + missed))


def acceleration_mm(found: Array, true: Array, frame_idx: NDArray[np.integer]) -> Array:
    """Return the acceleration error (M,) of joints (F,J,3), in mm per frame squared (Kocabas 2020, VIBE).

    It is the mean norm of the difference in second differences. Pass one person's frames in order; only triples of
    consecutive frames count.
    """
    if len(frame_idx) < 3:
        return np.zeros(0)
    off = 1000 * (found - true)
    bend: Array = np.linalg.norm(off[2:] - 2 * off[1:-1] + off[:-2], axis=2).mean(axis=1)
    mean: Array = bend[frame_idx[2:] - frame_idx[:-2] == 2]
    return mean
