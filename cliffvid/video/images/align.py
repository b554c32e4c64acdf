"""Find the shift and the zoom that lay one small gray image onto another, whatever people and lights do in it."""

from typing import NamedTuple

import cv2
import numpy as np

from ...tables import Float32, Float64

GRAY_WH = (64, 36)
STANDS = 0.006  # a motion below this is none: the share of the frame's width by which a corner moves
NEAR = 0.03  # up to here a motion may be too small to be sure of
BLUR_PX = 1.2  # standard deviation; without it neighbouring pixels have little in common
ROUNDS, LIGHT_ROUNDS = 5, 2
STEP_PX = 0.03  # the last round's
FAR, ZOOM = 0.4, 0.4  # a greater shift, as a share of the sides, and logarithm of a zoom are none
LIMIT = 0.08  # a difference of grays, 0 to 1, beyond which more does not count
BETTER, BLOCKS = 0.8, 6  # a motion makes differences fall to this share, also in so many of 12 blocks of the frame
OUTSIDE = -9.0  # gray of what the other image does not show
CENTER = (GRAY_WH[0] - 1) / 2, (GRAY_WH[1] - 1) / 2
MARGIN_WH = GRAY_WH[0] // 8, GRAY_WH[1] // 8  # in half the pixels: of the part that is searched for


class Motion(NamedTuple):
    """A motion (3,) of the image: shift x and y in pixels, and the logarithm of the zoom about the middle."""

    values: Float64
    sure: bool  # the image shows that it is no smaller

    @property
    def size(self) -> float:
        """Return how far the corner moves that moves furthest, as a share of the frame's width."""
        x, y, zoom = np.abs(self.values).tolist()
        return float(np.hypot(x + zoom * GRAY_WH[0] / 2, y + zoom * GRAY_WH[1] / 2)) / GRAY_WH[0]


STILL = Motion(np.zeros(3), sure=True)


