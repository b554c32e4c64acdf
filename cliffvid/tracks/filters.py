"""Smooth values and rotations over time; timestamps may be uneven.

``savgol`` is not causal: it fits a parabola to each frame's neighbours, which keeps peak heights and adds no lag
(Savitzky and Golay 1964; here with Gaussian weights). ``one_euro`` is causal, as live use requires, and smooths fast
motion less (Casiez 2012). Rotations are unit quaternions (F,J,4); times are increasing seconds (F,).
"""

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..geometry import Array
from ..rotations import quat_conjugate, quat_multiply, rotation_vector, slerp
from ..tables import Float64
from .options import SmoothOptions

Steady = TypeVar("Steady", float, Array)
REACH = 3.0  # half width of the window, in sigmas
RIDGE = 1e-3  # ridge penalty on the parabola's slope and curvature, relative to the total weight
FAR_RAD = 0.3  # distance from the mean at which a neighbour's weight is halved (Cauchy weights)
ROUNDS = 4  # of iterative reweighting
BLOCK = 256  # frames smoothed together
SPEED_CUTOFF_HZ = 1.0  # one-euro: cutoff of the low-pass filter for speed


def _windows(
    time_s: Float64, weight: Array, sigma_s: float
) -> Iterator[tuple[slice, NDArray[np.intp], Float64, Float64]]:
    """Yield blocks of frames: their slice, and their neighbours' rows, distances in sigmas and weights, each (n,w)."""
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
    """Return the filter weights (n,w,k) whose weighted sum is the least-squares parabola's value at 0.

    ``weights`` (n,w,k) weight the squared residuals. A small ridge penalty reduces the fit to a line or a mean where
    there are too few neighbours.
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


def running_median(values: Float64, time_s: Float64, half_s: float) -> Float64:
    """Return the median (F,) of the values within ``half_s`` of each time; NaNs do not count, NaN if there are none.

    Near the ends less is looked at, as much on either side, so that a trend is kept.
    """
    half = np.minimum(half_s, np.minimum(time_s - time_s[0], time_s[-1] - time_s))
    low = np.searchsorted(time_s, time_s - half)
    high = np.searchsorted(time_s, time_s + half, side="right")
    found = np.empty(len(values))
    for start in range(0, len(values), BLOCK):
        block = slice(start, start + BLOCK)
        near = low[block, None] + np.arange((high - low)[block].max())
        window = np.where(near < high[block, None], values[np.minimum(near, len(values) - 1)], np.nan)
        window.sort(axis=1)  # NaNs last
        known = (window == window).sum(axis=1, keepdims=True)
        middle = np.take_along_axis(window, np.hstack([(known - 1) // 2, known // 2]), axis=1)
        found[block] = middle.sum(axis=1) / 2
    return found


def savgol(values: Array, time_s: Float64, weight: Array, sigma_s: float) -> Array:
    """Return the values (F,D), each replaced by a local parabola fit; ``weight`` (F,) weights the frames."""
    found = values.copy()
    for block, near, away, weights in _windows(time_s, weight, sigma_s):
        known, fitted = weights.sum(axis=1) > 0, parabola(weights[..., None], away)
        found[block] = np.where(known[:, None], (fitted * values[near]).sum(axis=1), values[block])
    return found


def savgol_turns(turns: Array, time_s: Float64, weight: Array, sigma_s: float) -> Array:
    """Return the rotations smoothed by local parabola fits; outlying neighbours are down-weighted."""
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
    """Return each window's mean as unit quaternions (n,J,4); a quaternion with negative ``along`` is negated first."""
    mean = (np.where(along < 0, -weights, weights)[..., None] * around).sum(axis=1)
    unit: Array = mean / np.maximum(np.linalg.norm(mean, axis=-1, keepdims=True), 1e-12)
    return unit


def _share(cutoff_hz: Steady, step_s: float) -> Steady:
    """Return the smoothing factor of a first-order low-pass filter: the weight of the new value."""
    return 1 / (1 + 1 / (2 * np.pi * cutoff_hz * step_s))


def one_euro_turns(turns: Array, time_s: Float64, options: SmoothOptions) -> Array:
    """Return the rotations after a one-euro filter: slow rotation is smoothed more than fast rotation."""
    found, speed = turns.copy(), np.zeros((turns.shape[1], 3))
    for k in range(1, len(turns)):
        step_s = time_s[k] - time_s[k - 1]
        now = rotation_vector(quat_multiply(quat_conjugate(turns[k - 1]), turns[k])) / step_s
        speed += _share(SPEED_CUTOFF_HZ, step_s) * (now - speed)
        cutoff = options.cutoff_hz + options.speed_gain * np.linalg.norm(speed, axis=-1, keepdims=True)
        found[k] = slerp(found[k - 1], turns[k], _share(cutoff, step_s))
    return found


def one_euro(values: Array, scale_m: Array, time_s: Float64, options: SmoothOptions) -> Array:
    """Return the values (F,D) after a one-euro filter; ``scale_m`` (F,1): metres per unit of each row's values."""
    found, speed = values.copy(), np.zeros(values.shape[1])
    for k in range(1, len(values)):
        step_s = time_s[k] - time_s[k - 1]
        now = (values[k] - values[k - 1]) * scale_m[k] / step_s
        speed += _share(SPEED_CUTOFF_HZ, step_s) * (now - speed)
        share = _share(options.cutoff_hz + options.speed_gain * np.abs(speed), step_s)
        found[k] = found[k - 1] + share * (values[k] - found[k - 1])
    return found
