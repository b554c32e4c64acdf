"""Compare people by appearance rather than boxes: depth, facing direction and body shape.

A frame has few people, so this is plain Python on numbers: a call of numpy takes as long as one whole comparison.
"""

from math import acos, dist, exp, isnan, pi, sqrt
from typing import NamedTuple

import numpy as np

from ..rotations import quaternion
from ..tables import BAD_CAMERA, Bodies

DEPTH_SIGMA = 0.1  # standard deviation of log depth from frame to frame
DEPTH_SIGMA_S = 0.1  # its increase per second unseen
FACING_FADES_S = 2.0  # time constant with which the weight of the facing direction decays
# Weights of the terms of the cost that is added to 1 - IoU.
DEPTH_WEIGHT = 0.15
FACING_WEIGHT = 0.3
SHAPE_WEIGHT = 0.15
A_HALF_TURN = 2 / pi  # makes the angle between quaternions of bodies that face opposite ways 1
LEARN = 0.1  # update rate of a track's shape; its depth uses three times this


class Appearance(NamedTuple):
    """Appearance of one person: log depth, NaN if unknown; facing as a unit quaternion, body to camera; shape."""

    log_depth: float
    facing: list[float]
    betas: list[float]

    def learned(self, seen: "Appearance") -> "Appearance":
        """Return a track's appearance, updated: facing is replaced; depth and shape move towards the new values."""
        before = seen.log_depth if isnan(self.log_depth) else self.log_depth
        step = 0.0 if isnan(seen.log_depth) else seen.log_depth - before
        betas = [old + LEARN * (new - old) for old, new in zip(self.betas, seen.betas, strict=True)]
        return Appearance(before + 3 * LEARN * step, seen.facing, betas)


def appearances(bodies: Bodies) -> list[Appearance]:
    """Return the appearance of each row."""
    depth = bodies.transl[:, 2].astype(np.float64)
    known = ((bodies.flags & BAD_CAMERA) == 0) & (depth > 0)
    log_depth = np.where(known, np.log(np.where(known, depth, 1)), np.nan)
    facing, betas = quaternion(bodies.global_orient), bodies.betas.astype(np.float64)
    return list(map(Appearance, log_depth.tolist(), facing.tolist(), betas.tolist()))


def appearance_cost(seen: Appearance, track: Appearance, unseen_s: float) -> float:
    """Return the cost of matching a person to a track that was last seen ``unseen_s`` ago."""
    off = (seen.log_depth - track.log_depth) / (DEPTH_SIGMA + DEPTH_SIGMA_S * unseen_s)
    depth = 0.0 if isnan(off) else min(off * off / 4, 2.0)
    (a, b, c, d), (e, f, g, h) = seen.facing, track.facing
    turned = A_HALF_TURN * acos(min(abs(a * e + b * f + c * g + d * h), 1.0))
    facing = turned * exp(-unseen_s / FACING_FADES_S)
    shape = min(dist(seen.betas, track.betas) / sqrt(max(len(seen.betas), 1)), 2.0)
    return DEPTH_WEIGHT * depth + FACING_WEIGHT * facing + SHAPE_WEIGHT * shape
