"""Compare the outputs of a precision with those of float32 on real frames and crops, in user-visible terms."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np

from .. import geometry
from ..geometry import box_iou
from ..models.manifest import Manifest
from ..models.session import Session
from ..options import Options
from ..pipeline.crop import crop
from ..pipeline.detect import detect, select
from ..pipeline.regress import PRESENCE_MIN, regress
from ..tables import Array, Float32, Float64
from ..video.open import open_source
from ..video.reader import DecodeCounts

Batch: TypeAlias = dict[str, Array]  # the inputs of a Session
SAME_PERSON_IOU = 0.5
FRAMES = 96  # maximum number of frames, spread over the video
LARGEST_STRIDE = 25  # limits the time spent on decoding skipped frames
PEOPLE = 256


@dataclass(frozen=True)
class Samples:
    """The inputs of the two networks in a run, in batches."""

    frames: list[Batch]
    crops: list[Batch]


class Answering(Protocol):
    """The part of a Session that runs the network."""

    def run(self, inputs: Batch) -> Batch: ...


class Recorder:
    """A Session that records its inputs."""

    def __init__(self, session: Session) -> None:
        self.manifest, self._session = session.manifest, session
        self.asked: list[Batch] = []

    def run(self, inputs: Batch) -> Batch:
        self.asked.append({name: array.copy() for name, array in inputs.items()})
        return self._session.run(inputs)


def take_samples(video: Path | str, detector: Session, regressor: Session | None, options: Options) -> Samples:
    """Return network inputs for frames spread over the video and for the crops of the people in them.

    They are the same as in a run with these sessions. Without a regressor there are no crops. Raises InputError.
    """
    finder, poser = Recorder(detector), Recorder(regressor) if regressor else None
    with open_source(video, options) as source:
        known = source.info.frames_claimed or 0
        frames = source.frames(1, DecodeCounts(), stride=min(max(1, known // FRAMES), LARGEST_STRIDE))
        people = 0
        for table in frames:
            found = detect([table], finder, options)
            if poser:
                (regressed,) = regress(crop(found, poser.manifest, options), poser)
                people += len(regressed)
            if people >= PEOPLE or len(finder.asked) >= FRAMES:
                break
    return Samples(finder.asked, poser.asked if poser else [])


def compare(manifest: Manifest, reference: Answering, session: Answering, samples: Iterable[Batch]) -> dict[str, float]:
    """Return the differences of ``session`` from ``reference`` on the same samples; both run this manifest's model.

    Regressors: ``persons`` seen by the reference, ``rotation_median_deg`` and ``rotation_p99_deg`` of their joints,
    ``betas_p99`` and ``camera_p99`` (absolute), ``persons_changed_percent``: people seen by only one of the two.
    Detectors: ``persons`` detected by the reference, ``missed_percent``, ``extra_percent`` and their sum
    ``persons_changed_percent``, ``box_shift_median_percent`` and ``box_shift_p99_percent`` of the longer side.
    """
    judge = _regressor if manifest.task == "regress" else _detector
    return judge(manifest, [(reference.run(batch), session.run(batch)) for batch in samples])


def _regressor(manifest: Manifest, answers: list[tuple[Batch, Batch]]) -> dict[str, float]:
    judged = [name for name in ("rotmat", "betas", "camera", "presence") if name in manifest.outputs]
    wanted, found = (
        {name: np.concatenate([pair[side][name] for pair in answers]) for name in judged} for side in (0, 1)
    )
    persons, changed = len(wanted["rotmat"]), 0
    if "presence" in wanted:
        seen = [side["presence"] >= PRESENCE_MIN for side in (wanted, found)]
        persons, changed, both = int(seen[0].sum()), int((seen[0] != seen[1]).sum()), seen[0] & seen[1]
        wanted, found = ({name: array[both] for name, array in side.items()} for side in (wanted, found))
    angle = rotation_angle_deg(wanted["rotmat"], found["rotmat"])
    off = {name: np.abs(wanted[name].astype(np.float64) - found[name]) for name in ("betas", "camera")}
    return {
        "persons": persons,
        "persons_changed_percent": 100 * changed / max(persons, 1),
        "rotation_median_deg": _quantile(angle, 0.5),
        "rotation_p99_deg": _quantile(angle, 0.99),
        "betas_p99": _quantile(off["betas"], 0.99),
        "camera_p99": _quantile(off["camera"], 0.99),
    }


def rotation_angle_deg(a: geometry.Array, b: geometry.Array) -> Float64:
    """Return the angle (...) float64 between rotation matrices (...,3,3), from the chord length: exact near zero."""
    chord = np.linalg.norm(a.astype(np.float64) - b, axis=(-2, -1)) / np.sqrt(8)
    angle: Float64 = np.degrees(2 * np.arcsin(np.clip(chord, 0, 1)))
    return angle


def _detector(manifest: Manifest, answers: list[tuple[Batch, Batch]]) -> dict[str, float]:
    wanted, found = ([box for pair in answers for box in _people(manifest, pair[side])] for side in (0, 1))
    shifts = [_shifts(*boxes) for boxes in zip(wanted, found, strict=True)]
    shift = np.concatenate([np.zeros(0), *shifts])
    persons = sum(map(len, wanted))
    missed, extra = (100 * (sum(map(len, boxes)) - len(shift)) / max(persons, 1) for boxes in (wanted, found))
    return {
        "persons": persons,
        "persons_changed_percent": missed + extra,
        "missed_percent": missed,
        "extra_percent": extra,
        "box_shift_median_percent": _quantile(shift, 0.5),
        "box_shift_p99_percent": _quantile(shift, 0.99),
    }


def _people(manifest: Manifest, answer: Batch) -> list[Float32]:
    """Return the boxes (P,4) of the people in each frame of a detector's output, best score first."""
    rule = manifest.rules["selection"]
    boxes = answer["box_px"]
    frame, slot, *_ = select(boxes, answer["objectness"], answer["class_prob"], rule)
    return [boxes[i, slot[frame == i]] for i in range(len(boxes))]


def _shifts(wanted: Float32, found: Float32) -> Float64:
    """Return the largest edge shift of each matched box, in percent of its longer side."""
    iou = box_iou(wanted, found)
    shifts = []
    while iou.size and iou.max() >= SAME_PERSON_IOU:
        row, column = np.unravel_index(iou.argmax(), iou.shape)
        iou[row], iou[:, column] = -1, -1
        side = (wanted[row, 2:] - wanted[row, :2]).max()
        shifts.append(100 * np.abs(wanted[row] - found[column]).max() / side)
    return np.array(shifts)


def _quantile(values: geometry.Array, share: float) -> float:
    return float(np.quantile(values, share)) if values.size else 0.0
