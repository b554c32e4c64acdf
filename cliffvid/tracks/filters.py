"""Values and rotations made steady in time, whatever the clock.

``savgol`` looks both ways: a parabola through each moment's neighbours, which keeps the height of peaks and lags behind
nothing (Savitzky and Golay 1964; here with Gaussian weights). ``one_euro`` looks back only, as live use must, and
smooths less what moves fast (Casiez 2012). Rotations are unit quaternions (F,J,4), times rising seconds (F,).
"""

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..geometry import Array
from ..options import SmoothOptions
from ..rotations import quat_conjugate, quat_multiply, rotation_vector, slerp
from ..tables import Float64

Steady = TypeVar("Steady", float, Array)
REACH = 3.0  # sigmas to either side beyond which neighbours count for nothing
RIDGE = 1e-3  # of the parabola's slope and bend, in parts of the weight
FAR_RAD = 0.3  # a neighbour that is so far from the mean of the others counts half (Cauchy's weights)
ROUNDS = 4  # of weighing neighbours anew
BLOCK = 256  # moments smoothed together
SPEED_CUTOFF_HZ = 1.0  # one-euro: of the speed that its cutoff follows


def _windows(
    time_s: Float64, weight: Array, sigma_s: float
) -> Iterator[tuple[slice, NDArray[np.intp], Float64, Float64]]:
    """Blocks of moments: their slice, and their neighbours' rows, distances in sigmas and weights, each (n,w)."""
    low = np.searchsorted(time_s, time_s - REACH * sigma_s)
    high = np.searchsorted(time_s, time_s + REACH * sigma_s, side="right")
    for start in range(0, len(time_s), BLOCK):
        block = slice(start, start + BLOCK)
        near = low[block, None] + np.arange((high - low)[block].max())
        inside = near < high[block, None]
        near = np.minimum(near, len(time_s) - 1)
        away = (time_s[near] - time_s[block, None]) / sigma_s
        yield block, near, away, np.where(inside, np.exp(-(away**2) / 2) * weight[near], 0)


def parabola(weights: Array, away: Array) -> Array:
    """Weights (n,w,k) with which values make the least-squares parabola's value at 0, from those of the squares.

    A faint ridge makes it a line or a mean where neighbours are too few.
    """
    powers = np.stack([np.ones_like(away), away, away**2], axis=-1)
    normal = np.einsum("nwk,nwij->nkij", weights, powers[..., :, None] * powers[..., None, :])
    total = weights.sum(axis=1)
    normal += np.diag([1e-9, RIDGE, RIDGE]) * (total + 1e-12)[..., None, None]
    first = np.linalg.solve(normal, np.broadcast_to(np.eye(3)[:, :1], (*normal.shape[:-1], 1)))[..., 0]
    fitted = weights * np.einsum("nwi,nki->nwk", powers, first)
    total = fitted.sum(axis=1, keepdims=True)
    shares: Array = fitted / np.where(total > 0, total, 1)
    return shares


def savgol(values: Array, time_s: Float64, weight: Array, sigma_s: float) -> Array:
    """Values (F,D) at each moment of the parabolas through their neighbours; ``weight`` (F,): how much each counts."""
    found = values.copy()
    for block, near, away, weights in _windows(time_s, weight, sigma_s):
        known, fitted = weights.sum(axis=1) > 0, parabola(weights[..., None], away)
        found[block] = np.where(known[:, None], (fitted * values[near]).sum(axis=1), values[block])
    return found


def savgol_turns(turns: Array, time_s: Float64, weight: Array, sigma_s: float) -> Array:
    """Weighted means of neighbouring quaternions; those that are far from the others count for little."""
    found = np.empty_like(turns)
    for block, near, away, weights in _windows(time_s, weight, sigma_s):
        around, middle, now = turns[near], turns[block], np.repeat(weights[..., None], turns.shape[1], axis=2)
        for _ in range(ROUNDS):
            along = (around * middle[:, None]).sum(axis=-1)
            middle = _mean_turn(now, around, along)
            far = 2 * np.arccos(np.clip(np.abs((around * middle[:, None]).sum(axis=-1)), 0, 1))
            now = weights[..., None] / (1 + (far / FAR_RAD) ** 2)
        along = (around * middle[:, None]).sum(axis=-1)
        found[block] = _mean_turn(parabola(now, away), around, along)
    return found


def _mean_turn(weights: Array, around: Array, along: Array) -> Array:
    """Unit quaternions (n,J,4): the sum of each window's, each taken on the half of the sphere that ``along`` tells."""
    mean = (np.where(along < 0, -weights, weights)[..., None] * around).sum(axis=1)
    unit: Array = mean / np.maximum(np.linalg.norm(mean, axis=-1, keepdims=True), 1e-12)
    return unit


def _share(cutoff_hz: Steady, step_s: float) -> Steady:
    """How much of the new value a low pass of that cutoff takes."""
    return 1 / (1 + 1 / (2 * np.pi * cutoff_hz * step_s))


def one_euro_turns(turns: Array, time_s: Float64, options: SmoothOptions) -> Array:
    """Quaternions that follow those given, the slower these turn the more steadily."""
    found, speed = turns.copy(), np.zeros((turns.shape[1], 3))
    for k in range(1, len(turns)):
        step_s = time_s[k] - time_s[k - 1]
        now = rotation_vector(quat_multiply(quat_conjugate(turns[k - 1]), turns[k])) / step_s
        speed += _share(SPEED_CUTOFF_HZ, step_s) * (now - speed)
        cutoff = options.cutoff_hz + options.speed_gain * np.linalg.norm(speed, axis=-1, keepdims=True)
        found[k] = slerp(found[k - 1], turns[k], _share(cutoff, step_s))
    return found


def one_euro(values: Array, scale_m: Array, time_s: Float64, options: SmoothOptions) -> Array:
    """Values (F,D) that follow those given; ``scale_m`` (F,1): how many metres a unit of a row's values is."""
    found, speed = values.copy(), np.zeros(values.shape[1])
    for k in range(1, len(values)):
        step_s = time_s[k] - time_s[k - 1]
        now = (values[k] - values[k - 1]) * scale_m[k] / step_s
        speed += _share(SPEED_CUTOFF_HZ, step_s) * (now - speed)
        share = _share(options.cutoff_hz + options.speed_gain * np.abs(speed), step_s)
        found[k] = found[k - 1] + share * (values[k] - found[k - 1])
    return found
