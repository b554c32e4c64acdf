"""How far posed bodies are from the truth, in millimetres; points are metres, a row is one person in one frame."""

import numpy as np
from numpy.typing import NDArray

from ..geometry import Array

# The share of correct joints, averaged over these thresholds, is the area under its curve (Mehta 2017, MPI-INF-3DHP).
PCK_MM = np.arange(0, 151, 5)


def rooted(points: Array, root: Array) -> Array:
    """Points (P,N,3) with a root (P,3) moved to the origin."""
    moved: Array = points - root[:, None]
    return moved


def distances_mm(found: Array, true: Array) -> Array:
    """How far each point (P,N,3) is from the true one (P,N)."""
    away: Array = 1000 * np.linalg.norm(found - true, axis=2)
    return away


def procrustes(found: Array, true: Array) -> Array:
    """Points (P,N,3) turned, scaled and moved to lie as near the true ones as they can (Umeyama 1991); no mirroring."""
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
    """Area under the curve of correct keypoints, 0 to 1, of distances (P,J); who was ``missed`` has no correct ones."""
    shares = np.array([(mm <= threshold).mean(axis=1).sum() for threshold in PCK_MM])
    return float(shares.mean() / (len(mm) + missed))


def acceleration_mm(found: Array, true: Array, frame_idx: NDArray[np.integer]) -> Array:
    """Mean difference (M,) of the joints' (F,J,3) second differences, mm per frame squared (Kocabas 2020, VIBE).

    Of one person, frames in order; only where three frames follow each other.
    """
    if len(frame_idx) < 3:
        return np.zeros(0)
    off = 1000 * (found - true)
    bend: Array = np.linalg.norm(off[2:] - 2 * off[1:-1] + off[:-2], axis=2).mean(axis=1)
    mean: Array = bend[frame_idx[2:] - frame_idx[:-2] == 2]
    return mean
