"""Compute the scores of a sequence, or of all sequences, from accumulated errors."""

from dataclasses import asdict, dataclass, field

import numpy as np

from ..geometry import Array
from .metrics import auc


@dataclass(frozen=True)
class Score:
    """Scores of one sequence or of all; None where not measurable. Means are over the people found."""

    name: str
    people: int  # in the ground truth, with ``evaluated``
    found: int
    recall: float | None
    mpjpe_mm: float | None
    pa_mpjpe_mm: float | None
    pve_mm: float | None
    accel_mm_per_frame2: float | None
    auc: float | None  # of the people found
    auc_with_missed: float | None  # with no correct joint for missed people
    precision: float | None = None  # only if all people are annotated
    f1: float | None = None
    nmje_mm: float | None = None  # mpjpe / f1, as AGORA defines it
    nmve_mm: float | None = None


@dataclass
class Evaluation:
    """All results of an evaluation, and how they were measured."""

    protocol: str
    words: str
    iou_min: float
    joints: str
    root: str
    sequences: list[Score] = field(default_factory=list)
    overall: Score | None = None
    without_tracks: list[str] = field(default_factory=list)  # sequences without a tracks file, skipped
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """Return everything as plain values, for JSON."""
        return asdict(self)


@dataclass
class Sums:
    """Accumulated errors and counts from which scores are computed."""

    people: int = 0
    found: int = 0
    false_positives: int = 0  # false positives
    everybody: bool = True
    joint_mm: list[Array] = field(default_factory=list)  # (P,J)
    aligned_mm: list[Array] = field(default_factory=list)  # (P,)
    vertex_mm: list[Array] = field(default_factory=list)  # (P,)
    accel_mm: list[Array] = field(default_factory=list)

    def add(self, other: "Sums") -> None:
        self.people, self.found = self.people + other.people, self.found + other.found
        self.false_positives += other.false_positives
        self.everybody &= other.everybody
        for name in ("joint_mm", "aligned_mm", "vertex_mm", "accel_mm"):
            getattr(self, name).extend(getattr(other, name))

    def score(self, name: str) -> Score:
        joint_mm = np.concatenate(self.joint_mm) if self.joint_mm else np.zeros((0, 1))
        vertex_mm, missed = _mean(self.vertex_mm), self.people - self.found
        mpjpe = _mean([joint_mm.mean(axis=1)])
        known: dict[str, float | None] = {}
        if sum(map(len, self.vertex_mm)) < self.found:  # only some sequences have vertices
            vertex_mm = None
        if self.everybody and mpjpe is not None:
            precision, recall = self.found / (self.found + self.false_positives), self.found / self.people
            f1 = 2 * precision * recall / (precision + recall)
            known = {"precision": precision, "f1": f1, "nmje_mm": mpjpe / f1}
            known["nmve_mm"] = vertex_mm / f1 if vertex_mm is not None else None
        return Score(
            name=name,
            people=self.people,
            found=self.found,
            recall=self.found / self.people if self.people else None,
            mpjpe_mm=mpjpe,
            pa_mpjpe_mm=_mean(self.aligned_mm),
            pve_mm=vertex_mm,
            accel_mm_per_frame2=_mean(self.accel_mm),
            auc=auc(joint_mm) if self.found else None,
            auc_with_missed=auc(joint_mm, missed) if self.people else None,
            **known,
        )


def _mean(arrays: list[Array]) -> float | None:
    values = np.concatenate([np.zeros(0), *arrays])
    return float(values.mean()) if len(values) else None
