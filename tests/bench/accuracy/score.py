"""Tracks of one camera against the truth, and of two versions on the rows that both found."""

from dataclasses import asdict, dataclass, field, replace

import numpy as np

from cliffvid.evaluate.evaluate import PROTOCOLS, match
from cliffvid.evaluate.ground_truth import Truth
from cliffvid.evaluate.metrics import acceleration_mm, distances_mm, procrustes, rooted
from cliffvid.evaluate.scores import Sums
from cliffvid.models.body import Body
from cliffvid.tables import Tracks

from .confidence import Estimates, told
from .truth import HIPS, JOINTS

Array = np.ndarray
IOU_MIN = PROTOCOLS["demo"].iou_min


@dataclass(frozen=True, eq=False)
class Pairs:
    """The rows of the truth that were found, sorted, the joints found for them, and the rows found besides."""

    theirs: Array  # (M,) rows of the truth
    joints_m: Array  # (M,12,3) camera frame
    false_positives: Array  # (S,) rows of the tracks
    rows: Tracks | None = None  # (M,) that found them


def pair(truth: Truth, rows: Tracks, body: Body) -> Pairs:
    """Match tracks with the truth, as `cliffvid evaluate` does."""
    theirs, mine, false_positives = match(truth, rows.frame_idx, truth.bbox_xyxy, rows.bbox_xyxy, IOU_MIN)
    found = rows[mine]
    joints = body.joints(found.global_orient, found.body_pose, found.betas, found.transl)[:, JOINTS]
    return Pairs(theirs, joints, false_positives, found)


def common(pairs: list[Pairs]) -> list[Pairs]:
    """Return of each version only the rows that all versions found."""
    both = set.intersection(*(set(each.theirs.tolist()) for each in pairs))
    keep = [np.isin(each.theirs, list(both)) for each in pairs]
    return [
        replace(p, theirs=p.theirs[k], joints_m=p.joints_m[k], rows=None if p.rows is None else p.rows[k])
        for p, k in zip(pairs, keep, strict=True)
    ]


@dataclass
class Measured:
    """Sums of one or several cameras, and how many times too far people stand."""

    sums: Sums
    depth_ratios: list[Array]
    told: list[dict[str, Estimates]] = field(default_factory=list)  # of the rows' own confidence, if they have any

    def add(self, other: "Measured") -> None:
        self.sums.add(other.sums)
        self.depth_ratios += other.depth_ratios
        self.told += other.told

    def facts(self, name: str) -> dict[str, str | float | int | None]:
        """Return the figures as plain values."""
        ratios = np.concatenate([np.zeros(0), *self.depth_ratios])
        aligned, joint = (
            np.concatenate([np.zeros(0), *mm]) for mm in (self.sums.aligned_mm, _means(self.sums.joint_mm))
        )
        score = asdict(self.sums.score(name))
        chosen = ("name", "people", "found", "recall", "precision", "mpjpe_mm", "pa_mpjpe_mm", "accel_mm_per_frame2")
        return {key: score[key] for key in chosen} | {
            "mpjpe_median_mm": _median(joint),
            "pa_mpjpe_median_mm": _median(aligned),
            "depth_ratio": _median(ratios),
            "found_besides": self.sums.false_positives,
        }


def measure(truth: Truth, pairs: Pairs) -> Measured:
    """Return how far the joints found are from the truth, hips moved onto each other."""
    true, found = truth.joints_m[pairs.theirs], pairs.joints_m
    sums = Sums(int(truth.evaluated.sum()), len(pairs.theirs), len(pairs.false_positives), truth.everybody)
    hips = true[:, HIPS].mean(axis=1), found[:, HIPS].mean(axis=1)
    true, found = rooted(true, hips[0]), rooted(found, hips[1])
    if len(true):
        sums.joint_mm.append(distances_mm(found, true))
        sums.aligned_mm.append(distances_mm(procrustes(found, true), true).mean(axis=1))
    own = told(pairs.rows, sums.joint_mm[0]) if pairs.rows is not None and len(true) else {}
    people, frames = truth.person[pairs.theirs], truth.frame_idx[pairs.theirs]
    for one in (np.flatnonzero(people == person) for person in np.unique(people)):
        sums.accel_mm.append(acceleration_mm(found[one], true[one], frames[one]))
    return Measured(sums, [hips[1][:, 2] / hips[0][:, 2]], [own] if own else [])


def _means(joint_mm: list[Array]) -> list[Array]:
    return [each.mean(axis=1) for each in joint_mm]


def _median(values: Array) -> float | None:
    return float(np.median(values)) if len(values) else None
