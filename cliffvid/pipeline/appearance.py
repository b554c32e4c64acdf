"""Compare people by appearance rather than boxes: depth, facing direction and body shape."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from ..rotations import quaternion
from ..tables import BAD_CAMERA, Array, Bodies

DEPTH_SIGMA = 0.1  # standard deviation of log depth from frame to frame
DEPTH_SIGMA_S = 0.1  # its increase per second unseen
FACING_FADES_S = 2.0  # time constant with which the weight of the facing direction decays
WEIGHTS = {"depth": 0.15, "facing": 0.3, "shape": 0.15}  # of the terms of the cost that is added to 1 - IoU
LEARN = 0.1  # update rate of a track's shape; its depth uses three times this


@dataclass(frozen=True, eq=False)
class Appearance:
    """Appearance features, one row per person; unknown depths are NaN."""

    log_depth: Array  # (N,)
    facing: Array  # (N,4) unit quaternions, body to camera
    betas: Array  # (N,B)

    @classmethod
    def of(cls, bodies: Bodies) -> Self:
        depth = bodies.transl[:, 2].astype(np.float64)
        known = ((bodies.flags & BAD_CAMERA) == 0) & (depth > 0)
        return cls(
            np.where(known, np.log(np.where(known, depth, 1)), np.nan),
            quaternion(bodies.global_orient),
            bodies.betas.astype(np.float64),
        )

    def __getitem__(self, rows: slice | Array) -> Self:
        return type(self)(self.log_depth[rows], self.facing[rows], self.betas[rows])

    def joined(self, other: Self) -> Self:
        return type(self)(*(np.concatenate(pair) for pair in zip(self._columns(), other._columns(), strict=True)))

    def learned(self, rows: Array, seen: Self) -> Self:
        """Return a copy with these rows updated: facing is replaced; depth and shape move towards the new values."""
        log_depth, facing, betas = (column.copy() for column in self._columns())
        facing[rows] = seen.facing
        betas[rows] += LEARN * (seen.betas - betas[rows])
        before = np.where(np.isnan(log_depth[rows]), seen.log_depth, log_depth[rows])
        step = np.where(np.isnan(seen.log_depth), 0, seen.log_depth - before)
        log_depth[rows] = before + 3 * LEARN * step
        return type(self)(log_depth, facing, betas)

    def _columns(self) -> tuple[Array, Array, Array]:
        return self.log_depth, self.facing, self.betas


def appearance_cost(seen: Appearance, tracks: Appearance, unseen_s: Array) -> Array:
    """Return the cost (A,B) of matching each of ``seen`` to each of ``tracks``, last seen ``unseen_s`` (B,) ago."""
    sigma = DEPTH_SIGMA + DEPTH_SIGMA_S * unseen_s
    depth = (seen.log_depth[:, None] - tracks.log_depth) / sigma
    depth[np.isnan(depth)] = 0
    turned = 2 / np.pi * np.arccos(np.clip(np.abs(seen.facing @ tracks.facing.T), 0, 1))  # 1: half a turn
    apart = seen.betas[:, None] - tracks.betas
    shape = np.sqrt((apart * apart).sum(axis=-1)) / max(apart.shape[-1], 1) ** 0.5
    cost: Array = (
        WEIGHTS["depth"] * np.minimum(depth**2 / 4, 2)
        + WEIGHTS["facing"] * turned * np.exp(-unseen_s / FACING_FADES_S)
        + WEIGHTS["shape"] * np.minimum(shape, 2)
    )
    return cost