class Reference:
    """An image with which others are compared.

    Shift, zoom and light are fitted by weighted least squares (Lucas and Kanade 1981, inverse compositional). The
    weights leave out what moves by itself.
    """

    def __init__(self, gray: Float32) -> None:
        self._gray = smoothed(gray)
        down, right = np.gradient(self._gray)
        x, y = (np.arange(size) - middle for size, middle in zip(GRAY_WH, CENTER, strict=True))
        zoomed = right * x + down * y[:, None]
        rows = [right, down, zoomed, self._gray, np.ones_like(self._gray), self._gray]  # the last: for differences
        self._rows: Float32 = np.stack(rows).astype(np.float32).reshape(len(rows), -1)
        across, along = MARGIN_WH
        self._middle = half(self._gray)[along:-along, across:-across]

    def motion_to(self, gray: Float32, start: Motion) -> Motion | None:
        """Return the motion from here to another image, by which that looks like this one; None if it does by none.

        Args:
            gray: The other image (36,64), 0 to 1.
            start: A motion that it may be near to. Another one is looked for if it is not.
        """
        gray = smoothed(gray)
        return self._near(gray, start.values) or self._near(gray, self._most_alike(gray))

    def _near(self, gray: Float32, start: Float64) -> Motion | None:
        fit = self._fit(gray, start)
        if fit is None:
            return None
        motion = Motion(fit[:3], sure=True)
        if motion.size < STANDS:
            return motion
        moved, seen = self._off(gray, fit)
        still, _ = self._off(gray, self._fit_light(gray))
        blocks = [
            (off * seen).reshape(3, GRAY_WH[1] // 3, 4, GRAY_WH[0] // 4).sum(axis=(1, 3)) for off in (moved, still)
        ]
        total, total_still = (float(each.sum()) for each in blocks)
        better = int((blocks[0] < BETTER * blocks[1]).sum())
        worse = int((blocks[1] < BETTER * blocks[0]).sum())
        if total < BETTER * total_still and better >= BLOCKS and worse <= (better - BLOCKS) // 2:
            return motion
        return motion._replace(sure=False) if motion.size < NEAR and total < total_still else None

    def _fit(self, gray: Float32, start: Float64) -> Float64 | None:
        """Return the motion near ``start``, and gain and offset of the light (5,); None if it is none."""
        fit = np.append(start, (0.0, 0.0))
        for _ in range(ROUNDS):
            step = self._step(gray, fit, 0)
            fit += step
            if (np.abs(fit[:2]) > np.multiply(FAR, GRAY_WH)).any() or abs(fit[2]) > ZOOM:
                return None
            if np.abs(step[:3]).max() < STEP_PX:
                break
        return fit

    def _fit_light(self, gray: Float32) -> Float64:
        """Return no motion, and gain and offset of the light (5,)."""
        fit = np.zeros(5)
        for _ in range(LIGHT_ROUNDS):
            fit[3:] += self._step(gray, fit, 3)
        return fit

    def _step(self, gray: Float32, fit: Float64, first: int) -> Float64:
        """Return the next round's change of ``fit`` from its ``first`` value on."""
        moved = warped(gray, fit[:3]).ravel()
        off = self._rows[-1]
        np.subtract(moved, self._lit(fit).ravel(), out=off)
        some = np.abs(off[::7])
        weight = off / np.float32(2 * np.partition(some, len(some) // 2)[len(some) // 2] + 0.004)
        weight *= weight
        weight += 1
        weight *= weight
        np.divide(moved >= 0, weight, out=weight)
        # One product: it is too small for BLAS to use threads, whose number might change the last digits.
        sums = ((self._rows[first:-1] * weight) @ self._rows[first:].T).astype(np.float64)
        step = np.linalg.solve(sums[:, :-1] + 1e-3 * np.eye(len(sums)), sums[:, -1])
        step[: 3 - first] *= -1
        return step

    def _lit(self, fit: Float64) -> Float32:
        lit: Float32 = self._gray * np.float32(1 + fit[3]) + np.float32(fit[4])
        return lit

    def _off(self, gray: Float32, fit: Float64) -> tuple[Float32, Float32]:
        """Return how far the other image, moved, is from this one in its light, and 1 where it shows anything."""
        moved = warped(gray, fit[:3])
        return np.minimum(np.abs(moved - self._lit(fit)), np.float32(LIMIT)), (moved >= 0).astype(np.float32)

    def _most_alike(self, gray: Float32) -> Float64:
        """Return the shift by which the middle of this image is found in the other one."""
        _, _, _, place = cv2.minMaxLoc(cv2.matchTemplate(half(gray), self._middle, cv2.TM_CCOEFF_NORMED))
        return 2.0 * np.array([place[0] - MARGIN_WH[0], place[1] - MARGIN_WH[1], 0])


def smoothed(gray: Float32) -> Float32:
    return np.asarray(cv2.GaussianBlur(gray, (0, 0), BLUR_PX), np.float32)


def half(gray: Float32) -> Float32:
    """Return the image at half its size."""
    size = GRAY_WH[0] // 2, GRAY_WH[1] // 2
    return np.asarray(cv2.resize(gray, size, interpolation=cv2.INTER_AREA), np.float32)


def warped(gray: Float32, motion: Float64) -> Float32:
    """Return the image (36,64) with a motion undone, OUTSIDE where it shows nothing."""
    if not motion.any():
        return gray
    zoom = np.exp(motion[2])
    rows = [[zoom, 0, motion[0] + (1 - zoom) * CENTER[0]], [0, zoom, motion[1] + (1 - zoom) * CENTER[1]]]
    how, edge = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, cv2.BORDER_CONSTANT
    moved = cv2.warpAffine(gray, np.array(rows), GRAY_WH, flags=how, borderMode=edge, borderValue=OUTSIDE)
    return np.asarray(moved, np.float32)
