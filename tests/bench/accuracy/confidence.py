"""How well rows know how near to the truth they are."""

from dataclasses import dataclass

import numpy as np

from cliffvid.export.open.confidence import NEAR_M
from cliffvid.tables import Tracks

from .truth import JOINTS

Array = np.ndarray
GROUPS = 10


@dataclass(frozen=True, eq=False)
class Estimates:
    """Probabilities (N,) that somebody is near, and how far off each truly is, in metres (N,)."""

    probability: Array
    off_m: Array

    @property
    def near(self) -> Array:
        return self.off_m <= NEAR_M


def told(rows: Tracks, off_mm: Array) -> dict[str, Estimates]:
    """Return by column what rows (M,) say of the joints JOINTS, which are off by ``off_mm`` (M,12)."""
    if rows.confidence is None or rows.joint_confidence is None:
        return {}
    joints = rows.joint_confidence[:, JOINTS].astype(np.float64)
    return {
        "joint_confidence": Estimates(joints.ravel(), off_mm.ravel() / 1000),
        "confidence": Estimates(rows.confidence.astype(np.float64), off_mm.mean(axis=1) / 1000),
    }


def together(parts: list[dict[str, Estimates]]) -> dict[str, Estimates]:
    """Return the same of several tables."""
    return {
        name: Estimates(*map(np.concatenate, zip(*(vars(part[name]).values() for part in parts), strict=True)))
        for name in (parts[0] if parts else ())
    }


def facts(name: str, given: Estimates) -> dict[str, str | int | float]:
    """Return how good the probabilities are, as plain values.

    ``brier``: mean squared error of the probability; ``brier_of_share``: that of always telling the true share.
    ``calibration_error``: mean difference of probability and share, over ten groups by probability, equally large.
    ``rank``: rank correlation of probability and nearness (Spearman).
    """
    share = float(given.near.mean())
    return {
        "name": name,
        "values": len(given.near),
        "near": share,
        "told": float(given.probability.mean()),
        "brier": float(((given.probability - given.near) ** 2).mean()),
        "brier_of_share": share * (1 - share),
        "calibration_error": calibration_error(given),
        "rank": float(np.corrcoef(ranks(given.probability), ranks(-given.off_m))[0, 1]),
    }


def calibration_error(given: Estimates) -> float:
    """Return the expected calibration error, over groups of equal size."""
    groups = np.array_split(np.argsort(given.probability, kind="stable"), GROUPS)
    off = [len(some) * abs(given.probability[some].mean() - given.near[some].mean()) for some in groups if len(some)]
    return float(sum(off) / len(given.near))


def ranks(values: Array) -> Array:
    """Return the rank of each value; equal values share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]
