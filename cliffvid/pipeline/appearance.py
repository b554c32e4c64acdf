"""How alike people are but for their boxes: how far away, which way they face, of what shape."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from ..rotations import quaternion
from ..tables import BAD_CAMERA, Array, Bodies

DEPTH_SIGMA = 0.1  # of a depth's logarithm, from frame to frame
DEPTH_SIGMA_S = 0.1  # and as much more for each second unseen
FACING_FADES_S = 2.0  # how soon the way somebody faced says nothing any more
WEIGHTS = {"depth": 0.15, "facing": 0.3, "shape": 0.15}  # of a cost beside 1 - IoU
LEARN = 0.1  # how much of a new row a track's depth and shape take


@dataclass(frozen=True, eq=False)
class Appearance:
    """What tells people apart, a row each; depths that are not known are NaN."""

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
        """The same with these rows seen again: facing anew, depth and shape a little."""
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
    """A cost (A,B) of taking each of ``seen`` for each of the ``tracks``, last seen so long ago (B,)."""
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
