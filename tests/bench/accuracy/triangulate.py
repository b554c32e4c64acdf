"""Points in space from several views: triangulation, agreement, and the error that leaving one view out shows."""

from itertools import combinations

import numpy as np

from .scenes import Camera

Array = np.ndarray
LEAST_VIEWS = 3
MOST_OFF_PX = 25.0  # a view that is farther from the point does not agree


def triangulate(cameras: list[Camera], pixels: Array) -> Array:
    """Return the points (N,3) that views (C,N,2) of them meet in, by least squares (DLT); NaN where one is NaN."""
    rows = []
    for camera, seen in zip(cameras, pixels, strict=True):
        lens = np.hstack([camera.turn, camera.move[:, None]])
        ray = camera.rays(seen)
        rows += [ray[:, :1] * lens[2] - lens[0], ray[:, 1:] * lens[2] - lens[1]]
    system = np.stack(rows, axis=1)  # (N,2C,4)
    known = np.isfinite(system).all(axis=(1, 2))
    points = np.full((len(system), 3), np.nan)
    if known.any():
        solved = np.linalg.svd(system[known])[2][:, -1]
        points[known] = solved[:, :3] / solved[:, 3:]
    return points


def off_px(cameras: list[Camera], points: Array, pixels: Array) -> Array:
    """Return how far points (N,3) are from where each view (C,N,2) has them: (C,N) pixels."""
    return np.stack(
        [np.linalg.norm(camera.project(points) - seen, axis=-1) for camera, seen in zip(cameras, pixels, strict=True)]
    )


def agreed(cameras: list[Camera], pixels: Array) -> tuple[Array, Array]:
    """Return the points (N,3) that most views (C,N,2) agree on, and which views (C,N) those are.

    All views if none is off by more than the limit, else those three that agree best; NaN where no three do.
    """
    count = pixels.shape[1]
    points, used = np.full((count, 3), np.nan), np.zeros(pixels.shape[:2], bool)
    for size in range(len(cameras), LEAST_VIEWS - 1, -1):
        best = np.full(count, MOST_OFF_PX)
        open_points = np.isnan(points[:, 0])
        for chosen in map(list, combinations(range(len(cameras)), size)):
            some = [cameras[c] for c in chosen]
            found = triangulate(some, pixels[chosen])
            off = np.nan_to_num(off_px(some, found, pixels[chosen]).max(axis=0), nan=np.inf)
            better = open_points & (off < best)
            points[better], best[better] = found[better], off[better]
            used[:, better] = np.isin(np.arange(len(cameras)), chosen)[:, None]
    return points, used


def left_out(cameras: list[Camera], pixels: Array, used: Array) -> tuple[Array, Array]:
    """Leave each view out in turn, where all agree.

    Returns how far each view (C,N,2) is from the point that the others give, in pixels, and the standard error (N,)
    of the points in metres that their spread tells (jackknife); NaN where a view is missing. Errors that all views
    share, such as landmarks that lie beside the joint, do not show.
    """
    number = len(cameras)
    everywhere = used.all(axis=0)
    off, parts = np.full(pixels.shape, np.nan), np.full((number, pixels.shape[1], 3), np.nan)
    for c in range(number) if everywhere.any() else ():
        others = [k for k in range(number) if k != c]
        parts[c, everywhere] = triangulate([cameras[k] for k in others], pixels[others][:, everywhere])
        off[c] = cameras[c].project(parts[c]) - pixels[c]
    spread = ((parts - parts.mean(axis=0)) ** 2).sum(axis=(0, 2))
    return off, np.sqrt((number - 1) / number * spread)
